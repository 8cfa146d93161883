"""Whether a site writes a column in another unit than the others: shown side by side, with the setting that converts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.task.data.advice import setting
from fl.task.data.encode import CLIP
from fl.task.data.errors import DataError
from fl.task.data.suspicions import off_by

_FEWEST = 5  # values that have a middle
_CODES = 6  # different values that may be codes, which have no unit
_MOST_SITES = 1000  # that are compared
_MOST_SHOWN = 4  # columns in a message
_TIMES = 1.5  # a smaller factor between two units is not a unit's: dates of two years differ by less
_APART = 3.0  # standard deviations between two middles that are worth a line


# Units of temperature, which a factor alone does not convert: Fahrenheit in Celsius and back, Kelvin in Celsius and back.
_WITH_OFFSET = {
    "0.5556-17.78": (5 / 9, -160 / 9),
    "1.8+32": (1.8, 32.0),
    "1-273.15": (1.0, -273.15),
    "1+273.15": (1.0, 273.15),
}
_NEAR = 0.03  # of the value that it would be


@dataclass(frozen=True, kw_only=True)
class ForeignUnit:
    """One column at one site whose numbers are far from everybody else's."""

    column: str
    site: str
    own: float  # in the middle
    others: float  # in the middle

    def __str__(self) -> str:
        return (
            f"column {self.column!r} is {amount(self.own)} in the middle at {self.site!r} and {amount(self.others)} at the others"
            + (f", {amount(self.own / self.others)} times as much" if self.others else "")
        )

    def entry(self, told: str = "") -> str:
        """Of data.scale: as told, or by what brings the middles together."""
        return f"{self.site}:{self.column}:{told or conversion_to(self.others, own=self.own)}"


def amount(number: float) -> str:
    """A number for a sentence: four digits, or whole thousands."""
    return f"{number:.4g}" if abs(number) < 10**4 else f"{number:,.0f}"


def conversion_to(others: float, *, own: float) -> str:
    """What would convert a number into another, as data.scale takes it."""
    for told, (factor, offset) in _WITH_OFFSET.items():
        if others and abs(own * factor + offset - others) < _NEAR * abs(others):
            return told
    return f"{others / own:.3g}" if own * others > 0 else "FACTOR"


@dataclass(frozen=True, kw_only=True)
class UnitsSeen:
    """What a column's sites came to."""

    foreign: tuple[ForeignUnit, ...] = ()  # in another unit, by all that can be seen
    far: tuple[ForeignUnit, ...] = ()  # apart from the others, which may be how it is


def units_of(column: str, values: NDArray[np.float64], members: NDArray[np.int64], names: Sequence[str]) -> UnitsSeen:
    """Hold every site's numbers of a column against those of the sites that agree.

    Args:
        column: Its name.
        values: Its numbers, shape (N,).
        members: The site of each number, shape (N,).
        names: Of the sites.
    """
    held = {site: own for site in range(len(names)) if len(own := values[members == site]) >= _FEWEST}
    different = len(np.unique(values))
    # A whole number of its own in each row is a name of the row, which has no unit.
    named = different == len(values) and bool((values == np.round(values)).all())
    if not 1 < len(held) <= _MOST_SITES or different <= _CODES or named:
        return UnitsSeen()
    middles = {site: float(np.median(own)) for site, own in held.items()}
    # The site in the middle of all is in the unit of most, or of one half where they are halves.
    among = sorted(held, key=lambda site: middles[site])[(len(held) - 1) // 2]
    odd = [site for site in held if site != among and _another(held[site], held[among], either=len(held) == 2)]
    agreed = [site for site in held if site not in odd]
    foreign, far = [], []
    for site, own in held.items():
        rest = np.concatenate([held[other] for other in agreed if other != site] or [own])
        seen = ForeignUnit(column=column, site=names[site], own=middles[site], others=float(np.median(rest)))
        if site in odd and _another(own, rest, either=len(held) == 2):
            foreign.append(seen)
        elif site != among and _apart(own, rest):
            far.append(seen)
    return UnitsSeen(foreign=tuple(foreign), far=tuple(far))


def check_units(found: Sequence[ForeignUnit], *, source: str) -> None:
    """Refuse columns that a site seems to write in another unit. Raises: DataError with the setting that converts them."""
    if not found:
        return
    more = f"; and {len(found) - _MOST_SHOWN} more of the kind" if len(found) > _MOST_SHOWN else ""
    raise DataError(
        seen=f"in {source}, {'; '.join(map(str, found[:_MOST_SHOWN]))}{more}",
        expected="one unit in a column",
        fix=f"if the unit differs, set {setting('scale', [each.entry() for each in found])} with the exact factor; "
        f"if the numbers are right, say so with {setting('scale', [each.entry('1') for each in found])}",
    )


def about_units(found: Sequence[ForeignUnit]) -> list[str]:
    """Sentences on sites that are apart from the others."""
    return [f"{each}; if the unit differs, {setting('scale', [each.entry()])} converts it" for each in found]


def _another(own: NDArray[np.float64], others: NDArray[np.float64], *, either: bool) -> bool:
    """Whether numbers are in another unit than others; of two sites, whether either is by the other's."""
    center, spread = float(np.median(others)), float(others.std())
    if off_by(own, center=center, spread=spread) is not None:
        return True
    beyond = int((np.abs(own - center) > CLIP * spread).sum()) if spread else 0
    if 2 * beyond > len(own) and _factor(float(np.median(own)), center) >= _TIMES:
        return True
    return either and _another(others, own, either=False)


def _apart(own: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the bulk of some numbers lies outside of others'."""
    middle, center = float(np.median(own)), float(np.median(others))
    spread = max(float(own.std()), float(others.std()))
    return spread > 0 and abs(middle - center) > _APART * spread and _factor(middle, center) >= _TIMES


def _factor(one: float, other: float) -> float:
    """How many times as large the larger is; 0 where that is no factor between units."""
    return max(one / other, other / one) if one * other > 0 else 0.0
