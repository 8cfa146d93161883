"""Rows whose label nobody knows yet, as a trained model takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fl.task.data.errors import DataError
from fl.task.data.file_style import FileStyle
from fl.task.data.labelled_text import LABELS, read_unclassed
from fl.task.data.schema import TableSchema
from fl.task.data.shard import read_image_shard, read_unlabelled
from fl.task.data.text import is_text_schema, text_schema


def read_inputs(
    path: Path, *, schema: Mapping[str, Any] | None, feature_shape: Sequence[int], style: FileStyle | None = None
) -> tuple[NDArray[Any], list[str]]:
    """The rows of a file as a task's model takes them, shape (N, *feature_shape), and notes about what may be wrong with them.

    Args:
        path: A table; its target column may be absent or empty. Or, for a task of images, a pair of IDX files.
        schema: The spec's, None for images.
        feature_shape: Of one row.
        style: How the table is written; None: as the task's are.
    Raises: DataError if the file cannot be read or lacks a column, or a column is in another unit or other words.
    """
    if schema is None:
        shape = tuple(feature_shape)
        if len(shape) != 3:
            raise DataError(
                seen=f"a model whose inputs have the shape {shape} and no schema",
                expected="a schema for tables, or images of (1, height, width)",
                fix="call the model from Python: `fl.task.saved_model.SavedModel.read`",
            )
        return read_image_shard(path, num_classes=1 << 8, feature_shape=shape).data.features, []
    if is_text_schema(schema):
        told = text_schema(schema)
        if told.form != LABELS:
            raise DataError(
                seen=f"a model of text whose rows are {told.form}",
                expected="one that tells the class of a text, or the next token",
                fix="call the model from Python: `fl.task.saved_model.SavedModel.read`",
            )
        return read_unclassed(path, told.reader(), context=told.context, field=told.source)
    return read_unlabelled(path, schema=TableSchema.from_json(json.dumps(schema)), style=style or FileStyle())
