"""Read the one file that a node owns, under the task's terms."""

from __future__ import annotations

from pathlib import Path

from fl.task.data.dataset import Shard
from fl.task.data.encode import encode
from fl.task.data.idx import read_pair
from fl.task.data.images import check_labels, check_shape, scale_images
from fl.task.data.schema import TableSchema
from fl.task.data.table import read_table


def read_shard(
    path: Path | str,
    *,
    schema: TableSchema,
    name: str | None = None,
    delimiter: str | None = None,
    header: bool | str = "auto",
    drop_unlabelled: bool = False,
) -> Shard:
    """A table, encoded as every other node of the task encodes its own.

    Columns are matched by name if both the file and the schema have a header, else by place.

    Args:
        path: The file.
        schema: From the task's spec.
        name: Of the shard, for reports; None takes the file's stem.
        delimiter: Character between two cells; None to find it out.
        header: Whether the first row names the columns, or "auto".
        drop_unlabelled: Leave rows without a label out instead of refusing the file.
    Raises: DataError if the file cannot be read, lacks a column, holds a word among numbers, a row without a label,
        or a label outside the task's classes.
    """
    path = Path(path).expanduser()
    table = read_table(
        path,
        delimiter=delimiter,
        header=header,
        missing=schema.missing,
        known_names=schema.names if schema.has_header else (),
    )
    return Shard(name=name or path.stem, data=encode(table, schema=schema, drop_unlabelled=drop_unlabelled))


def read_image_shard(
    path: Path | str, *, num_classes: int, feature_shape: tuple[int, ...], name: str | None = None
) -> Shard:
    """A pair of IDX files, checked against the task.

    Args:
        path: A folder that holds the pair, or the file of images.
        num_classes: Labels run from 0 to one less.
        feature_shape: (1, height, width) of the task's model.
        name: Of the shard, for reports; None takes the stem of the path.
    Raises: DataError if the files cannot be read, or do not fit the task.
    """
    path = Path(path).expanduser()
    pair = read_pair(path)
    check_shape(pair, shape=tuple(feature_shape[1:]))
    check_labels(pair, num_classes=num_classes)
    return Shard(name=name or path.stem, data=scale_images(pair))
