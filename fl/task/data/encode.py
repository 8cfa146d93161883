"""Apply a schema: rows of a table to features and labels, alike on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.task.data.cells import distinct, levels, missing_cells, numbers
from fl.task.data.columns import column_order
from fl.task.data.dataset import Dataset
from fl.task.data.errors import DataError
from fl.task.data.labels import index_classes, keep_labelled, name_classes
from fl.task.data.number import parse_number
from fl.task.data.schema import CategoricalColumn, NumericColumn, TableSchema
from fl.task.data.table import Table

CLIP = 10.0  # standard deviations: one absurd value, or a scale fitted on few rows, must not blow up a client's steps
_HIGHEST = (1 << 53) - 1  # whole numbers up to here are told apart


def encode(
    table: Table,
    *,
    schema: TableSchema,
    drop_unlabelled: bool = False,
) -> Dataset:
    """All rows of a table as features, shape (N, F), and labels: classes of shape (N,), or numbers of shape (N, 1).

    Args:
        table: In the plain spelling, as of `fl.task.data.restyle`.
        schema: Of the task.
        drop_unlabelled: Leave rows without a label out.

    Raises: DataError if a column is absent, a numeric one holds a word, a label is missing (unless such rows are to
        be dropped) or is outside the classes.
    """
    used = [schema.target, *(column.name for column in schema.columns)]
    places = column_order(table, names=schema.names, has_header=schema.has_header, needed=used)
    table = keep_labelled(table, places[0], missing=schema.missing, drop_unlabelled=drop_unlabelled)
    labels = _labels(table, places[0], schema=schema)
    return Dataset(features=encode_columns(table, places[1:], schema=schema), labels=labels)


def encode_columns(table: Table, places: Sequence[int], *, schema: TableSchema) -> NDArray[Any]:
    """The columns that give features, shape (N, F), float32 or, of ids, int64.

    Args:
        places: Where the table holds each of the schema's columns.
    Raises: DataError if a numeric column holds a word, or one of ids something other than whole numbers of 0 and more.
    """
    if schema.of_ids:
        return np.stack([ids_of(table, place, missing=schema.missing) for place in places], axis=1)
    features = np.zeros((len(table), schema.num_features), dtype=np.float32)
    start = 0
    for column, place in zip(schema.columns, places, strict=True):
        end = start + len(column.features)
        absent = missing_cells(table.columns[place], missing=schema.missing, zero_is_missing=column.zero_is_missing)
        if isinstance(column, NumericColumn):
            features[:, start] = _standardise(numbers(table, place, present=~absent), column=column)
        elif isinstance(column, CategoricalColumn):
            _mark_levels(features[:, start:end], table.columns[place], absent=absent, column=column)
        if column.marks_missing:
            features[:, end - 1] = absent
        start = end
    return features


def ids_of(table: Table, place: int, *, missing: Sequence[str]) -> NDArray[np.int64]:
    """One column of ids, shape (N,).

    Args:
        table: The file.
        place: Of the column.
        missing: Marks of a missing value.
    Raises: DataError with line and column for what is not a whole number of 0 or more.
    """
    cells = table.columns[place]
    held, which = distinct(cells)
    found = [number if _is_id(number := parse_number(cell)) else None for cell in held]
    wrong = np.array([number is None for number in found])[which] | missing_cells(cells, missing=missing)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            seen=f"{table.place(row)}, column {table.names[place]!r} holds {str(cells[row]) or 'nothing'!r}",
            expected="a whole number of 0 or more in every row, for the columns hold ids",
            fix="fill what is absent with an id that stands for it, such as 0 for padding, or leave the column out with data.drop",
        )
    values = np.array([0 if number is None else int(number) for number in found], dtype=np.int64)
    return values[which]


def _is_id(number: float | None) -> bool:
    return number is not None and 0 <= number <= _HIGHEST and number == int(number)


def _labels(table: Table, place: int, *, schema: TableSchema) -> NDArray[np.int64] | NDArray[np.float32]:
    if schema.target_scale is None:
        names = name_classes(table, place, positive_above=schema.positive_above, label_map=dict(schema.label_map))
        return index_classes(table, names, class_names=schema.class_names)
    mean, std = schema.target_scale
    everywhere = np.ones(len(table), dtype=np.bool_)
    targets = numbers(table, place, present=everywhere, what="a number, which the task predicts")
    with np.errstate(over="ignore"):
        return np.clip((targets - mean) / std, -CLIP, CLIP).astype(np.float32)[:, None]


def _standardise(values: NDArray[np.float64], *, column: NumericColumn) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # beyond float64 is beyond the clip
        scaled = np.clip((values - column.mean) / column.std, -CLIP, CLIP)
    return np.where(np.isnan(values), 0.0, scaled)


def _mark_levels(
    features: NDArray[np.float32],
    cells: NDArray[np.str_],
    *,
    absent: NDArray[np.bool_],
    column: CategoricalColumn,
) -> None:
    held = levels(cells)
    for place, level in enumerate(column.levels):
        features[:, place] = (held == level) & ~absent
