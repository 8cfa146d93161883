"""How much of its privacy a client has spent in a task with noise, and when the limit that its owner set ends its part."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from clients.privacy.member import NotSaid
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.privacy.budget import Sampling, planned
from fl.privacy.terms import PrivacyTerms


def spent_line(terms: PrivacyTerms, *, rounds: int, sampling: Sampling | None = None) -> str:
    """What so many rounds have spent at most, beside the pay; "" in a task without noise.

    Args:
        sampling: Of this client's own rows, with noise on rows.
    """
    if terms.noise == "none":
        return ""
    whose = "" if sampling is None else f" of each of your {plural(sampling.rows, 'row')}"
    return f"; privacy spent{whose}: ε {planned(terms, rounds=rounds, sampling=sampling):.2f} at δ {terms.delta}"


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


def over_limit(terms: PrivacyTerms, limit: float | None, *, rounds: int, sampling: Sampling | None = None) -> bool:
    """Whether one more round after so many would spend more than the owner allows.

    Args:
        terms: Of the task's privacy.
        limit: ε that the owner allows, None for any.
        rounds: That were.
        sampling: Of the training, with noise on rows.
    """
    if limit is None or terms.noise == "none":
        return False
    return planned(terms, rounds=rounds + 1, sampling=sampling) > limit


def check_limit(
    terms: PrivacyTerms,
    limit: float | None,
    *,
    round_number: int,
    first_round: int,
    sampling: Sampling | None = None,
) -> None:
    """See that one more round is within what the owner allows.

    Args:
        terms: Of the task's privacy.
        limit: ε that the owner allows, None for any.
        round_number: That is asked for.
        first_round: The client's first.
        sampling: Of the training, with noise on rows.
    Raises: NotSaid for a round that would spend more than the owner allows.
    """
    taken = max(0, round_number - max(1, first_round))
    if over_limit(terms, limit, rounds=taken, sampling=sampling):
        raise NotSaid(
            f"round {round_number} would spend more of this client's privacy than its limit of ε {limit:g}, which its owner set"
        )


def check_rows(terms: PrivacyTerms, *, rows: int, own_app: str = "") -> None:
    """Whether a client can keep to a task's noise on rows.

    Args:
        rows: Of its shard.
        own_app: Of its own in the place of Fairshare's, "" for none.
    Raises: ConfigError for fewer rows than the task counts its budget on, and for an app that adds no noise.
    """
    if own_app and terms.noise == "rows":
        raise ConfigError(
            f"app is {own_app}, and this task's noise is in the steps of Fairshare's own trainer; leave app out, or your rows have none"
        )
    if rows < terms.rows:
        raise ConfigError(
            f"you have {plural(rows, 'row')}, and this task's noise hides each of {terms.rows} or more: a step would draw yours more often than "
            "its budget says; bring more rows, or ask the coordinator for a task with a smaller privacy.rows"
        )
