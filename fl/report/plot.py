"""What every plot is: a drawing, its title, and one sentence that states the finding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fl.report.drawing import Drawing, Point
from fl.report.wording import clean


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing with what it says."""

    title: str
    drawing: Drawing
    finding: str  # plain text, not escaped


def points(values: Sequence[tuple[int, float]], written: Callable[[float], str], *, of: str = "") -> tuple[Point, ...]:
    """Values by round, with what a pointer over each says; what is not finite is left out.

    Args:
        values: Round number, 0 for the start, and value.
        written: The value in words.
        of: What it is the value of, if the chart has several.
    """
    start = f"{of}, " if of else ""
    return tuple(
        Point(x=number, y=value, note=clean(f"{start}{f'round {number}' if number else 'start'}: {written(value)}"))
        for number, value in values
        if math.isfinite(value)
    )


def change_of(values: Sequence[tuple[int, float]], written: Callable[[float], str]) -> str:
    """How the first value became the last, as "fell from 2.3 to 0.5"."""
    first, last = values[0][1], values[-1][1]
    if written(first) == written(last):
        return f"stayed at {written(last)}"
    rose = "rose" if last > first else "fell" if last < first else "went"  # not a number is neither
    return f"{rose} from {written(first)} to {written(last)}"
