"""Hold a node's own table against the task's schema: what would be clipped, unknown, or in another unit or other words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import agreeing, plural
from fl.task.data.advice import setting, shown
from fl.task.data.alike import similar
from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.dataset import Dataset
from fl.task.data.encode import CLIP
from fl.task.data.errors import DataError
from fl.task.data.file_style import FileStyle
from fl.task.data.number import by_size
from fl.task.data.reading import ColumnReading, DataReading, levels_of, range_of
from fl.task.data.restyle import split_level_map
from fl.task.data.schema import CategoricalColumn, IdColumn, NumericColumn, TableSchema
from fl.task.data.suspicions import about_amounts, off_by
from fl.task.data.table import Table
from fl.task.data.units import amount, conversion_to

_MOST_ASKED = 6  # levels that a refusal asks about
_KINDS = {NumericColumn: "number", CategoricalColumn: "category", IdColumn: "id"}


def survey_own(table: Table, *, data: Dataset, schema: TableSchema, style: FileStyle) -> DataReading:
    """What a table of one's own comes to under a schema.

    Args:
        table: As the task writes it, of the schema's names.
        data: The table, encoded.
        schema: Of the task.
        style: What the owner declared: a factor for a column, or a level that is mapped to itself, is not questioned.
    Raises: DataError if most of a column is in another unit, or in other words.
    """
    scaled = _scaled(schema, style)
    columns: list[ColumnReading] = [_target(table, schema=schema)]
    notes: list[str] = []
    if schema.target_scale is not None or schema.positive_above is not None:
        targets = table.columns[schema.names.index(schema.target)]
        amounts = targets.astype(np.float64)
        if schema.target_scale is not None:
            mean, std = schema.target_scale
            settled = schema.target in scaled
            _check_unit(
                schema.target,
                amounts,
                mean=mean,
                std=std,
                source=table.source,
                scaled=settled,
                beyond="would be clipped",
            )
        notes += about_amounts(schema.target, targets, amounts)
    features, found = _features(table, schema=schema, style=style)
    columns += features
    notes += found
    counts = data.class_counts(len(schema.class_names)).tolist()
    classes = dict(zip(schema.class_names, counts, strict=False))
    held = [name for name, count in classes.items() if count]
    if len(held) == 1:
        notes.append(f"every row is of the class {held[0]!r}: training on it teaches the model to say nothing else")
    return DataReading(
        source=table.source,
        rows=len(table),
        header="columns matched by name" if table.has_header else "columns matched by place",
        columns=tuple(columns),
        classes=classes,
        clients={},
        notes=tuple(notes),
    )


def left_out(table: Table, *, schema: TableSchema) -> tuple[ColumnReading, ...]:
    """The columns of a file that the task does not use, so that its owner sees that they were seen.

    By name where both have one; a file without names has the task's columns in the task's order.
    """
    used = {schema.target, *(column.name for column in schema.columns)}
    names = table.names if table.has_header and schema.has_header else schema.names
    return tuple(
        ColumnReading(name=name, kind="left out", holds="not used by the task", missing=0, missing_as="")
        for name in names
        if name not in used
    )


def survey_inputs(table: Table, *, schema: TableSchema, style: FileStyle) -> list[str]:
    """What the owner of rows without labels has to know: values that are clipped, and levels that the task does not know.

    Args:
        table: As the task writes it, of the schema's names.
        schema: Of the task.
        style: What the owner declared, as in `survey_own`.
    Raises: DataError as `survey_own`.
    """
    return _features(table, schema=schema, style=style)[1]


def _features(table: Table, *, schema: TableSchema, style: FileStyle) -> tuple[list[ColumnReading], list[str]]:
    """What each column that gives features comes to, and notes about it."""
    scaled = _scaled(schema, style)
    mapped = split_level_map(style.level_map, names=schema.names)
    declared = {(name, to) for name, level, to in mapped if level == to}
    _check_map(mapped, schema=schema)
    columns: list[ColumnReading] = []
    notes: list[str] = []
    for column in schema.columns:
        cells = table.columns[schema.names.index(column.name)]
        absent = missing_cells(cells, missing=schema.missing, zero_is_missing=column.zero_is_missing)
        if isinstance(column, NumericColumn):
            holds, found = _numeric(table, column, absent=absent, scaled=column.name in scaled)
        elif isinstance(column, IdColumn):
            holds, found = _ids(column, cells.astype(np.float64))
        else:
            known = {level for name, level in declared if name == column.name}
            holds, found = _categorical(table, column, cells=cells[~absent], declared=known)
        columns.append(
            ColumnReading(
                name=column.name,
                kind=_KINDS[type(column)],
                holds=holds,
                missing=int(absent.sum()),
                missing_as=" ".join(repr(str(mark)) if mark else "empty" for mark in np.unique(cells[absent])[:3]),
            )
        )
        notes += found
    return columns, notes


def _scaled(schema: TableSchema, style: FileStyle) -> set[str]:
    """The columns whose unit the owner settled."""
    return {name for name in schema.names if any(entry.startswith(f"{name}:") for entry in style.scale)}


def _check_map(mapped: Sequence[tuple[str, str, str]], *, schema: TableSchema) -> None:
    """Raises: DataError if a level is mapped to a word that the task does not know, such as a slip of the pen."""
    kept = {(name, to) for name, level, to in mapped if level == to}
    known = {column.name: column.levels for column in schema.columns if isinstance(column, CategoricalColumn)}
    for name, level, to in mapped:
        if name in known and to not in (*known[name], *schema.missing) and (name, to) not in kept:
            near = similar(to, known[name])
            raise DataError(
                seen=f"data.level_map writes {level!r} of column {name!r} as {to!r}, which the task does not know",
                expected=f"one of its levels ({', '.join(known[name][:12])})",
                fix=f"write {name}:{level}:{near or 'LEVEL'} with one of them, or {name}:{level}:{level} to leave it unknown",
            )


def _target(table: Table, *, schema: TableSchema) -> ColumnReading:
    cells = table.columns[schema.names.index(schema.target)]
    if schema.target_scale is not None:
        values = cells.astype(np.float64)
        holds = range_of(float(values.min()), float(values.max()))
    else:
        found, counts = np.unique(cells, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        holds = levels_of({str(found[at]): int(counts[at]) for at in order})
    return ColumnReading(name=schema.target, kind="target", holds=holds, missing=0, missing_as="")


def _numeric(table: Table, column: NumericColumn, *, absent: NDArray[np.bool_], scaled: bool) -> tuple[str, list[str]]:
    place = table.names.index(column.name)
    values = numbers(table, place, present=~absent)[~absent]
    if not values.size:
        return "nothing", [f"column {column.name!r} has no value at all"]
    notes = about_amounts(column.name, table.columns[place][~absent], values)
    beyond = _check_unit(
        column.name,
        values,
        mean=column.mean,
        std=column.std,
        source=table.source,
        scaled=scaled,
        beyond="would be clipped",
    )
    if beyond:
        notes.append(
            f"{beyond} of {plural(len(values), 'value')} of column {column.name!r} {agreeing(beyond, 'is', 'are')} clipped to {CLIP:g} standard deviations of the "
            f"task's ({column.mean - CLIP * column.std:.4g} to {column.mean + CLIP * column.std:.4g})"
        )
    return range_of(float(values.min()), float(values.max())), notes


def _check_unit(
    name: str, values: NDArray[np.float64], *, mean: float, std: float, source: str, scaled: bool, beyond: str
) -> int:
    """How many numbers lie beyond what is taken. Raises: DataError if they are of another unit, and its owner did not settle that."""
    outside = int((np.abs(values - mean) > CLIP * std).sum())
    ratio = off_by(values, center=mean, spread=std)
    if not scaled and (ratio is not None or (len(values) >= 5 and 2 * outside > len(values))):
        near = conversion_to(mean, own=float(np.median(values)))
        raise DataError(
            seen=f"column {name!r} of {source} is {amount(float(np.median(values)))} in the middle, where the task's is {amount(mean)} on average"
            + (f", {amount(ratio)} times as much" if ratio is not None else "")
            + f"; {outside} of {plural(len(values), 'value')} {beyond}",
            expected="the task's unit",
            fix=f"if the unit differs set data.scale={name}:FACTOR"
            + (f" (near {near}; take the exact one)" if near != "FACTOR" else "")
            + f"; if it does not, say so with data.scale={name}:1",
        )
    return outside


def _ids(column: IdColumn, values: NDArray[np.float64]) -> tuple[str, list[str]]:
    beyond = int((values > column.highest).sum())
    notes = (
        [
            f"{beyond} of {plural(len(values), 'id')} of column {column.name!r} {agreeing(beyond, 'is', 'are')} above {column.highest}, the task's highest"
        ]
        if beyond
        else []
    )
    return range_of(float(values.min()), float(values.max())), notes


def _categorical(
    table: Table, column: CategoricalColumn, *, cells: NDArray[np.str_], declared: set[str]
) -> tuple[str, list[str]]:
    found, counts = np.unique(levels(cells), return_counts=True)
    held = {str(level): int(count) for level, count in zip(found, counts, strict=True)}
    held = {level: held[level] for level in sorted(held, key=by_size)}
    unknown = {level: rows for level, rows in held.items() if level not in column.levels}
    asked = {level: rows for level, rows in unknown.items() if level not in declared}
    near = {level: meant for level in asked if (meant := similar(level, column.levels)) is not None}
    if near or (asked and len(asked) == len(held) and column.levels):
        # Whoever pastes a placeholder is asked again; a guess would merge what is not one.
        rest = [level for level in asked if level not in near][:_MOST_ASKED]
        merged = {**near, **dict.fromkeys(rest, "LEVEL")}
        entries = [f"{column.name}:{level}:{other}" for level, other in merged.items()]
        example = setting("level_map", entries)
        raise DataError(
            seen=f"column {column.name!r} of {table.source} holds {shown(list(asked))} ({plural(sum(asked.values()), 'row')}), which the "
            f"task does not know",
            expected=f"its levels ({', '.join(column.levels[:12])})",
            fix=f"say which is which: {example} with one of them for LEVEL, or the level itself to leave it unknown"
            if rest
            else f"set {example} to merge them",
        )
    notes = []
    if unknown:
        notes.append(
            f"column {column.name!r} holds {shown(list(unknown))} in {plural(sum(unknown.values()), 'row')}, which the task does not know: "
            "they count as if nothing stood there"
        )
    return levels_of(held), notes
