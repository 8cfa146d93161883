"""Line and scatter charts as SVG text. Colours are classes of the page's style, so that one drawing serves light and dark.

A series has a place (0, 1, …): it chooses colour, marker and dash together, so that no series is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fl.report.axes import Axis, round_axis, spread, value_axis
from fl.report.wording import escaped, shortened

WIDTH, HEIGHT = 470, 310  # small, so that text of 13 is still read when a phone scales it down
LEFT, RIGHT, TOP, BOTTOM = 58, 326, 34, 262  # the frame; names stand to the right of it
STRIP = 30  # height of a strip
LABEL_GAP = 18
LABEL_LENGTH = 13
MARKERS = 12  # on one line at most, or they hide it

# Outlines around (0, 0), filled or open.
_SHAPES = (
    ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", True),
    ("M-3.7 -3.7h7.4v7.4h-7.4z", True),
    ("M0 -4.8L4.6 3.6H-4.6z", True),
    ("M0 -5.2L5.2 0L0 5.2L-5.2 0z", True),
    ("M0 4.8L4.6 -3.6H-4.6z", True),
    ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", False),
    ("M-3.7 -3.7h7.4v7.4h-7.4z", False),
    ("M-4 -4L4 4M-4 4L4 -4", False),
    ("M0 -5.2L5.2 0L0 5.2L-5.2 0z", False),
    ("M-5 0H5M0 -5V5", False),
)
SERIES = len(_SHAPES)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a plot and what a pointer over it says."""

    x: float
    y: float  # finite
    note: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a line chart; a round that has no value is left out and breaks the line."""

    label: str
    place: int
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where all the series lie that have no line of their own."""

    label: str
    rows: tuple[tuple[int, float, float, float], ...]  # round, least, median, most


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One client of a scatter chart."""

    label: str  # "" is not written
    place: int | None  # None: one of the rest
    point: Point


def line_chart(
    series: Sequence[Series],
    *,
    rounds: Sequence[int],
    name: str,
    unit: str,
    tick: Callable[[float], str],
    band: Band | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    from_zero: bool = False,
) -> str:
    """Draw values by round.

    Args:
        series: Named lines.
        rounds: Round numbers of the horizontal axis, at least one.
        name: What a screen reader calls the drawing.
        unit: What the vertical axis counts.
        tick: Writes a value of the vertical axis.
        band: All other lines together.
        least: No value can be below.
        most: No value can be above.
        from_zero: The vertical axis takes 0 in.
    """
    values = [point.y for one in series for point in one.points]
    values += [value for row in (band.rows if band else ()) for value in row[1:]]
    x = round_axis(rounds, start=LEFT, end=RIGHT)
    y = value_axis(values, start=BOTTOM, end=TOP, least=least, most=most, from_zero=from_zero)
    parts = _frame(x, y, x_unit="round", y_unit=unit, x_tick="{:.0f}".format, y_tick=tick)
    ends: list[tuple[str, int | None, Point]] = []
    if band and band.rows:
        parts.append(_band(band, x=x, y=y))
        ends.append((band.label, None, Point(x=band.rows[-1][0], y=band.rows[-1][2], note=band.label)))
    for one in series:
        parts += _line(one, x=x, y=y)
        if one.points:
            ends.append((one.label, one.place, one.points[-1]))
    parts += _names(ends, x=x, y=y)
    return _drawing(parts, name=name)


def strip_chart(
    series: Sequence[Series],
    *,
    rounds: Sequence[int],
    name: str,
    unit: str,
    tick: Callable[[float], str],
    band: Band | None = None,
) -> str:
    """Draw values by round with a strip for each series, all on one scale: for lines that would cross too often.

    Args:
        series: One strip each, from the top.
        rounds: Round numbers of the horizontal axis, at least one.
        name: What a screen reader calls the drawing.
        unit: What a strip counts.
        tick: Writes a value.
        band: The last strip, all other lines together.
    """
    values = [point.y for one in series for point in one.points] + [0.0]
    values += [value for row in (band.rows if band else ()) for value in row[1:]]
    low, high = min(values), max(values) if max(values) > min(values) else min(values) + 1
    x = round_axis(rounds, start=LEFT, end=RIGHT)
    count = len(series) + bool(band)
    height = max(STRIP, (BOTTOM - TOP) / count)
    bottom = TOP + count * height
    parts = [f'<text class="unit" x="8" y="16">{escaped(unit)}, each strip {tick(low)} to {tick(high)}</text>']
    parts += _ticks_below(x, bottom=bottom, unit="round", write="{:.0f}".format)
    for index in range(count):
        y = Axis(low=low, high=high, start=TOP + (index + 1) * height - 2, end=TOP + index * height + 2, ticks=(0.0,))
        zero, middle = _n(y.at(0)), TOP + (index + 0.5) * height
        parts.append(f'<path class="zero" d="M{LEFT} {zero}H{RIGHT}"/>')
        if index < len(series):
            one = series[index]
            parts += _areas(one, x=x, y=y)
            parts += [
                f'<path class="hover" d="M{_n(x.at(point.x))} {_n(y.end)}V{_n(y.start)}">'
                f"<title>{escaped(point.note)}</title></path>"
                for point in one.points
            ]
            parts += _name(one.label, one.place, at=middle)
        elif band and band.rows:
            parts.append(_band(band, x=x, y=y))
            parts += _name(band.label, None, at=middle)
    return _drawing(parts, name=name, height=HEIGHT - BOTTOM + bottom)


def scatter_chart(
    spots: Sequence[Spot],
    *,
    name: str,
    x_unit: str,
    y_unit: str,
    tick: Callable[[float], str],
    diagonal: str,
) -> str:
    """Draw one share against another on equal axes, with the line on which both are the same.

    Args:
        spots: One for each client; later ones lie on top.
        name: What a screen reader calls the drawing.
        x_unit: What the horizontal axis counts.
        y_unit: What the vertical axis counts.
        tick: Writes a value of either axis.
        diagonal: What stands at the line of equal shares.
    """
    right = WIDTH - 24
    values = [value for one in spots for value in (one.point.x, one.point.y)]
    x = value_axis(values, start=LEFT, end=right, least=0, from_zero=True)
    y = value_axis(values, start=BOTTOM, end=TOP, least=0, from_zero=True)
    parts = _frame(x, y, x_unit=x_unit, y_unit=y_unit, x_tick=tick, y_tick=tick)
    parts.append(f'<path class="even" d="M{LEFT} {BOTTOM}L{right} {TOP}"/>')
    boxes = [(x.at(one.point.x) - 6, y.at(one.point.y) - 6, 12.0, 12.0) for one in spots]
    texts = []
    for one in spots:
        at = x.at(one.point.x), y.at(one.point.y)
        parts.append(_marker(one.place, *at, note=one.point.note))
        if one.label:
            placed = _free_label(shortened(one.label, LABEL_LENGTH), at, right=right, boxes=boxes)
            if placed:
                texts.append(placed)
    texts.append(_diagonal_label(diagonal, right=right, boxes=boxes))
    return _drawing(parts + texts, name=name)


def swatch(place: int | None) -> str:
    """A series' marker alone, for a key in HTML beside the plots."""
    return (
        f'<svg class="swatch" viewBox="-9 -7 18 14" aria-hidden="true">{_marker(place, 0, 0, note="", line=True)}</svg>'
    )


def _drawing(parts: list[str], *, name: str, height: float = HEIGHT) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{escaped(name)}">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _frame(
    x: Axis,
    y: Axis,
    *,
    x_unit: str,
    y_unit: str,
    x_tick: Callable[[float], str],
    y_tick: Callable[[float], str],
) -> list[str]:
    parts = [f'<text class="unit" x="8" y="16">{escaped(y_unit)}</text>']
    for value in y.ticks:
        at = _n(y.at(value))
        style = "zero" if abs(value) < (y.high - y.low) / 1e9 else "grid"
        parts.append(f'<path class="{style}" d="M{LEFT} {at}H{_n(x.end)}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{at}" dy="0.32em" text-anchor="end">{escaped(y_tick(value))}</text>'
        )
    return parts + _ticks_below(x, bottom=BOTTOM, unit=x_unit, write=x_tick)


def _ticks_below(x: Axis, *, bottom: float, unit: str, write: Callable[[float], str]) -> list[str]:
    middle = (x.start + x.end) / 2
    parts = [f'<text class="unit" x="{_n(middle)}" y="{_n(bottom + 40)}" text-anchor="middle">{escaped(unit)}</text>']
    for value in x.ticks:
        at, text = _n(x.at(value)), escaped(write(value))
        parts.append(f'<path class="grid" d="M{at} {_n(bottom)}v5"/>')
        parts.append(f'<text class="tick" x="{at}" y="{_n(bottom + 20)}" text-anchor="middle">{text}</text>')
    return parts


def _band(band: Band, *, x: Axis, y: Axis) -> str:
    upper = [f"{_n(x.at(row[0]))} {_n(y.at(row[3]))}" for row in band.rows]
    lower = [f"{_n(x.at(row[0]))} {_n(y.at(row[1]))}" for row in reversed(band.rows)]
    middle = [f"{_n(x.at(row[0]))} {_n(y.at(row[2]))}" for row in band.rows]
    return (
        f'<path class="band" d="M{"L".join(upper + lower)}z"><title>{escaped(band.label)}, least to most</title></path>'
        f'<path class="line rest" d="M{"L".join(middle)}"><title>{escaped(band.label)}, median</title></path>'
    )


def _line(one: Series, *, x: Axis, y: Axis) -> list[str]:
    path, previous = "", None
    for point in one.points:
        joined = previous is not None and point.x - previous == 1
        path += f"{'L' if joined else 'M'}{_n(x.at(point.x))} {_n(y.at(point.y))}"
        previous = point.x
    parts = [f'<path class="line s{one.place % SERIES}" d="{path}"/>'] if path else []
    every = math.ceil(len(one.points) / MARKERS)
    for index, point in enumerate(reversed(one.points)):
        if index % every == 0:  # counted from the end, which always has its marker
            parts.append(_marker(one.place, x.at(point.x), y.at(point.y), note=point.note))
    return parts


def _areas(one: Series, *, x: Axis, y: Axis) -> list[str]:
    # From zero to the value, a piece for each run of rounds without a gap.
    runs: list[list[Point]] = []
    for point in one.points:
        if runs and point.x - runs[-1][-1].x == 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    zero, parts = _n(y.at(0)), []
    for run in runs:
        wider = 1 if len(run) == 1 else 0  # a round alone gets a width that shows
        start, end = _n(x.at(run[0].x) - wider), _n(x.at(run[-1].x) + wider)
        path = "L".join(f"{_n(x.at(point.x))} {_n(y.at(point.y))}" for point in run)
        parts.append(f'<path class="area s{one.place % SERIES}" d="M{start} {zero}L{path}L{end} {zero}z"/>')
    return parts


def _names(ends: list[tuple[str, int | None, Point]], *, x: Axis, y: Axis) -> list[str]:
    wanted = [y.at(point.y) for _, _, point in ends]
    parts = []
    for (label, place, point), start, at in zip(
        ends, wanted, spread(wanted, gap=LABEL_GAP, least=TOP, most=BOTTOM), strict=True
    ):
        if x.at(point.x) >= RIGHT - 1:
            parts.append(f'<path class="leader" d="M{RIGHT + 4} {_n(start)}L{RIGHT + 13} {_n(at)}"/>')
        parts += _name(label, place, at=at)
    return parts


def _name(label: str, place: int | None, *, at: float) -> list[str]:
    text = escaped(shortened(label, LABEL_LENGTH))
    return [
        _marker(place, RIGHT + 20, at, note=label),
        f'<text class="name" x="{RIGHT + 30}" y="{_n(at)}" dy="0.34em">{text}</text>',
    ]


def _marker(place: int | None, x: float, y: float, *, note: str, line: bool = False) -> str:
    title = f"<title>{escaped(note)}</title>" if note else ""
    at = f'transform="translate({_n(x)} {_n(y)})"'
    if place is None:
        return f'<path class="mark rest" d="M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z" {at}>{title}</path>'
    outline, filled = _SHAPES[place % SERIES]
    behind = f'<path class="line s{place % SERIES}" d="M-9 0H9"/>' if line else ""
    return f'{behind}<path class="mark s{place % SERIES}{"" if filled else " open"}" d="{outline}" {at}>{title}</path>'


def _free_label(
    text: str, at: tuple[float, float], *, right: float, boxes: list[tuple[float, float, float, float]]
) -> str | None:
    # Tried in turn: right, left, above, below. A label that would lie on another one is left out: its note tells it.
    wide = 8.0 * len(text)
    x, y = at
    for anchor, left, top in (
        ("start", x + 9, y - 8),
        ("end", x - 9 - wide, y - 8),
        ("middle", x - wide / 2, y - 24),
        ("middle", x - wide / 2, y + 8),
    ):
        box = (left, top, wide, 16.0)
        inside = left >= LEFT and left + wide <= right + 12 and top >= TOP - 16 and top + 16 <= BOTTOM + 9
        if inside and not any(_overlap(box, other) for other in boxes):
            boxes.append(box)
            anchored = {"start": left, "end": left + wide, "middle": left + wide / 2}[anchor]
            return (
                f'<text class="name" x="{_n(anchored)}" y="{_n(top + 8)}" dy="0.34em" text-anchor="{anchor}">'
                f"{escaped(text)}</text>"
            )
    return None


def _diagonal_label(text: str, *, right: float, boxes: list[tuple[float, float, float, float]]) -> str:
    # Where the fewest marks and names lie under it, the outer end first.
    def crowd(part: float) -> int:
        box = (LEFT + part * (right - LEFT) - 45, BOTTOM - part * (BOTTOM - TOP) - 34, 90.0, 56.0)
        return sum(_overlap(box, other) for other in boxes)

    part = min((0.88, 0.7, 0.5, 0.3, 0.15), key=crowd)
    slope = math.degrees(math.atan2(BOTTOM - TOP, right - LEFT))
    x, y = LEFT + part * (right - LEFT), BOTTOM - part * (BOTTOM - TOP) - 6
    return (
        f'<text class="tick" text-anchor="middle" transform="translate({_n(x)} {_n(y)}) rotate({_n(-slope)})">'
        f"{escaped(text)}</text>"
    )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _n(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"  # + 0.0: a rounded −0.04 is not written as -0
