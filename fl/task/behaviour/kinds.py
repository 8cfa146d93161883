"""Behaviours as people write them: `honest`, `replay_step`, `scale:5`, or several joined, `label_flip:0.3+scale:5`.

A behaviour says whose rows a client trains on and how (`label_flip`, `backdoor`, `copy`), how long (`lazy`), what it sends instead
(`zero`, `noise`, replays, …), and what that is multiplied by (`scale`). `split` puts one shard under several wallets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class _Kind:
    told: str  # how a table tells it; {} stands for the argument
    argument: str = ""  # its name in messages; none for behaviours without one
    fits: Callable[[float], bool] = lambda value: True
    sends: bool = False  # whether it decides what is sent; of these a client has one
    trains: bool = True  # whether the rows still matter


def _is_whole(value: float) -> bool:
    return value.is_integer()


HONEST = "honest"
_KINDS = {
    HONEST: _Kind(told="does the work", sends=True),
    "zero": _Kind(told="sends its base model back unchanged", sends=True, trains=False),
    "free_ride": _Kind(told="sends its base model back unchanged", sends=True, trains=False),  # zero's older name
    "noise": _Kind(told="sends noise", sends=True, trains=False),
    "replay_step": _Kind(told="does not train and sends the last step again", sends=True, trains=False),
    "replay_direction": _Kind(told="does not train and sends the last direction", sends=True, trains=False),
    "replay_average": _Kind(
        told="does not train and sends all directions, each {} as strong as the next",
        argument="DECAY", fits=lambda decay: 0 < decay <= 1, sends=True, trains=False,
    ),
    "adam": _Kind(told="does not train and sends Adam's step on the directions", sends=True, trains=False),
    "sign": _Kind(told="does not train and sends the sign of the last direction", sends=True, trains=False),
    "replay_model": _Kind(told="does not train and sends the model itself, to make it longer", sends=True, trains=False),
    "stale": _Kind(told="sends its first update in every round", sends=True),
    "synthetic": _Kind(told="has no rows and trains on a batch made up from public models", sends=True, trains=False),
    "harm": _Kind(told="sends what lowers the scores of the others", sends=True),
    "ring": _Kind(told="sends the best update of a ring of clients {}", argument="A,B,…", sends=True),
    "opposite": _Kind(
        told="sends one of two opposite vectors, as the other of clients {} does", argument="A,B", sends=True,
        trains=False,
    ),
    "label_flip": _Kind(
        told="has {:.0%} of its labels flipped", argument="SHARE", fits=lambda share: 0 < share <= 1
    ),
    "backdoor": _Kind(
        told="trains the model to answer class {:.0f} wherever it sees a mark", argument="CLASS",
        fits=lambda label: label >= 0 and _is_whole(label),
    ),
    "copy": _Kind(
        told="sends the update of client-{:.0f}", argument="CLIENT",
        fits=lambda client: client >= 0 and _is_whole(client),
    ),
    "lazy": _Kind(
        told="trains only {:.0f} steps a round", argument="STEPS",
        fits=lambda steps: steps >= 1 and _is_whole(steps),
    ),
    "scale": _Kind(told="sends {:g} times its update", argument="FACTOR", fits=lambda factor: 0 < factor <= 1e6),
    "split": _Kind(
        told="is under {:.0f} wallets", argument="WALLETS",
        fits=lambda wallets: 2 <= wallets <= 64 and _is_whole(wallets),
    ),
}  # fmt: skip
_CLIENTS = re.compile(r"\d+(,\d+)+")  # arguments of ring and opposite


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one client does."""

    text: str  # as it was written
    source: str = HONEST  # what decides what it sends
    decay: float = 1.0  # of replay_average
    members: tuple[int, ...] = ()  # clients of its ring or pair, ascending but for the pair's order
    flipped: float = 0.0  # share of its labels
    backdoor: int | None = None  # class of the marked rows
    copied: int | None = None  # whose rows it trains on, as that client would
    steps: int | None = None  # fewer than agreed
    factor: float = 1.0
    wallets: int = 1

    def __str__(self) -> str:
        """In words."""
        told = []
        for part in self.text.split("+"):
            name, _, value = part.partition(":")
            shown = " and ".join(value.split(",")) if name in ("ring", "opposite") else float(value or 0)
            told.append(_KINDS[name].told.format(f"{shown:g}" if name == "replay_average" else shown))
        return ", ".join(told)

    @property
    def trains(self) -> bool:
        """Whether its rows matter."""
        return _KINDS[self.source].trains

    @property
    def looks_back(self) -> bool:
        """Whether it goes by what was published of the rounds before."""
        return self.source in ("noise", "stale") or (not self.trains and self.source != "zero")


@cache
def read_behaviour(text: str) -> Behaviour:
    """Read a behaviour. Raises: ConfigError for one that there is not, or parts that do not fit together."""
    parts = [_part(part, whole=text) for part in text.split("+")]
    names = [name for name, _ in parts]
    sources = [name for name in names if _KINDS[name].sends]
    if len(set(names)) < len(names) or len(sources) > 1 or (HONEST in names and len(names) > 1):
        raise ConfigError(f"behaviour {text!r} says twice what is sent; join parts that do not exclude each other")
    source = sources[0] if sources else HONEST
    if not _KINDS[source].trains and (useless := set(names) & {"label_flip", "backdoor", "copy", "lazy"}):
        raise ConfigError(f"behaviour {text!r} does not train, so {min(useless)} means nothing; leave one of both out")
    members = next((value for _, value in parts if isinstance(value, tuple)), ())
    found = {name: value for name, value in parts if not isinstance(value, tuple)}
    return Behaviour(
        text=text,
        source="zero" if source == "free_ride" else source,
        decay=found.get("replay_average", 1.0),
        members=members,
        flipped=found.get("label_flip", 0.0),
        backdoor=int(found["backdoor"]) if "backdoor" in found else None,
        copied=int(found["copy"]) if "copy" in found else None,
        steps=int(found["lazy"]) if "lazy" in found else None,
        factor=found.get("scale", 1.0),
        wallets=int(found.get("split", 1)),
    )


def _part(part: str, *, whole: str) -> tuple[str, float | tuple[int, ...]]:
    name, sign, value = part.partition(":")
    kind = _KINDS.get(name)
    if kind is not None and bool(kind.argument) == bool(sign):
        if name in ("ring", "opposite"):
            members = tuple(map(int, value.split(","))) if _CLIENTS.fullmatch(value) else ()
            if len(set(members)) == len(members) and (len(members) == 2 or (name == "ring" and len(members) > 2)):
                return name, members if name == "opposite" else tuple(sorted(members))
        elif not sign:
            return name, 0.0
        elif (number := _number(value)) is not None and kind.fits(number):
            return name, number
    known = ", ".join(f"{name}:{kind.argument}" if kind.argument else name for name, kind in _KINDS.items())
    raise ConfigError(
        f"behaviour {whole!r} is unknown; write one of {known}, or several joined by +, with 0 < DECAY ≤ 1, 0 < SHARE ≤ 1, "
        "0 < FACTOR ≤ 10^6, STEPS ≥ 1, 2 ≤ WALLETS ≤ 64, and clients by number"
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
