"""Look over all rows of a table before anything is drawn from them: refuse what would be read wrongly, note the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.advice import shown
from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.column_roles import ColumnRoles
from fl.task.data.encode import ids_of
from fl.task.data.kinds import ColumnKind, check_levels, check_marks, kind_of
from fl.task.data.reading import ColumnReading, levels_of, range_of
from fl.task.data.suspicions import about_numbers, about_words, counts_rows
from fl.task.data.table import Table
from fl.task.data.units import ForeignUnit, about_units, check_units, units_of

_MOST_SITES = 1000  # that are compared
_OFTEN, _FEW = 5, 6  # rows of a value of one site that are no slip; values of a column of codes


Sites = tuple[NDArray[np.int64], Sequence[str]]  # of each row, shape (N,); their names


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found."""

    columns: tuple[ColumnReading, ...]  # in the order of the table
    notes: tuple[str, ...]


def survey(table: Table, roles: ColumnRoles, *, sites: Sites | None) -> Survey:
    """Every column of a table.

    Args:
        table: All rows, in the plain spelling.
        roles: What the columns are.
        sites: The site of each row, shape (N,), and the sites' names; None if nobody knows.
    Raises: DataError for a column that is neither numbers nor categories, or one thing that is written in several ways.
    """
    columns: list[ColumnReading] = []
    notes: list[str] = []
    with_units: list[int] = []
    for place, name in enumerate(table.names):
        if name == roles.target or name in roles.no_feature:
            if name == roles.target and roles.predicts_number:
                with_units.append(place)
            role = "target" if name == roles.target else "client" if name == roles.group else "left out"
            columns.append(_plain(table, place, role=role, missing=roles.missing))
            continue
        if roles.ids:
            values = ids_of(table, place, missing=roles.missing)
            holds = range_of(float(values.min()), float(values.max()))
            columns.append(ColumnReading(name=name, kind="id", holds=holds, missing=0, missing_as=""))
            continue
        kind = kind_of(
            table,
            place,
            listed=name in roles.categorical,
            missing=roles.missing,
            zero_is_missing=name in roles.missing_zero,
            spelling=roles.spelling,
        )
        if kind.levels is None:
            with_units.append(place)
        look = _numeric if kind.levels is None else _categorical
        column, found = look(table, place, roles, kind=kind, sites=sites)
        columns.append(column)
        notes += found
    if sites is not None:
        notes += _check_units(table, with_units, roles, sites=sites)
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
    table: Table, place: int, roles: ColumnRoles, *, kind: ColumnKind, sites: Sites | None
) -> tuple[ColumnReading, list[str]]:
    name, cells = table.names[place], table.columns[place]
    present = ~missing_cells(cells, missing=roles.missing, zero_is_missing=name in roles.missing_zero)
    values = numbers(table, place, present=present)
    held = values[present]
    notes = about_numbers(name, cells[present], held)
    if counts_rows(cells):
        notes.append(f"column {name!r} counts the rows; leave it out with data.drop unless it means something")
    if sites is not None and name not in roles.scaled:
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


def _check_units(table: Table, places: Sequence[int], roles: ColumnRoles, *, sites: Sites) -> list[str]:
    foreign: list[ForeignUnit] = []
    notes: list[str] = []
    members, names = sites
    for place in places:
        name, cells = table.names[place], table.columns[place]
        if name in roles.scaled:
            continue
        zero = name in roles.missing_zero and name != roles.target
        present = ~missing_cells(cells, missing=roles.missing, zero_is_missing=zero)
        values = numbers(table, place, present=present)[present]
        seen = units_of(name, values, members[present], names)
        foreign += seen.foreign
        notes += about_units(seen.far)
    check_units(foreign, source=table.source)
    return notes


def _categorical(
    table: Table, place: int, roles: ColumnRoles, *, kind: ColumnKind, sites: Sites | None
) -> tuple[ColumnReading, list[str]]:
    name, missing = table.names[place], roles.missing
    declared = frozenset(to for column, _, to in roles.level_map if column == name)
    check_levels(name, kind, source=table.source, declared=declared)
    check_marks(table, place, absent=missing_cells(table.columns[place], missing=missing), missing=missing)
    held = kind.levels or {}
    notes = about_words(f"column {name!r}", held, column=name)
    words = [mark for mark in kind.missing_as if mark.isalpha()]
    if held and words:
        notes.append(
            f"column {name!r} of words holds {shown(words)} in {plural(sum(kind.missing_as[mark] for mark in words), 'row')}, taken for no "
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
