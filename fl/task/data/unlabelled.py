"""Rows whose label nobody knows yet, as a trained model takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fl.task.data.columns import column_order
from fl.task.data.encode import encode_columns
from fl.task.data.errors import DataError
from fl.task.data.schema import TableSchema
from fl.task.data.shard import read_image_shard
from fl.task.data.table import Table, read_table


def read_inputs(path: Path, *, schema: Mapping[str, Any] | None, feature_shape: Sequence[int]) -> NDArray[Any]:
    """The rows of a file as a task's model takes them, shape (N, *feature_shape).

    Args:
        path: A table; its target column may be absent or empty. Or, for a task of images, a pair of IDX files.
        schema: The spec's, None for images.
        feature_shape: Of one row.
    Raises: DataError if the file cannot be read or lacks a column.
    """
    if schema is None:
        shape = tuple(feature_shape)
        if len(shape) != 3:
            raise DataError(
                seen=f"a model whose inputs have the shape {shape} and no schema",
                expected="a schema for tables, or images of (1, height, width)",
                fix="call the model from Python: `fl.task.saved_model.SavedModel.read`",
            )
        return read_image_shard(path, num_classes=1 << 8, feature_shape=shape).data.features
    told = TableSchema.from_json(json.dumps(schema))
    table = read_table(path, missing=told.missing, known_names=told.names if told.has_header else ())
    return encode_columns(table, _places(table, told), schema=told)


def _places(table: Table, schema: TableSchema) -> list[int]:
    used = [column.name for column in schema.columns]
    unlabelled = len(table.names) == len(schema.names) - 1
    names = [name for name in schema.names if not unlabelled or name != schema.target]
    return column_order(table, names=names, has_header=schema.has_header, needed=used)
