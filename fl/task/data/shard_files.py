"""A federation as files: one for each client, as its node reads it, and a folder for the coordinator.

out/clients/NAME.csv          or, for images, out/clients/NAME/ with a pair of IDX files
out/coordinator/              data=holdout data.path=out/coordinator
out/clients.csv, data.json    which client is in which file; what was understood of the data
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.task.data.config import DataConfig, PartitionConfig
from fl.task.data.dataset import Dataset, Federation
from fl.task.data.errors import DataError
from fl.task.data.federation import Dealt, deal_rows
from fl.task.data.holdout_files import load_holdout, write_image_holdout, write_table_holdout
from fl.task.data.idx import ImagePair, write_pair
from fl.task.data.images import ImageRows
from fl.task.data.reading import DataReading
from fl.task.data.schema import TableSchema
from fl.task.data.shard import read_image_shard, read_shard
from fl.task.data.table import Table, write_table
from fl.task.data.tables import TableRows

_LONGEST = 60  # characters of a file's name
READING, CLIENTS = "data.json", "clients.csv"  # beside the two folders: what was understood, and whose each file is


@dataclass(frozen=True, kw_only=True)
class ShardFiles:
    """What was written."""

    clients: dict[Path, int]  # the file, or folder, of each client, and its number of rows
    names: dict[Path, str]  # the client that each of them is of
    reading: DataReading | None  # what was understood of the data
    coordinator: Path
    validation: int  # rows
    test: int  # rows


def write_shards(folder: Path, *, data: DataConfig, partition: PartitionConfig, seed: int) -> ShardFiles:
    """Deal the rows as `load_federation` does, and write them into a folder that is made.

    Every file is read back as a node or a coordinator will read it, and compared: the federation on real machines has
    the bytes of the one in memory.

    Args:
        folder: Must not exist, or be empty.
        data: Which rows; not holdout, which has none for clients.
        partition: How they are dealt.
        seed: As of `load_federation`.
    Raises: DataError if the folder holds something, or a file does not read back as what was dealt.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            seen=f"{folder} is not empty" if folder.is_dir() else f"{folder} is a file",
            expected="a folder that is empty or does not exist: shards of two deals must not mix",
            fix="set out to another one",
        )
    dealt = deal_rows(data, partition, seed=seed)
    clients, coordinator = folder / "clients", folder / "coordinator"
    if isinstance(dealt.rows, ImageRows):
        paths = _write_images(dealt, dealt.rows, clients=clients, coordinator=coordinator)
    else:
        paths = _write_tables(dealt, dealt.rows, clients=clients, coordinator=coordinator)
    federation = dealt.encode()
    _check(federation, paths, coordinator=coordinator)
    names = {path: shard.name for path, shard in zip(paths, federation.shards, strict=True)}
    _write_account(folder, federation, names=names)
    return ShardFiles(
        clients={path: len(shard.data) for path, shard in zip(paths, federation.shards, strict=True)},
        names=names,
        reading=federation.reading,
        coordinator=coordinator,
        validation=len(federation.validation),
        test=len(federation.test),
    )


def _write_tables(dealt: Dealt, rows: TableRows, *, clients: Path, coordinator: Path) -> list[Path]:
    assert dealt.schema is not None, "a table has a schema"

    def part(key: str, held: NDArray[np.int64] | None) -> Table:
        return rows.separate[key] if held is None else rows.table.take(held)

    clients.mkdir(parents=True)
    paths = [clients / f"{stem}.csv" for stem in _stems(dealt.shards)]
    for path, own in zip(paths, dealt.shards.values(), strict=True):
        write_table(path, rows.table.take(own))
    write_table_holdout(
        coordinator,
        schema=dealt.schema,
        validation=part("validation", dealt.split.validation),
        test=part("test", dealt.split.test),
    )
    return paths


def _write_account(folder: Path, federation: Federation, *, names: dict[Path, str]) -> None:
    if federation.reading is not None:
        text = json.dumps(federation.reading.to_json(), indent=1, ensure_ascii=False) + "\n"
        (folder / READING).write_text(text, encoding="utf-8")
    with (folder / CLIENTS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "client", "rows"])
        for (path, name), shard in zip(names.items(), federation.shards, strict=True):
            writer.writerow([path.relative_to(folder).as_posix(), name, len(shard.data)])


def _write_images(dealt: Dealt, rows: ImageRows, *, clients: Path, coordinator: Path) -> list[Path]:
    def part(key: str, held: NDArray[np.int64] | None) -> ImagePair:
        return rows.separate[key] if held is None else rows.pair.take(held)

    if rows.pair.images.ndim == 4:
        raise DataError(
            seen="pictures in colour",
            expected="grey ones, which IDX files hold",
            fix="set data.color=false, or give every client a folder of its own pictures",
        )
    paths = [clients / stem for stem in _stems(dealt.shards)]
    for path, own in zip(paths, dealt.shards.values(), strict=True):
        write_pair(path, rows.pair.take(own))
    write_image_holdout(
        coordinator,
        class_names=rows.class_names,
        validation=part("validation", dealt.split.validation),
        test=part("test", dealt.split.test),
    )
    return paths


def _stems(names: dict[str, NDArray[np.int64]]) -> list[str]:
    """A file name for each client, told apart even where the case of letters does not count."""
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:  # natural clients are named by cells of a column, which may hold anything
        plain = re.sub(r"[^\w.-]", "_", name).lstrip(".")[:_LONGEST] or "_"
        stem, number = plain, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{plain}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _check(federation: Federation, paths: list[Path], *, coordinator: Path) -> None:
    for path, shard in zip(paths, federation.shards, strict=True):
        try:
            read = (
                read_shard(path, schema=federation.schema)
                if isinstance(federation.schema, TableSchema)
                else read_image_shard(path, num_classes=federation.num_classes, feature_shape=federation.feature_shape)
            )
        except DataError as error:
            raise _reads_otherwise(path, seen=f"is refused when it is read back ({error.seen})") from None
        _compare(read.data, shard.data, where=path)
    held = load_holdout(DataConfig(name="holdout", path=str(coordinator)), seed=0)
    _compare(held.validation, federation.validation, where=coordinator / "validation")
    _compare(held.test, federation.test, where=coordinator / "test")


def _compare(read: Dataset, dealt: Dataset, *, where: Path) -> None:
    same = read.features.shape == dealt.features.shape and (read.features == dealt.features).all()
    if not same or (read.labels != dealt.labels).any():
        raise _reads_otherwise(
            where, seen=f"reads back as {len(read)} other rows than the {len(dealt)} that were dealt"
        )


def _reads_otherwise(where: Path, *, seen: str) -> DataError:
    return DataError(
        seen=f"{where} {seen}",
        expected="the same rows: its first line was probably taken for a header, or for none",
        fix="name the columns in the first line of the data, and set data.header=true",
    )
