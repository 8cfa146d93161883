"""What was understood of the data, for the eyes of whoever owns them: each column, each class, and what to look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_LEVELS = 8  # that are listed


@dataclass(frozen=True, kw_only=True)
class ColumnReading:
    """One column as it was read."""

    name: str
    kind: str  # number | category | id | target | client | left out | counter | nothing seen
    holds: str  # a range, or levels with their rows
    missing: int  # rows without a value
    missing_as: str  # what stood there


@dataclass(frozen=True, kw_only=True)
class DataReading:
    """All of it."""

    source: str
    rows: int
    header: str  # names from the first line, or places
    columns: tuple[ColumnReading, ...]  # none for images
    classes: dict[str, int]  # rows of each class; empty where a number is predicted
    clients: dict[str, int]  # rows of each client in all, held back or not, where the data say whose they are
    notes: tuple[str, ...]  # what may be wrong, a sentence each

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def range_of(low: float, high: float) -> str:
    """0.6 to 2.1."""
    return f"{low:.6g} to {high:.6g}"


def levels_of(levels: dict[str, int]) -> str:
    """no 12, yes 9, ..."""
    listed = [f"{level} {rows}" for level, rows in list(levels.items())[:_LEVELS]]
    return ", ".join(listed) + (f", … {len(levels)} in all" if len(levels) > _LEVELS else "")
