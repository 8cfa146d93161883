"""How much of its privacy a client has spent in a task with noise, and when the limit that its owner set ends its part."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from clients.privacy.member import NotSaid
from fl.errors import ConfigError
from fl.privacy.budget import planned
from fl.privacy.terms import PrivacyTerms


def spent_line(terms: PrivacyTerms, *, rounds: int) -> str:
    """What so many rounds have spent at most, beside the pay; "" in a task without noise."""
    if terms.noise != "client":
        return ""
    return f"; privacy spent: ε {planned(terms, rounds=rounds):.2f} at δ {terms.delta}"


def limit_of(text: str) -> float | None:
    """The limit that an owner wrote, None for none. Raises: ConfigError."""
    if not text:
        return None
    try:
        value = float(Decimal(text))
    except (InvalidOperation, ValueError):
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigError(f"privacy.limit is {text!r}; write the ε that the node may spend, such as privacy.limit=8")
    return value


def over_limit(terms: PrivacyTerms, limit: float | None, *, rounds: int) -> bool:
    """Whether one more round after so many would spend more than the owner allows."""
    return limit is not None and terms.noise == "client" and planned(terms, rounds=rounds + 1) > limit


def check_limit(terms: PrivacyTerms, limit: float | None, *, round_number: int, first_round: int) -> None:
    """Raises: NotSaid for a round that would spend more than the owner allows."""
    taken = max(0, round_number - max(1, first_round))
    if over_limit(terms, limit, rounds=taken):
        raise NotSaid(
            f"round {round_number} would spend more of this client's privacy than its limit of ε {limit:g}, which its owner set"
        )
