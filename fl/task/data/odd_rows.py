"""Rows and columns that are not what the others are: a row of totals, rows that come again, a column that gives the class away."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.advice import setting, shown
from fl.task.data.cells import distinct
from fl.task.data.errors import DataError
from fl.task.data.number import parse_number
from fl.task.data.table import Table

_WORDS = (
    "total totals subtotal sum sums summe gesamt insgesamt mean average avg median mittelwert durchschnitt somme moyenne totale "
    "totaal suma media promedio soma razem итого всего 合计 总计 合計"
)
_TOTALS = frozenset(_WORDS.split())
_LOOKED_AT = 1000  # rows whose numbers a total has to exceed
_MOST_ROWS = 200_000  # to compare with each other
_SCARCE = 20  # times as many different rows as there are could be: then none comes again by chance
_FEW, _EACH = 20, 5  # values of a column that may give the class away, and rows of each


def check_totals(table: Table) -> None:
    """Refuse a last row that holds the sums or means of those above.

    By its numbers alone if two columns agree, by one if a word such as Total stands beside it.

    Raises: DataError with its line.
    """
    last = len(table) - 1
    if last < 3:
        return
    cells = [str(column[last]) for column in table.columns]
    word = next((cell for cell in cells if cell.strip(" :").casefold() in _TOTALS), None)
    suspects = [
        place
        for place, cell in enumerate(cells)
        if (number := parse_number(cell)) and (word is not None or _exceeds(table.columns[place][:last], number))
    ]
    if len(suspects) < (1 if word else 2):
        return
    agree = [place for place in suspects if _sums_up(table.columns[place])]
    if len(agree) < (1 if word else 2):
        return
    raise DataError(
        seen=f"{table.place(last)} holds the totals of the rows above it, in "
        f"{shown([table.names[place] for place in agree], most=3)}",
        expected="a row for each case",
        fix="delete that line",
    )


def about_repeats(table: Table, *, why: str) -> list[str]:
    """Sentences on rows that stand in a table several times, and not by chance; `why` says what comes of that."""
    rows = len(table)
    if not 2 * _EACH <= rows <= _MOST_ROWS:
        return []
    columns = [column.tolist() for column in table.columns]
    every = [hash(row) for row in zip(*columns, strict=True)]
    for times in (2, 3, 4, 5):
        if rows % times == 0 and every[: rows // times] * times == every:
            return [f"the same {rows // times} rows come {times} times over: {why}"]
    repeats = rows - len(set(every))
    possible = 0.0
    for column in columns:
        possible += math.log(len(set(column)))
    if 10 * repeats >= rows and possible > math.log(_SCARCE * rows):
        return [f"{repeats} of {plural(rows, 'row')} {'stands' if repeats == 1 else 'stand'} there already: {why}"]
    return []


def about_leaks(table: Table, *, labels: NDArray[np.int64], skip: Collection[str]) -> list[str]:
    """Sentences on columns of which each value goes with one class.

    Args:
        table: The rows.
        labels: Their classes, shape (N,).
        skip: Columns that give no feature.
    """
    notes = []
    if len(table) < 2 * _EACH:
        return []
    for name, column in zip(table.names, table.columns, strict=True):
        if name in skip or not _tells(column[:_LOOKED_AT], labels[:_LOOKED_AT]) or not _tells(column, labels):
            continue
        notes.append(
            f"column {name!r} alone tells the class of every row; if it comes from the same finding, "
            f"{setting('drop', [name])} leaves it out"
        )
    return notes[:4]


def _tells(column: NDArray[np.str_], labels: NDArray[np.int64]) -> bool:
    values, which = distinct(column)
    if not 2 <= len(values) <= _FEW or len(column) < _EACH * len(values):
        return False
    return len(np.unique(which * (int(labels.max()) + 1) + labels)) == len(values) and len(np.unique(labels)) > 1


def _exceeds(above: NDArray[np.str_], number: float) -> bool:
    held = [value for cell in above[:_LOOKED_AT] if (value := parse_number(str(cell))) is not None]
    return bool(held) and abs(number) > max(map(abs, held))


def _sums_up(column: NDArray[np.str_]) -> bool:
    numbers = [parse_number(str(cell)) for cell in column]
    last, held = numbers[-1], [number for number in numbers[:-1] if number is not None]
    if last is None or len(held) < 3:
        return False
    decimals = len(str(column[-1]).partition(".")[2])
    near = 0.51 * 10.0**-decimals  # as a person would round it
    total = math.fsum(held)
    return abs(total - last) <= max(near, 1e-9 * abs(total)) or abs(total / len(held) - last) <= near
