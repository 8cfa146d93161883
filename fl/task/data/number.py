"""What counts as a number in a cell, and the one spelling of it."""

from __future__ import annotations

import math


def parse_number(cell: str) -> float | None:
    """The finite number in a cell, or None if it holds something else.

    Python also reads `1_000`, which in a file is more likely a code than a number.
    """
    if "_" in cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def spell(cell: str) -> str:
    """One spelling per value, so that `4`, `4.0` and `4.` are one class and one level; words stay as they are."""
    number = parse_number(cell)
    if number is None:
        return cell
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def by_size(cell: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then words by alphabet."""
    number = parse_number(cell)
    return (number is None, number or 0.0, cell)
