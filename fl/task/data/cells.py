"""One column of cells as values: which are missing, and the numbers or levels that the others hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.task.data.errors import DataError
from fl.task.data.number import parse_number, spell
from fl.task.data.table import Table


def missing_cells(
    cells: NDArray[np.str_], *, missing: Sequence[str], zero_is_missing: bool = False
) -> NDArray[np.bool_]:
    """Where a column holds no value, shape (N,)."""
    markers = {marker.casefold() for marker in missing}
    values, inverse = np.unique(cells, return_inverse=True)
    absent = [cell.casefold() in markers or (zero_is_missing and parse_number(cell) == 0) for cell in values]
    return np.array(absent, dtype=np.bool_)[inverse]


def numbers(table: Table, place: int, *, present: NDArray[np.bool_], what: str = "a number") -> NDArray[np.float64]:
    """The numbers of one column, shape (N,), NaN where none is present.

    Raises: DataError with line and column if a cell holds something else.
    """
    values, inverse = np.unique(table.columns[place], return_inverse=True)
    parsed = np.array([np.nan if (number := parse_number(cell)) is None else number for cell in values])[inverse]
    bad = np.flatnonzero(present & np.isnan(parsed))
    if bad.size:
        row = int(bad[0])
        cell = str(table.columns[place][row])
        headed = table.has_header or table.lines[row] > 1
        raise DataError(
            seen=f"{table.place(row)}, column {table.names[place]!r} holds {cell!r}",
            expected=what,
            fix="correct the cell, add it to data.missing if it stands for no value, "
            "or list the column in data.categorical or data.drop"
            if headed
            else "set data.header=true if the first line names the columns, else correct the cell",
        )
    return np.where(present, parsed, np.nan)


def levels(cells: NDArray[np.str_]) -> NDArray[np.str_]:
    """Each cell in the one spelling of its value, shape (N,): `4`, `4.0` and `4.` are one level."""
    values, inverse = np.unique(cells, return_inverse=True)
    return np.array([spell(cell) for cell in values], dtype=np.str_)[inverse]
