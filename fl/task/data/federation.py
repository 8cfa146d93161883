"""From settings to a federation: read the rows, hold some back, fit the schema on those, deal the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.task.data.config import DataConfig, PartitionConfig
from fl.task.data.dataset import Federation, Shard
from fl.task.data.errors import DataError
from fl.task.data.holdout import Split, split_rows
from fl.task.data.holdout_files import load_holdout
from fl.task.data.images import ImageRows, read_digits, read_images
from fl.task.data.partition import deal
from fl.task.data.schema import TableSchema
from fl.task.data.tables import TableRows, read_breast_cancer, read_csv, read_folder
from fl.task.data.text import TextSchema, load_texts

_HOLD_OUT, _DEAL = 0, 1  # one stream of random numbers each, so that a new split leaves the held-out rows alone


def load_federation(data: DataConfig, partition: PartitionConfig, *, seed: int) -> Federation:
    """Load all data of a task on one machine. The same settings, files and seed give the same bytes.

    What is held back is a share of every natural client's rows where the data say which those are, of every class
    otherwise; it depends on `data` and its seed only, not on the partition. The schema of a table is fitted on the
    validation rows alone (see `fl.task.data.fit`); a node that has a file of its own reads it with `read_shard`.
    data=holdout has no client's rows: no shard, and the partition does not matter.

    Args:
        data: Which rows.
        partition: How they are dealt to the clients.
        seed: 0 or more; draws the partition, and what is held back unless data.seed is set.
    Raises: DataError if the files cannot be read as the settings say, or not be dealt to the clients.
    """
    if data.name == "text":
        if partition.name != "natural":
            raise DataError(
                seen=f"data=text with partition={partition.name}",
                expected="partition=natural: each file is a client's",
                fix="leave the partition out, or set partition=natural",
            )
        return load_texts(
            data.source(),
            schema=TextSchema(context=data.context, tokens=data.tokens, form=data.form, field=data.field),
            validation=data.validation,
            test=data.test,
            limit=data.limit,
            rng=np.random.default_rng([seed if data.seed is None else data.seed, _HOLD_OUT]),
            classes=data.classes,
        )
    if data.name == "holdout":
        return load_holdout(data, seed=seed)
    return deal_rows(data, partition, seed=seed).encode()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dealt:
    """Rows as they stand in their files, and whose each of them is."""

    rows: TableRows | ImageRows
    split: Split
    shards: dict[str, NDArray[np.int64]]  # the rows of each client, by its name
    schema: TableSchema | None

    def encode(self) -> Federation:
        """All of them, ready for a model."""
        take = self.rows.encoder(self.schema)
        validation, test = self.split.validation, self.split.test
        return Federation(
            shards=tuple(Shard(name=name, data=take(own)) for name, own in self.shards.items()),
            validation=self.rows.encode_separate("validation", self.schema) if validation is None else take(validation),
            test=self.rows.encode_separate("test", self.schema) if test is None else take(test),
            class_names=self.rows.class_names,
            schema=self.schema,
            reading=self.rows.reading,
        )


def deal_rows(data: DataConfig, partition: PartitionConfig, *, seed: int) -> Dealt:
    """What `load_federation` loads, before anything is encoded.

    Args:
        data: Where the rows are.
        partition: How they are dealt.
        seed: Of the run.
    Raises: DataError, as there.
    """
    rows = _read(data)
    strata = rows.labels if rows.groups is None else rows.groups
    split = split_rows(
        strata,
        validation=data.validation,
        test=data.test,
        limit=data.limit,
        rng=np.random.default_rng([seed if data.seed is None else data.seed, _HOLD_OUT]),
    )
    names, shards = deal(
        rows.labels[split.train],
        config=partition,
        rng=np.random.default_rng([seed, _DEAL]),
        groups=None if rows.groups is None else rows.groups[split.train],
        group_names=rows.group_names,
    )
    return Dealt(
        rows=rows,
        split=split,
        shards={name: split.train[own] for name, own in zip(names, shards, strict=True)},
        schema=rows.fit(split.validation),
    )


def _read(data: DataConfig) -> TableRows | ImageRows:
    if data.name == "csv":
        return read_csv(data)
    if data.name == "folder":
        return read_folder(data)
    if data.name == "breast_cancer":
        return read_breast_cancer(data)
    return read_images(data) if data.name in ("idx", "images") else read_digits()
