"""What a column holds: numbers or categories; what looks like one and is written like the other is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.advice import setting, shown
from fl.task.data.alike import alike, merge_map, similar
from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.dates import is_compact_date
from fl.task.data.errors import DataError
from fl.task.data.number import by_size, parse_number
from fl.task.data.spelling import Spelling, advice_on, holds_digit, settings_that_read
from fl.task.data.table import DEFAULT_MISSING, Table

# A column of words is taken for a name of the row rather than for a category if it has more levels than the first
# number, or more than the second and more than half as many as it has values.
MAX_LEVELS, FEW_LEVELS = 200, 20
FEW_NUMBERS = 5  # different numbers that may be levels among words
_DATES = 5  # different numbers that all read as dates are dates


@dataclass(frozen=True, kw_only=True)
class ColumnKind:
    """What was found."""

    levels: dict[str, int] | None  # rows of each level, in order; None for numbers
    missing: int  # rows without a value
    missing_as: dict[str, int]  # what stood there, and how often


def kind_of(
    table: Table,
    place: int,
    *,
    listed: bool,
    missing: Sequence[str],
    zero_is_missing: bool = False,
    spelling: Spelling | None = None,
) -> ColumnKind:
    """Numbers, or levels.

    Categorical is what is listed as such, and words of which most have no digit. A few words among numbers are refused as
    errors; so are words that hold digits, which are numbers written otherwise more often than categories.

    Args:
        table: The file.
        place: Of the column.
        listed: Columns that were named categorical.
        missing: Marks of a missing value.
        zero_is_missing: Columns where 0 is one, too.
        spelling: How numbers are written.
    Raises: DataError with the settings that would read the column, or with too many levels.
    """
    spelling = spelling or Spelling()
    cells = table.columns[place]
    absent = missing_cells(cells, missing=missing, zero_is_missing=zero_is_missing)
    gone = dict(Counter(cells[absent].tolist()))
    held = dict(Counter(cells[~absent].tolist()))
    words = {cell: count for cell, count in held.items() if parse_number(cell) is None}
    if not listed and held:
        if not words:
            _refuse_compact_dates(table, place, held=held)
            return ColumnKind(levels=None, missing=sum(gone.values()), missing_as=gone)
        rows = sum(held.values())
        with_digits = sum(count for cell, count in words.items() if holds_digit(cell))
        in_words = sum(words.values())
        if 2 * in_words < rows or (not with_digits and len(held) - len(words) > max(FEW_NUMBERS, len(words))):
            numbers(table, place, present=~absent, spelling=spelling, missing=missing)  # refuses the first word
        digits = [cell for cell in held if holds_digit(cell)]
        many = len(digits) > max(FEW_NUMBERS, len(held) - len(digits))
        if 2 * with_digits > in_words or (with_digits and many and settings_that_read(digits, now=spelling)):
            _refuse_digits(table, place, held=held, words=words, spelling=spelling)
    by_level = Counter(levels(cells[~absent]).tolist())
    if len(by_level) > MAX_LEVELS or (len(by_level) > FEW_LEVELS and 2 * len(by_level) > (~absent).sum()):
        raise DataError(
            seen=f"column {table.names[place]!r} of {table.source} holds {len(by_level)} different words in "
            f"{plural(int((~absent).sum()), 'row')}",
            expected=f"a category, of at most {MAX_LEVELS} levels with several rows each",
            fix=f"leave it out with {setting('drop', [table.names[place]])} if it names the row, or group its values",
        )
    return ColumnKind(
        levels={name: by_level[name] for name in sorted(by_level, key=by_size)},
        missing=sum(gone.values()),
        missing_as=gone,
    )


def check_levels(name: str, kind: ColumnKind, *, source: str, declared: frozenset[str] = frozenset()) -> None:
    """Refuse one level that is written in several ways.

    Args:
        name: Of the column.
        kind: What it holds.
        source: The files.
        declared: Levels that a map names: near as they are to others, they were meant.
    Raises: DataError that shows them side by side, with the map that merges them.
    """
    assert kind.levels is not None
    # One that is not declared among others that are is apart from them.
    groups = [group for group in alike(kind.levels) if len(set(group) - declared) > 1]
    if not groups:
        return
    grouped = {value for group in groups for value in group}
    for value in kind.levels:  # M and m are one, and male may be the same again
        if value not in grouped and (near := similar(value, [group[0] for group in groups])) is not None:
            next(group for group in groups if group[0] == near).append(value)
    entries = [f"{name}:{value}:{target}" for value, target in merge_map(groups).items()]
    raise DataError(
        seen=f"column {name!r} of {source} writes one thing in several ways: {side_by_side(groups, kind.levels)}",
        expected="one spelling of each level",
        fix=f"merge them with {setting('level_map', entries)}, or map a level to itself to keep it apart",
    )


def check_marks(table: Table, place: int, *, absent: NDArray[np.bool_], missing: Sequence[str]) -> None:
    """Refuse to take NA for missing among codes of its form, where nobody said that it stands for no value.

    Args:
        table: The rows.
        place: Of the column.
        absent: Where a mark of `missing` stands, shape (N,).
        missing: The marks; any other than the default ones were meant.
    Raises: DataError with both settings.
    """
    if tuple(missing) != DEFAULT_MISSING or not absent.any():
        return
    cells = table.columns[place]
    others = [str(cell) for cell in np.unique(cells[~absent])]
    for mark in map(str, np.unique(cells[absent])):
        like = [other for other in others if len(other) == len(mark) and other.isalpha() and other.isupper()]
        if mark.isalpha() and mark.isupper() and len(others) > 1 and like == others:
            raise na_word(
                table.names[place],
                mark=mark,
                rows=int((cells == mark).sum()),
                others=others,
                source=table.source,
                missing=missing,
            )


def na_word(
    name: str, *, mark: str, rows: int, others: Sequence[str], source: str, missing: Sequence[str]
) -> DataError:
    """The refusal of a mark that may be a value, such as the NA of Namibia.

    Args:
        name: Of the column.
        mark: Such as NA.
        rows: How many have it.
        others: Further values of the column.
        source: For messages.
        missing: The marks that are set.
    """
    rest = [each for each in missing if each.casefold() != mark.casefold()]
    return DataError(
        seen=f"column {name!r} of {source} holds {mark!r} in {plural(rows, 'row')}, beside {shown(others)}",
        expected="to be told whether it is a value or stands for none",
        fix=f"set {setting('missing', rest)} if it is a value, or {setting('missing', [*rest, mark])} if it stands for none",
    )


def side_by_side(groups: Sequence[Sequence[str]], counts: dict[str, int]) -> str:
    """Values that may be one, with their rows: 'yes' (12), 'Yes' (9) | 'no' (7), 'No' (3)."""
    return " | ".join(", ".join(f"{value!r} ({counts.get(value, 0)})" for value in group) for group in groups[:8])


def _refuse_digits(
    table: Table, place: int, *, held: dict[str, int], words: dict[str, int], spelling: Spelling
) -> None:
    name = table.names[place]
    digits = [cell for cell in held if holds_digit(cell)]
    ways = settings_that_read(digits, now=spelling)
    rare = [cell for cell in words if not holds_digit(cell)]
    reading = (
        f"set {' or '.join(ways)}" + (f", and add {shown(rare)} to data.missing" if rare else "") + "; or, "
        if ways
        else f"{told}; or, "
        if (told := advice_on([word for word in words if holds_digit(word)]))
        else ""
    )
    first = next(row for row in range(len(table)) if str(table.columns[place][row]) in words)
    raise DataError(
        seen=f"column {name!r} holds words most of which hold digits ({shown([c for c in words if holds_digit(c)])}; "
        f"{table.place(first)})",
        expected="numbers such as 1234.5, or a category that is declared",
        fix=f"{reading}if each of them is a category of its own, set {setting('categorical', [name])}; "
        f"{setting('drop', [name])} leaves the column out",
    )


def _refuse_compact_dates(table: Table, place: int, *, held: dict[str, int]) -> None:
    if len(held) < _DATES or not all(is_compact_date(cell) for cell in held):
        return
    name = table.names[place]
    raise DataError(
        seen=f"column {name!r} of {table.source} holds dates of eight digits ({shown(list(held))})",
        expected="numbers that can be compared: from 20241231 to 20250101 is one day, not 8870",
        fix=f"set data.dates=ymd to read them as days, or leave the column out with {setting('drop', [name])}",
    )
