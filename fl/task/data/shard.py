"""Read the one file that a node owns, under the task's terms, and say what was understood of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.foreign.files import expanded
from fl.task.data.columns import column_order
from fl.task.data.dataset import Shard
from fl.task.data.encode import encode, encode_columns
from fl.task.data.errors import DataError
from fl.task.data.file_style import SETTINGS, FileStyle
from fl.task.data.idx import read_pair
from fl.task.data.images import check_labels, check_shape, scale_images
from fl.task.data.labels import keep_labelled
from fl.task.data.odd_rows import about_repeats
from fl.task.data.own_table import left_out, survey_inputs, survey_own
from fl.task.data.pictures import class_folders, read_pictures
from fl.task.data.reading import DataReading
from fl.task.data.restyle import mapped, restyle, site_name
from fl.task.data.schema import IdColumn, NumericColumn, TableSchema
from fl.task.data.table import Table, read_table

# A setting of the group, and no part of a path or a column.
_IN_GROUP = re.compile(rf"(?<![\w./-])data\.(?=(?:{'|'.join(SETTINGS)}|drop_unlabelled)\b)")


def read_shard(
    path: Path | str,
    *,
    schema: TableSchema,
    name: str | None = None,
    style: FileStyle | None = None,
    drop_unlabelled: bool = False,
) -> Shard:
    """A table, encoded as every other node of the task encodes its own.

    Columns are matched by name if both the file and the schema have a header, and by place if neither has, or the style
    says that the file has none.

    Args:
        path: The file.
        schema: From the task's spec.
        name: Of the shard, for reports; None takes the file's stem.
        style: How the file is written; None: as the task's are.
        drop_unlabelled: Leave rows without a label out instead of refusing the file.
    Raises: DataError if the file cannot be read, lacks a column, holds a word among numbers, a row without a label,
        or a label outside the task's classes.
    """
    path = expanded(path)
    style = style or FileStyle()
    whole = _read(path, schema=schema, style=style)
    table = _labelled(whole, schema=schema, style=style, drop_unlabelled=drop_unlabelled)
    return Shard(name=name or site_name(path.name), data=encode(table, schema=schema))


def survey_shard(
    path: Path | str, *, schema: TableSchema, style: FileStyle, drop_unlabelled: bool = False
) -> tuple[Shard, DataReading]:
    """As `read_shard`, and what its owner has to know before anything is staked on it.

    Args:
        path: Of the file.
        schema: Of the task.
        style: How the file is written.
        drop_unlabelled: Whether rows without a label are left out.
    Raises: DataError as `read_shard`, and if the table is in another unit or other words than the task's. Settings are named
        as `fl client` takes them.
    """
    path = expanded(path)
    with _settings_of_a_node():
        whole = _read(path, schema=schema, style=style)
        table = _labelled(whole, schema=schema, style=style, drop_unlabelled=drop_unlabelled)
        data = encode(table, schema=schema)
        reading = survey_own(table, data=data, schema=schema, style=style)
    notes = map(_of_a_node, (*reading.notes, *about_repeats(whole, why="each counts as often as it stands there")))
    columns = (*reading.columns, *left_out(whole, schema=schema))
    return Shard(name=site_name(path.name), data=data), replace(reading, notes=tuple(notes), columns=columns)


def read_unlabelled(path: Path, *, schema: TableSchema, style: FileStyle) -> tuple[NDArray[Any], list[str]]:
    """The features of a table whose target column may be absent or empty, shape (N, F), and what its owner has to know.

    Args:
        path: Of the file.
        schema: Of the task.
        style: How the file is written.
    Raises: DataError as `survey_shard`, but for labels.
    """
    with _settings_of_a_node():
        whole = _read(path, schema=schema, style=style)
        table = _as_the_task_writes(whole, schema=schema, style=style, labelled=False)
        places = [schema.names.index(column.name) for column in schema.columns]
        inputs = encode_columns(table, places, schema=schema)
        return inputs, [_of_a_node(note) for note in survey_inputs(table, schema=schema, style=style)]


@contextmanager
def _settings_of_a_node() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(
            seen=_of_a_node(error.seen), expected=_of_a_node(error.expected), fix=_of_a_node(error.fix)
        ) from None


def _of_a_node(text: str) -> str:
    """A sentence with a node's settings, which have no group of their own; a file called data.csv keeps its name."""
    return _IN_GROUP.sub("", text.replace(", or use data=folder for one file per client", ""))


def read_image_shard(
    path: Path | str,
    *,
    num_classes: int,
    feature_shape: tuple[int, ...],
    class_names: Sequence[str] = (),
    name: str | None = None,
) -> Shard:
    """A pair of IDX files, or a folder of pictures for each class, checked against the task.

    Args:
        path: A folder that holds the pair, or the file of images; or one with a folder for each class.
        class_names: In the order of the labels, where pictures are called by them.
        num_classes: Labels run from 0 to one less.
        feature_shape: (1, height, width) of the task's model.
        name: Of the shard, for reports; None takes the stem of the path.
    Raises: DataError if the files cannot be read, or do not fit the task.
    """
    path = expanded(path)
    if class_folders(path):
        pair, _ = read_pictures(path, shape=tuple(feature_shape), classes=class_names)
    else:
        pair = read_pair(path)
        check_shape(pair, shape=tuple(feature_shape[1:]))
    check_labels(pair, num_classes=num_classes)
    return Shard(name=name or path.stem, data=scale_images(pair))


def _read(path: Path, *, schema: TableSchema, style: FileStyle) -> Table:
    """The whole file, columns that the task does not use included."""
    return read_table(
        path,
        delimiter=style.delimiter,
        header=style.header,
        encoding=style.encoding,
        spelling=style.spelling,
        missing=[*schema.missing, *style.missing],
        known_names=schema.names if schema.has_header else (),
    )


def _labelled(whole: Table, *, schema: TableSchema, style: FileStyle, drop_unlabelled: bool) -> Table:
    table = _as_the_task_writes(whole, schema=schema, style=style, labelled=True)
    target = schema.names.index(schema.target)
    return keep_labelled(table, target, missing=schema.missing, drop_unlabelled=drop_unlabelled)


def _as_the_task_writes(table: Table, *, schema: TableSchema, style: FileStyle, labelled: bool) -> Table:
    table = _project(table, schema=schema, by_place=style.header is False, labelled=labelled)
    target = schema.names.index(schema.target)
    changed = {target: mapped(table.columns[target], dict(style.label_map))} if style.label_map else {}
    table = table.with_columns(changed)
    numeric = {column.name for column in schema.columns if isinstance(column, NumericColumn | IdColumn)}
    if schema.target_scale is not None or schema.positive_above is not None:
        numeric.add(schema.target)
    return restyle(
        table,
        style=style,
        missing=[*schema.missing, *style.missing],
        as_text=set(schema.names) - numeric,
        level_map=schema.level_map,
        own_marks=style.missing,
    )


def _project(table: Table, *, schema: TableSchema, by_place: bool, labelled: bool) -> Table:
    """The columns that the task uses, under its names and in its order; nothing in the others."""
    used = [*([schema.target] if labelled else []), *(column.name for column in schema.columns)]
    absent = not labelled and len(table.names) == len(schema.names) - 1
    names = [name for name in schema.names if not absent or name != schema.target]
    places = column_order(table, names=names, has_header=schema.has_header, needed=used, by_place=by_place)
    found = dict(zip(used, places, strict=True))
    nothing = np.full(len(table), "", dtype=np.str_)
    return replace(
        table,
        names=schema.names,
        has_header=schema.has_header,
        columns=tuple(table.columns[found[name]] if name in found else nothing for name in schema.names),
        untitled=(),
    )
