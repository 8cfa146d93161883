"""What counts as a number in a cell, and the one spelling of an identifier."""

from __future__ import annotations

import math
import re
from functools import lru_cache

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"[+-]?{_NUMBER}")
_CONVERSION = re.compile(rf"([+-]?{_NUMBER})([+-]{_NUMBER})?")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")


@lru_cache(maxsize=1 << 17)  # a column is looked at several times
def parse_number(cell: str) -> float | None:
    """The finite number in a cell, or None if it holds something else.

    Python also reads `1_000`, which in a file is more likely a code than a number.
    """
    if not _PLAIN.fullmatch(cell):
        return None
    number = float(cell)
    return number if math.isfinite(number) else None


def parse_conversion(text: str) -> tuple[float, float] | None:
    """Factor and offset of one unit in another: 0.0113, or 0.5556-17.78 for degrees Fahrenheit; None for anything else."""
    parts = _CONVERSION.fullmatch(text.strip())
    if parts is None:
        return None
    factor, offset = float(parts[1]), float(parts[2] or 0)
    return (factor, offset) if factor and math.isfinite(factor) and math.isfinite(offset) else None


def spell(cell: str) -> str:
    """One spelling of a class or a level: `4.0` and `4.`, as tools write whole numbers beside gaps, are `4`.

    All else stays as it is written, to the last digit: an identifier is text, and a float would merge long ones.
    """
    whole = _WHOLE.fullmatch(cell)
    if whole is None:
        return cell
    return "0" if whole[1] in ("-0", "+0") else whole[1]


def by_size(cell: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then words by alphabet."""
    number = parse_number(cell)
    return (number is None, number or 0.0, cell)
