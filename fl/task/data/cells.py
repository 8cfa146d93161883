"""One column of cells as values: which are missing, and the numbers or levels that the others hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.task.data.advice import setting
from fl.task.data.errors import DataError
from fl.task.data.number import parse_number, spell
from fl.task.data.spelling import Spelling, holds_digit, settings_that_read
from fl.task.data.table import Table

_FEW = 3  # words that a message lists as further marks of a missing value


def distinct(cells: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int64]]:
    """The different cells of a column by first occurrence, and which of them each is, shape (N,).

    Several times as fast as `numpy.unique`, which sorts the text.
    """
    index: dict[str, int] = {}
    which = np.fromiter((index.setdefault(cell, len(index)) for cell in cells.tolist()), np.int64, count=len(cells))
    return list(index), which


def missing_cells(
    cells: NDArray[np.str_], *, missing: Sequence[str], zero_is_missing: bool = False
) -> NDArray[np.bool_]:
    """Where a column has no value, shape (N,).

    Args:
        cells: Of the column, shape (N,).
        missing: Marks of a missing value.
        zero_is_missing: Whether 0 is one, too.
    """
    marked = _marks(missing)
    values, inverse = distinct(cells)
    absent = [marked(cell) or (zero_is_missing and parse_number(cell) == 0) for cell in values]
    return np.array(absent, dtype=np.bool_)[inverse]


def numbers(
    table: Table,
    place: int,
    *,
    present: NDArray[np.bool_],
    what: str = "a number",
    spelling: Spelling | None = None,
    missing: Sequence[str] = (),
) -> NDArray[np.float64]:
    """The numbers of one column, shape (N,), NaN where none is present.

    Args:
        table: The rows.
        place: Of the column.
        present: Where it holds a value, shape (N,).
        what: What is expected, for messages.
        spelling: How numbers are read where the column's kind is still to be settled; None where a schema settled it.
        missing: What stands for no value, for messages.
    Raises: DataError with line and column if a cell holds something else, and the settings that would read it.
    """
    values, inverse = distinct(table.columns[place])
    parsed = np.array([np.nan if (number := parse_number(cell)) is None else number for cell in values])[inverse]
    bad = np.flatnonzero(present & np.isnan(parsed))
    if bad.size:
        row = int(bad[0])
        held = np.unique(table.columns[place][present])
        raise DataError(
            seen=f"{table.place(row)}, column {table.names[place]!r} holds {str(table.columns[place][row])!r}",
            expected=what,
            fix=_fix(
                [str(cell) for cell in held],
                name=table.names[place],
                spelling=spelling or Spelling(),
                missing=missing,
                settled=spelling is None,
            )
            + _header_hint(table, row),
        )
    return np.where(present, parsed, np.nan)


def levels(cells: NDArray[np.str_]) -> NDArray[np.str_]:
    """Each cell in the one spelling of its value, shape (N,): `4`, `4.0` and `4.` are one level."""
    values, inverse = distinct(cells)
    return np.array([spell(cell) for cell in values], dtype=np.str_)[inverse]


def _header_hint(table: Table, row: int) -> str:
    first = table.lines[table.source_of == table.source_of[row]].min()
    if table.has_header or table.lines[row] > first:
        return ""
    return "; set data.header=true if the first line names the columns"


def _marks(missing: Collection[str]) -> Callable[[str], bool]:
    words = {marker.casefold() for marker in missing}
    sizes = {number for marker in missing if (number := parse_number(marker)) is not None}

    longest = max(map(len, missing), default=0) + 1  # a letter or so may fold to two

    def marked(cell: str) -> bool:
        if len(cell) <= longest and cell.casefold() in words:
            return True
        # 00 is a code and not the number 0.
        return bool(sizes) and not re.match(r"[+-]?0\d", cell) and parse_number(cell) in sizes

    return marked


def _fix(held: Sequence[str], *, name: str, spelling: Spelling, missing: Sequence[str], settled: bool) -> str:
    digits = [cell for cell in held if holds_digit(cell)]
    words = [cell for cell in held if not holds_digit(cell)]
    ways = settings_that_read(digits, now=spelling) if any(parse_number(cell) is None for cell in digits) else []
    fixes = []
    if ways:
        fixes.append(f"set {' or '.join(ways)}")
    elif not words or len(words) > _FEW:
        fixes.append("correct the cell, or add it to data.missing if it stands for no value")
    if words and len(words) <= _FEW:
        marks = words if settled else [*missing, *words]
        fixes.append(f"set {setting('missing', marks)} if {' and '.join(map(repr, words))} stands for no value")
        if settled:
            fixes.append("data.level_map to write it as a number")
    if settled:
        return ", or ".join(fixes)
    return f"{', or '.join(fixes)}, or list the column: {setting('categorical', [name])} or {setting('drop', [name])}"
