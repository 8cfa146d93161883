"""The owner's file, read by the task's spec. Needs no torch, so that a node can wait for its first round without."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fl.task.data import (
    DataError,
    DataReading,
    FileStyle,
    Shard,
    TableSchema,
    TextShard,
    is_text_schema,
    read_image_shard,
    read_text_shard,
    survey_shard,
    text_schema,
)


def read_own_shard(
    path: Path, *, spec: Mapping[str, Any], style: FileStyle | None = None, drop_unlabelled: bool = False
) -> Shard:
    """What `survey_own_shard` reads, alone.

    Args:
        path: Of the file or folder.
        spec: Of the task.
        style: How the file is written.
        drop_unlabelled: Whether rows without a label are left out.
    Raises: DataError.
    """
    return survey_own_shard(path, spec=spec, style=style, drop_unlabelled=drop_unlabelled)[0]


def survey_own_shard(
    path: Path, *, spec: Mapping[str, Any], style: FileStyle | None = None, drop_unlabelled: bool = False
) -> tuple[Shard, DataReading]:
    """Read a table by the spec's schema, or a pair of IDX files by its shape, and say what was understood.

    Args:
        path: A table, or a folder with a pair of IDX files (or their file of images).
        spec: The spec's parsed JSON.
        style: How the table is written; None: as the task's are.
        drop_unlabelled: Leave rows of a table without a label out instead of refusing the file.
    Raises: DataError with what is wrong and what was expected.
    """
    shape = tuple(spec["feature_shape"])
    shard: Shard
    if is_text_schema(spec.get("schema")):
        names = tuple(map(str, spec.get("class_names") or ()))
        shard = text = read_text_shard(path, schema=text_schema(spec["schema"]), classes=names)
        reading = _of_text(text, path=path, names=names)
    elif spec.get("schema") is not None:
        schema = TableSchema.from_json(json.dumps(spec["schema"]))
        shard, reading = survey_shard(path, schema=schema, style=style or FileStyle(), drop_unlabelled=drop_unlabelled)
    elif len(shape) == 3:
        shard = read_image_shard(
            path,
            num_classes=int(spec["num_classes"]),
            feature_shape=shape,
            class_names=tuple(map(str, spec.get("class_names") or ())),
        )
        reading = _of_images(shard, path=path, spec=spec)
    else:
        raise DataError(
            seen=f"a task whose inputs have the shape {shape} and no schema",
            expected="a schema for tables, or images of (1, height, width)",
            fix="run your own Flower app with app=package.module:app",
        )
    if shard.data.features.shape[1:] != shape:
        raise DataError(
            seen=f"{path} gives inputs of shape {shard.data.features.shape[1:]}",
            expected=f"{shape}, as the task's model takes them",
            fix="ask the coordinator which columns the task needs",
        )
    return shard, reading


def _of_text(shard: TextShard, *, path: Path, names: Sequence[str]) -> DataReading:
    counts = shard.data.class_counts(len(names)).tolist() if names else []
    return DataReading(
        source=str(path),
        rows=len(shard.data),
        header=f"text, in rows of {shard.data.features.shape[-1]} tokens",
        columns=(),
        classes={name: count for name, count in zip(names, counts, strict=False) if count},
        clients={},
        notes=shard.notes,
    )


def _of_images(shard: Shard, *, path: Path, spec: Mapping[str, Any]) -> DataReading:
    counts = shard.data.class_counts(int(spec["num_classes"])).tolist()
    names = [str(name) for name in spec.get("class_names") or range(len(counts))]
    height, width = shard.data.features.shape[2:]
    return DataReading(
        source=str(path),
        rows=len(shard.data),
        header=f"images of {height} x {width} pixels",
        columns=(),
        classes={name: count for name, count in zip(names, counts, strict=False) if count},
        clients={},
        notes=(),
    )
