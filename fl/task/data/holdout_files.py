"""The rows that a coordinator of real machines holds: to score on and to report on, and no client's.

Two forms of data=holdout:

| data.path | what it is | who makes it |
|---|---|---|
| a folder with `holdout.json` | validation, test, and the schema or classes of the whole task | `fl shards`, beside the clients' files |
| a table, or a folder with a pair of IDX files | the coordinator's own rows | the coordinator |

The first reads as the validation and test set of the federation that was dealt, bit for bit: same schema, same hashes.
Of the second, `data.test` is held for the report, the rest validates, and the schema is fitted on that rest.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fl.foreign.files import Unreadable, read_file
from fl.foreign.json_text import MOST_BYTES, object_of, read_json
from fl.task.data.config import DataConfig
from fl.task.data.dataset import Federation
from fl.task.data.errors import DataError
from fl.task.data.holdout import draw_apart
from fl.task.data.idx import ImagePair, write_pair
from fl.task.data.images import ImageRows, read_images
from fl.task.data.schema import TableSchema
from fl.task.data.shard import read_image_shard, read_shard
from fl.task.data.table import Table, write_table
from fl.task.data.tables import TableRows, read_csv
from fl.task.data.text_file import absent

_TERMS = "holdout.json"
_PARTS = ("validation", "test")


def write_table_holdout(folder: Path, *, schema: TableSchema, validation: Table, test: Table) -> None:
    """Write a coordinator's rows of a table into a folder that is made.

    Args:
        folder: To make.
        schema: Of the table.
        validation: Its rows.
        test: Its rows.
    """
    folder.mkdir(parents=True)
    for name, table in zip(_PARTS, (validation, test), strict=True):
        write_table(folder / f"{name}.csv", table)
    _write_terms(folder, {"schema": json.loads(schema.to_json())})


def write_image_holdout(folder: Path, *, class_names: tuple[str, ...], validation: ImagePair, test: ImagePair) -> None:
    """Write a coordinator's images into a folder that is made.

    Args:
        folder: To make.
        class_names: In the order of their numbers.
        validation: Its images.
        test: Its images.
    """
    folder.mkdir(parents=True)
    for name, pair in zip(_PARTS, (validation, test), strict=True):
        write_pair(folder / name, pair)
    shape = [1, *validation.images.shape[1:]]
    _write_terms(folder, {"class_names": list(class_names), "feature_shape": shape})


def load_holdout(data: DataConfig, *, seed: int) -> Federation:
    """A federation of no shard: what data=holdout names.

    Args:
        data: Of the name holdout.
        seed: Draws the test rows from the coordinator's own, unless data.seed is set.
    Raises: DataError if the files cannot be read, or a setting is given that the folder of `fl shards` settles.
    """
    path = data.source()
    if (path / _TERMS).exists():
        return _read_dealt(data, folder=path)
    if not path.exists():
        raise absent(path)
    if (dealt := path / "coordinator" / _TERMS).exists():
        raise DataError(
            seen=f"{path} holds what `fl shards` dealt to everybody",
            expected="the coordinator's rows",
            fix=f"point data.path at {dealt.parent}",
        )
    rows = read_images(data) if path.is_dir() else _read_own_table(data)
    return _split(rows, data=data, seed=data.seed if data.seed is not None else seed)


def _read_dealt(data: DataConfig, *, folder: Path) -> Federation:
    settled = DataConfig(name="holdout", path=data.path)
    for setting in fields(DataConfig):
        if setting.name != "seed" and getattr(data, setting.name) != getattr(settled, setting.name):
            raise DataError(
                seen=f"data.{setting.name} is {getattr(data, setting.name)!r}, and {folder} holds rows that were dealt",
                expected=f"no such setting: {folder / _TERMS} says how they are read",
                fix="leave it out, or point data.path at a file of rows of your own",
            )
    terms = _read_terms(folder)
    if "schema" in terms:
        schema = TableSchema.from_json(json.dumps(terms["schema"]))
        validation, test = (read_shard(folder / f"{name}.csv", schema=schema).data for name in _PARTS)
        return Federation(shards=(), validation=validation, test=test, class_names=schema.class_names, schema=schema)
    class_names, shape = tuple(map(str, terms["class_names"])), tuple(map(int, terms["feature_shape"]))
    validation, test = (
        read_image_shard(folder / name, num_classes=len(class_names), feature_shape=shape).data for name in _PARTS
    )
    return Federation(shards=(), validation=validation, test=test, class_names=class_names, schema=None)


def _read_own_table(data: DataConfig) -> TableRows:
    if data.target is None or data.target == "":
        raise DataError(
            seen=f"data.target is not set, and {data.path} is not a folder that `fl shards` wrote",
            expected="the column to predict",
            fix="add data.target=COLUMN (its name, or its place counted from 0; -1 is the last), "
            "or point data.path at the folder `coordinator` that `fl shards` wrote",
        )
    return read_csv(data)


def _split(rows: TableRows | ImageRows, *, data: DataConfig, seed: int) -> Federation:
    test, validation = draw_apart(rows.labels, test=data.test, rng=np.random.default_rng([seed, 0]))
    schema = rows.fit(validation)
    take = rows.encoder(schema)
    return Federation(
        shards=(),
        validation=take(validation),
        test=rows.encode_separate("test", schema) if test is None else take(test),
        class_names=rows.class_names,
        schema=schema,
        reading=rows.reading,
    )


def _write_terms(folder: Path, terms: dict[str, object]) -> None:
    (folder / _TERMS).write_text(json.dumps(terms, indent=1) + "\n", encoding="utf-8")


def _read_terms(folder: Path) -> dict[str, Any]:  # Any: parsed JSON
    path = folder / _TERMS
    try:
        terms = dict(object_of(read_json(read_file(path, most=MOST_BYTES))))
        if "schema" not in terms and not {"class_names", "feature_shape"} <= terms.keys():
            raise ValueError("it has neither a schema nor class names and shape")
    except (Unreadable, ValueError, AttributeError) as error:
        raise DataError(
            seen=f"{path} cannot be read ({error})",
            expected="what `fl shards` wrote there",
            fix="deal the data again with `fl shards`",
        ) from None
    return terms
