"""What a chart shows, as plain values; `static/charts.js` draws it, in report.html and in the live page alike.

A series has a place (0, 1, …): it chooses colour, marker and dash together, so that no series is told by colour alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

# Observable Plot with our marks, bundled from web/src/charts.ts.
CHARTS = Path(__file__).with_name("static") / "charts.js"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a chart and what a pointer over it says."""

    x: float
    y: float  # finite
    note: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or one client of a scatter chart; a round that has no value is left out and breaks the line."""

    label: str
    place: int | None  # None: one of the rest, a grey dot without a name
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where all the series lie that have no line of their own."""

    label: str
    rows: tuple[tuple[int, float, float, float], ...]  # round, least, median, most


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One chart."""

    # strips: one band a series on one scale, for lines that cross too often; bars: stacked, those below 0 downwards
    kind: Literal["lines", "strips", "scatter", "bars"]
    name: str  # what a screen reader calls it
    x_unit: str
    y_unit: str
    tick: Literal["percent", "number"]  # how a value of the vertical axis is written
    series: tuple[Series, ...]
    band: Band | None = None
    rounds: tuple[int, ...] = ()  # of the horizontal axis; none in a scatter chart
    least: float | None = None  # no value can be below
    most: float | None = None  # no value can be above
    from_zero: bool = False  # the vertical axis takes 0 in
    diagonal: str = ""  # of a scatter chart: what stands at the line of equal shares

    def to_json(self) -> dict[str, Any]:
        """As the charts' script reads it."""
        return asdict(self)
