"""Look over all rows of a table before anything is drawn from them: refuse what would be read wrongly, note the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.task.data.advice import shown
from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.encode import ids_of
from fl.task.data.kinds import ColumnKind, check_levels, check_marks, kind_of
from fl.task.data.reading import ColumnReading, levels_of, range_of
from fl.task.data.spelling import Spelling
from fl.task.data.suspicions import about_numbers, about_words, counts_rows
from fl.task.data.table import Table
from fl.task.data.units import ForeignUnit, about_units, check_units, units_of

_MOST_SITES = 1000  # that are compared
_OFTEN, _FEW = 5, 6  # rows of a value of one site that are no slip; values of a column of codes


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found."""

    columns: tuple[ColumnReading, ...]  # in the order of the table
    notes: tuple[str, ...]


def survey(
    table: Table,
    *,
    target: str,
    group: str | None,
    dropped: Collection[str],
    categorical: Collection[str],
    missing: Sequence[str],
    missing_zero: Collection[str],
    spelling: Spelling,
    level_map: Sequence[tuple[str, str, str]],
    scaled: Collection[str],
    ids: bool,
    predicts_number: bool,
    sites: tuple[NDArray[np.int64], Sequence[str]] | None,
) -> Survey:
    """Every column of a table.

    Args:
        table: All rows, in the plain spelling.
        target: The column to predict.
        group: The column that names the clients.
        dropped: Columns that give no feature.
        categorical: Columns of codes.
        missing: What stands for no value.
        missing_zero: Columns where 0 stands for no value too.
        spelling: By which the numbers were read.
        level_map: By which levels were merged.
        scaled: Columns whose unit the owner settled.
        ids: Whether the columns hold ids.
        predicts_number: Whether the target is one, and has a unit.
        sites: The site of each row, shape (N,), and the sites' names; None if nobody knows.
    Raises: DataError for a column that is neither numbers nor categories, or one thing that is written in several ways.
    """
    columns: list[ColumnReading] = []
    notes: list[str] = []
    with_units: list[tuple[int, bool]] = []
    for place, name in enumerate(table.names):
        if name in (target, group) or name in dropped:
            if name == target and predicts_number:
                with_units.append((place, False))
            role = "target" if name == target else "client" if name == group else "left out"
            columns.append(_plain(table, place, role=role, missing=missing))
            continue
        if ids:
            values = ids_of(table, place, missing=missing)
            holds = range_of(float(values.min()), float(values.max()))
            columns.append(ColumnReading(name=name, kind="id", holds=holds, missing=0, missing_as=""))
            continue
        zero = name in missing_zero
        kind = kind_of(
            table, place, listed=name in categorical, missing=missing, zero_is_missing=zero, spelling=spelling
        )
        if kind.levels is None:
            with_units.append((place, zero))
            column, found = _numeric(
                table, place, kind=kind, missing=missing, zero=zero, sites=sites, scaled=name in scaled
            )
        else:
            declared = frozenset(to for column, _, to in level_map if column == name)
            column, found = _categorical(table, place, kind=kind, missing=missing, declared=declared, sites=sites)
        columns.append(column)
        notes += found
    if sites is not None:
        asked = [(place, zero) for place, zero in with_units if table.names[place] not in scaled]
        notes += _check_units(table, asked, missing=missing, sites=sites)
    return Survey(columns=tuple(columns), notes=tuple(notes))


def marks_of(kind: ColumnKind) -> str:
    """What stood for no value, for the table."""
    return " ".join(repr(mark) if mark else "empty" for mark in list(kind.missing_as)[:3])


def _plain(table: Table, place: int, *, role: str, missing: Sequence[str]) -> ColumnReading:
    cells = table.columns[place]
    absent = missing_cells(cells, missing=missing)
    values, counts = np.unique(cells[~absent], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    held = {str(values[at]): int(counts[at]) for at in order}
    return ColumnReading(
        name=table.names[place], kind=role, holds=levels_of(held), missing=int(absent.sum()), missing_as=""
    )


def _numeric(
    table: Table,
    place: int,
    *,
    kind: ColumnKind,
    missing: Sequence[str],
    zero: bool,
    sites: tuple[NDArray[np.int64], Sequence[str]] | None,
    scaled: bool,
) -> tuple[ColumnReading, list[str]]:
    name, cells = table.names[place], table.columns[place]
    present = ~missing_cells(cells, missing=missing, zero_is_missing=zero)
    values = numbers(table, place, present=present)
    held = values[present]
    notes = about_numbers(name, cells[present], held)
    if counts_rows(cells):
        notes.append(f"column {name!r} counts the rows; leave it out with data.drop unless it means something")
    if sites is not None and not scaled:
        members, names = sites
        if len(np.unique(held)) <= _FEW:
            notes += disjoint(
                f"column {name!r}",
                levels(cells),
                members,
                names,
                present=present,
                setting="data.scale, or recode a file",
            )
    return (
        ColumnReading(
            name=name,
            kind="number",
            holds=range_of(float(held.min()), float(held.max())),
            missing=kind.missing,
            missing_as=marks_of(kind),
        ),
        notes,
    )


def _check_units(
    table: Table,
    columns: Sequence[tuple[int, bool]],
    *,
    missing: Sequence[str],
    sites: tuple[NDArray[np.int64], Sequence[str]],
) -> list[str]:
    foreign: list[ForeignUnit] = []
    notes: list[str] = []
    for place, zero in columns:
        present = ~missing_cells(table.columns[place], missing=missing, zero_is_missing=zero)
        values = numbers(table, place, present=present)[present]
        seen = units_of(table.names[place], values, sites[0][present], sites[1])
        foreign += seen.foreign
        notes += about_units(seen.far)
    check_units(foreign, source=table.source)
    return notes


def _categorical(
    table: Table,
    place: int,
    *,
    kind: ColumnKind,
    missing: Sequence[str],
    declared: frozenset[str],
    sites: tuple[NDArray[np.int64], Sequence[str]] | None,
) -> tuple[ColumnReading, list[str]]:
    name = table.names[place]
    check_levels(name, kind, source=table.source, declared=declared)
    check_marks(table, place, absent=missing_cells(table.columns[place], missing=missing), missing=missing)
    held = kind.levels or {}
    notes = about_words(f"column {name!r}", held, column=name)
    words = [mark for mark in kind.missing_as if mark.isalpha()]
    if held and words:
        notes.append(
            f"column {name!r} of words holds {shown(words)} in {sum(kind.missing_as[mark] for mark in words)} rows, taken for no "
            "value; take it out of data.missing if it is one"
        )
    if sites is not None and held:
        notes += disjoint(
            f"column {name!r}",
            table.columns[place],
            *sites,
            present=~missing_cells(table.columns[place], missing=missing),
        )
    return (
        ColumnReading(
            name=name,
            kind="category" if held else "nothing seen",
            holds=levels_of(held),
            missing=kind.missing,
            missing_as=marks_of(kind),
        ),
        notes,
    )


def disjoint(
    what: str,
    cells: NDArray[np.str_],
    members: NDArray[np.int64],
    names: Sequence[str],
    *,
    present: NDArray[np.bool_] | None = None,
    setting: str = "data.level_map",
) -> list[str]:
    """Sentences on sites that share no value with any other, or have one of their own each: they may write one thing in other words.

    Args:
        what: The column.
        cells: Shape (N,).
        members: The site of each row, shape (N,).
        names: Of the sites.
        present: Where there is a value, shape (N,); None for everywhere.
        setting: That merges values.
    """
    shown_rows = np.ones(len(cells), dtype=np.bool_) if present is None else present
    own = [Counter(cells[(members == site) & shown_rows].tolist()) for site in range(len(names))]
    if not 1 < len(own) <= _MOST_SITES:
        return []
    notes = []
    lone: list[tuple[str, str]] = []
    holders = Counter(value for held in own for value in held)
    for site, held in enumerate(own):
        rest = {value for at, other in enumerate(own) if at != site for value in other}
        if len(held) > 1 and rest and not held.keys() & rest:
            notes.append(
                f"{what} at {names[site]!r} holds {shown(sorted(held), most=4)} and the others {shown(sorted(rest), most=4)}: not "
                "one value in common"
            )
        rows = held.total()
        often = [value for value, count in held.items() if holders[value] == 1 and count >= max(_OFTEN, rows / 10)]
        if rows >= 4 * _OFTEN and len(often) == 1:
            lone.append((often[0], names[site]))
    if not notes and len(lone) == 2 and len(holders) <= _FEW:
        (first, at_first), (second, at_second) = lone
        notes.append(
            f"{what} holds {first!r} at {at_first!r} alone and {second!r} at {at_second!r} alone; if they are one, merge them with "
            f"{setting}"
        )
    return notes[:4]
