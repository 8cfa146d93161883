"""Where values lie in a plot: round ticks, positions, and labels that keep their distance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps [low, high] to [start, end] in the units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def value_axis(
    values: Iterable[float],
    *,
    start: float,
    end: float,
    least: float = -math.inf,
    most: float = math.inf,
    from_zero: bool = False,
) -> Axis:
    """An axis over all values that ends on round ticks.

    Args:
        values: Finite; none at all gives [0, 1].
        start: Place of the low end.
        end: Place of the high end.
        least: The axis does not go below, as nothing can.
        most: The axis does not go above.
        from_zero: Take 0 in.
    """
    values = list(values) or [0.0, 1.0]
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: it lies on a line with some room around it
        room = abs(low) / 10 or 1.0
        low, high = (low, high + room) if from_zero else (low - room, high + room)
    step = _round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    ticks = [tick for tick in ticks if least - step / 1e6 <= tick <= most + step / 1e6]
    return Axis(low=ticks[0], high=ticks[-1], start=start, end=end, ticks=tuple(ticks))


def round_axis(rounds: Sequence[int], *, start: float, end: float) -> Axis:
    """An axis of round numbers: every tick is a round; a single round stands in the middle."""
    low, high = min(rounds), max(rounds)
    step = max(1, round(_round_step((high - low) / 6)))
    ticks = tuple(float(number) for number in range(low, high + 1) if number % step == 0)
    if not ticks or ticks[0] - low >= step / 2:
        ticks = (float(low), *ticks)
    if low == high:
        return Axis(low=low - 0.5, high=high + 0.5, start=start, end=end, ticks=ticks)
    return Axis(low=low, high=high, start=start, end=end, ticks=ticks)


def spread(places: Sequence[float], *, gap: float, least: float, most: float) -> list[float]:
    """Move places apart until neighbours are `gap` away from each other, inside [least, most], in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    floor = least
    for index in order:
        moved[index] = max(moved[index], floor)
        floor = moved[index] + gap
    ceiling = most
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _round_step(rough: float) -> float:
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= rough * (1 - 1e-9)), 10 * power)
