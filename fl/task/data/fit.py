"""Fit a table's schema on the rows that the coordinator owns."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.errors import DataError
from fl.task.data.number import by_size, parse_number
from fl.task.data.schema import CategoricalColumn, NumericColumn, TableSchema
from fl.task.data.table import Table

# A column of words is taken for a name of the row rather than for a category if it has more levels than the first
# number, or more than the second and more than half as many as it has values.
MAX_LEVELS, FEW_LEVELS = 200, 20


def fit_schema(
    table: Table,
    *,
    target: int | str,
    class_names: Sequence[str],
    categorical: Collection[int | str] = (),
    drop: Collection[int | str] = (),
    missing: Sequence[str] = ("", "?", "NA", "nan"),
    missing_zero: Collection[int | str] = (),
    positive_above: float | None = None,
    label_map: Mapping[str, str] | None = None,
) -> TableSchema:
    """Find out what each column holds and how to scale it.

    Fitted on the validation rows only, never on a shard: in a real federation nobody sees all shards, and a mean or
    a list of levels taken over them would tell everybody something about each. So a shard may hold levels that the
    schema does not know (they encode to zeros) and values outside the range seen here (they are clipped, see
    `fl.task.data.encode`).

    What little data can do is caught: a column with one single value keeps std 1, and a column of which no value was
    seen gives no feature at all, whatever the shards hold in it. A column is categorical if it is listed as such or
    if at least half of its values are words. Where fewer are, they are refused as errors among numbers.

    Args:
        table: Rows that the coordinator owns.
        target: The column to predict, by name or place.
        class_names: What label 0, 1, ... mean; 2 or more. They are part of the task, not found out here.
        categorical: Columns of codes that look like numbers.
        drop: Columns that give no feature.
        missing: What stands for no value, in any case.
        missing_zero: Columns where 0 stands for no value too.
        positive_above: Label 1 is a target above this number.
        label_map: Class name by value of the target.
    Raises: DataError if a column does not exist, mixes numbers and a few words, or has too many levels, or if no
        feature is left.
    """
    place = table.find(target)
    codes = {table.find(column) for column in categorical}
    zeros = {table.find(column) for column in missing_zero}
    left_out = {table.find(column) for column in drop} | {place}
    columns = tuple(
        _fit_column(table, at, listed=at in codes, missing=missing, zero_is_missing=at in zeros)
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
        missing=tuple(missing),
    )
    if not schema.num_features:
        raise DataError(
            seen=f"no column of {table.source} gives a feature",
            expected="a column with a value in it, besides the target",
            fix="check data.target, data.drop and data.delimiter, or use more rows for validation",
        )
    return schema


def _fit_column(
    table: Table, place: int, *, listed: bool, missing: Sequence[str], zero_is_missing: bool
) -> NumericColumn | CategoricalColumn:
    cells, name = table.columns[place], table.names[place]
    absent = missing_cells(cells, missing=missing, zero_is_missing=zero_is_missing)
    seen = cells[~absent]
    words = sum(parse_number(cell) is None for cell in seen)
    if listed or 2 * words >= len(seen):  # nothing seen at all: no levels, so no feature
        found = tuple(sorted((str(level) for level in np.unique(levels(seen))), key=by_size))
        if len(found) > MAX_LEVELS or (len(found) > FEW_LEVELS and 2 * len(found) > len(seen)):
            raise DataError(
                seen=f"column {name!r} of {table.source} holds {len(found)} different words in {len(seen)} rows",
                expected=f"a category, of at most {MAX_LEVELS} levels with several rows each",
                fix=f"add {name!r} to data.drop if it names the row, or group its values",
            )
        marks = bool(absent.any() and found)
        return CategoricalColumn(name=name, levels=found, marks_missing=marks, zero_is_missing=zero_is_missing)
    mean, std = _mean_and_std(numbers(table, place, present=~absent)[~absent])
    return NumericColumn(
        name=name, mean=mean, std=std, marks_missing=bool(absent.any()), zero_is_missing=zero_is_missing
    )


def _mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    # Exact sums: numpy adds in an order that depends on the machine, and every node must get the same bits.
    # Scaled to [-1, 1] first, so that the square of a huge value does not overflow.
    scale = float(np.abs(values).max()) or 1.0
    scaled = values / scale
    mean = math.fsum(scaled) / len(scaled)
    std = math.sqrt(math.fsum((scaled - mean) ** 2) / len(scaled)) * scale
    return mean * scale, std if 0 < std < math.inf else 1.0
