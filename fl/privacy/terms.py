"""What a task's spec says of privacy: which words are masked, how many may vanish, and what noise is added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from fl.errors import ConfigError
from fl.plain_text import printable

LEAST_CLIENTS = 3  # of a masked round: the sum of two tells each the other's update
EVERYBODY = 32  # clients up to which everybody is everybody's neighbour
_MOST_PROJECTIONS = 1024
_NOISES = ("none", "client", "rows")


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """The `privacy` of a spec; a spec without it is an open task's."""

    masked: bool = False
    # How many of a client's holders (its neighbours and itself) give its seeds back; 0: two thirds of them, and one.
    threshold: int = 0
    neighbours: int = 0  # that a client shares masks with; 0: everybody up to 32 clients, then 8 ⌈log₂ n⌉
    projections: int = 64  # random signs by which a masked length is bounded; 0: lengths go unchecked
    # none; client: normal noise on each update, by its node; rows: on the gradients of each step of training (DP-SGD)
    noise: str = "none"
    multiplier: str = "0"  # decimal; standard deviation of the noise over the sensitivity
    delta: str = "1e-5"  # decimal; of the budget that is told
    # Decimal; length that an update, or with rows the gradient of each row, is held to before the noise: the sensitivity.
    clip: str = "1"
    rows: int = 0  # with rows: how many a client has at least, of which each step draws one batch; 0 otherwise

    def __post_init__(self) -> None:
        for name in ("threshold", "neighbours", "projections", "rows"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ConfigError(f"privacy.{name} is {printable(value, most=40)}; set a whole number of 0 or more")
        if type(self.masked) is not bool:
            raise ConfigError(f"privacy.masked is {printable(self.masked, most=40)}; set true or false")
        if self.projections > _MOST_PROJECTIONS:
            raise ConfigError(f"privacy.projections is {self.projections}; set {_MOST_PROJECTIONS} or less")
        if self.noise not in _NOISES:
            raise ConfigError(f"privacy.noise is {printable(self.noise, most=40)!r}; set none, client or rows")
        for name in ("multiplier", "delta", "clip"):
            _decimal(name, getattr(self, name))
        if (self.noise != "none") != (self.sigma > 0):
            raise ConfigError(
                f"privacy.noise is {self.noise} and privacy.multiplier {self.multiplier}; set both, or neither: "
                "privacy.epsilon finds the multiplier"
            )
        if not 0 < float(self.delta) < 1:
            raise ConfigError(f"privacy.delta is {self.delta}; set it above 0 and below 1, such as 1e-5")
        if not float(self.clip) > 0:
            raise ConfigError(f"privacy.clip is {self.clip}; set it above 0")
        if (self.noise == "rows") != (self.rows > 0):
            raise ConfigError(
                f"privacy.noise is {self.noise} and privacy.rows {self.rows}; set both, or neither: of how many rows a batch is drawn "
                "decides what noise on rows spends"
            )
        if self.masked and self.noise == "client" and self.projections:
            raise ConfigError(
                f"privacy.projections is {self.projections}; set 0 under privacy.noise=client, whose budget has no room for them"
            )

    @property
    def sigma(self) -> float:
        """The noise multiplier, 0 for no noise."""
        return float(self.multiplier)

    @classmethod
    def of(cls, raw: object) -> PrivacyTerms:
        """Those that a spec's `privacy` holds; an open task's for None. Raises: ConfigError."""
        if raw is None:
            return cls()
        if not isinstance(raw, Mapping):
            raise ConfigError(
                f"the task spec's privacy is {printable(raw, most=40)}; fetch it again from the coordinator"
            )
        known = {field.name for field in fields(cls)}
        if unknown := set(raw) - known:
            raise ConfigError(
                f"the task spec's privacy has unknown keys {sorted(map(str, unknown))}; update fairshare on this machine"
            )
        return cls(**raw)

    def to_spec(self) -> dict[str, Any] | None:
        """As a spec holds it: None for an open task, whose spec says nothing of privacy."""
        return None if self == PrivacyTerms() else {field.name: getattr(self, field.name) for field in fields(self)}

    def threshold_of(self, holders: int) -> int:
        """How many of so many holders give a seed back.

        Raises: ConfigError if there are fewer, or if two halves could each give one of a client's two seeds back.
        """
        needed = self.threshold or 2 * holders // 3 + 1
        if needed > holders:
            raise ConfigError(
                f"privacy.threshold is {needed} and a client has {holders} holders of its seeds, itself included; lower the "
                "threshold, or wait for more clients"
            )
        if 2 * needed <= holders:
            raise ConfigError(
                f"privacy.threshold is {needed} of {holders} holders; set more than half of them, or both seeds of a client could "
                "be asked back"
            )
        return needed

    def degree(self, clients: int) -> int:
        """How many neighbours a client of so many has."""
        if self.neighbours:
            return min(self.neighbours, clients - 1)
        return clients - 1 if clients <= EVERYBODY else min(clients - 1, 8 * math.ceil(math.log2(clients)))


def _decimal(name: str, text: object) -> Decimal:
    try:
        if isinstance(text, str) and len(text) <= 40 and (value := Decimal(text)).is_finite() and value >= 0:
            return value
    except InvalidOperation:
        pass
    raise ConfigError(f"privacy.{name} is {printable(text, most=40)}; write a decimal number such as 1.5")
