"""Fit a table's schema on the rows that the coordinator owns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.task.data.cells import missing_cells, numbers
from fl.task.data.column_roles import ColumnRoles
from fl.task.data.encode import ids_of
from fl.task.data.errors import DataError
from fl.task.data.kinds import kind_of
from fl.task.data.schema import CategoricalColumn, Column, IdColumn, NumericColumn, TableSchema
from fl.task.data.table import Table


def fit_schema(
    table: Table,
    roles: ColumnRoles,
    *,
    class_names: Sequence[str],
    positive_above: float | None = None,
    label_map: Mapping[str, str] | None = None,
) -> TableSchema:
    """Find out what each column holds and how to scale it.

    Fitted on the validation rows only, never on a shard: in a real federation nobody sees all shards, and a mean or
    a list of levels taken over them would tell everybody something about each. So a shard may hold levels that the
    schema does not know (they encode to zeros) and values outside the range seen here (they are clipped, see
    `fl.task.data.encode`).

    What little data can do is caught: a column with one single value keeps std 1, and a column of which no value was
    seen gives no feature at all, whatever the shards hold in it. What makes a column categorical is said at
    `fl.task.data.kinds.kind_of`.

    Args:
        table: Rows that the coordinator owns.
        roles: What the columns are. Its map of levels is written down, for the nodes to merge likewise.
        class_names: What label 0, 1, ... mean; 2 or more. They are part of the task, not found out here. None: the target
            is a number, and its scale is fitted as that of a column.
        positive_above: Label 1 is a target above this number.
        label_map: Class name by value of the target.
    Raises: DataError if a column does not exist, mixes numbers and a few words, or has too many levels, or if no
        feature is left.
    """
    place = table.find(roles.target)
    left_out = {table.find(column) for column in roles.no_feature} | {place}
    columns: tuple[Column, ...] = tuple(
        IdColumn(name=table.names[at], highest=int(ids_of(table, at, missing=roles.missing).max()))
        if roles.ids
        else _fit_column(table, at, roles)
        for at in range(len(table.names))
        if at not in left_out
    )
    schema = TableSchema(
        names=table.names,
        has_header=table.has_header,
        columns=columns,
        target=table.names[place],
        class_names=tuple(class_names),
        positive_above=None if positive_above is None else float(positive_above),
        label_map=tuple((label_map or {}).items()),
        missing=roles.missing,
        level_map=roles.level_map,
        target_scale=None if class_names else target_scale(table, place),
    )
    if not schema.num_features:
        raise DataError(
            seen=f"no column of {table.source} gives a feature",
            expected="a column with a value in it, besides the target",
            fix="check data.target, data.drop and data.delimiter, or use more rows for validation",
        )
    return schema


def target_scale(table: Table, place: int) -> tuple[float, float]:
    """Mean and standard deviation of a target that is a number, in its unit. Raises: DataError for a word in it."""
    return _mean_and_std(numbers(table, place, present=np.ones(len(table), dtype=np.bool_), what="a number to predict"))


def _fit_column(table: Table, place: int, roles: ColumnRoles) -> NumericColumn | CategoricalColumn:
    name, missing = table.names[place], roles.missing
    zero_is_missing = name in roles.missing_zero
    kind = kind_of(
        table,
        place,
        listed=name in roles.categorical,
        missing=missing,
        zero_is_missing=zero_is_missing,
        spelling=roles.spelling,
    )
    if kind.levels is not None:  # nothing seen at all: no levels, so no feature
        marks = bool(kind.missing and kind.levels)
        return CategoricalColumn(
            name=name, levels=tuple(kind.levels), marks_missing=marks, zero_is_missing=zero_is_missing
        )
    absent = missing_cells(table.columns[place], missing=missing, zero_is_missing=zero_is_missing)
    mean, std = _mean_and_std(numbers(table, place, present=~absent)[~absent])
    return NumericColumn(
        name=name, mean=mean, std=std, marks_missing=bool(kind.missing), zero_is_missing=zero_is_missing
    )


def _mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    # Exact sums: numpy adds in an order that depends on the machine, and every node must get the same bits.
    # Scaled to [-1, 1] first, so that the square of a huge value does not overflow.
    scale = float(np.abs(values).max()) or 1.0
    scaled = values / scale
    mean = math.fsum(scaled) / len(scaled)
    std = math.sqrt(math.fsum((scaled - mean) ** 2) / len(scaled)) * scale
    return mean * scale, std if 0 < std < math.inf else 1.0
