"""From settings to a federation: read the rows, hold some back, fit the schema on those, deal the rest."""

from __future__ import annotations

import numpy as np

from fl.task.data.config import DataConfig, PartitionConfig
from fl.task.data.dataset import Federation, Shard
from fl.task.data.holdout import split_rows
from fl.task.data.images import ImageRows, read_digits, read_images
from fl.task.data.partition import deal
from fl.task.data.tables import TableRows, read_breast_cancer, read_csv, read_folder

_HOLD_OUT, _DEAL = 0, 1  # one stream of random numbers each, so that a new split leaves the held-out rows alone


def load_federation(data: DataConfig, partition: PartitionConfig, *, seed: int) -> Federation:
    """Load all data of a task on one machine. The same settings, files and seed give the same bytes.

    What is held back is a share of every natural client's rows where the data say which those are, of every class
    otherwise; it depends on `data` and its seed only, not on the partition. The schema of a table is fitted on the
    validation rows alone (see `fl.task.data.fit`); a node that has a file of its own reads it with `read_shard`.

    Args:
        data: Which rows.
        partition: How they are dealt to the clients.
        seed: 0 or more; draws the partition, and what is held back unless data.seed is set.
    Raises: DataError if the files cannot be read as the settings say, or not be dealt to the clients.
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
    schema = rows.fit(split.validation)
    take = rows.encoder(schema)
    return Federation(
        shards=tuple(Shard(name=name, data=take(split.train[own])) for name, own in zip(names, shards, strict=True)),
        validation=rows.encode_separate("validation", schema) if split.validation is None else take(split.validation),
        test=rows.encode_separate("test", schema) if split.test is None else take(split.test),
        class_names=rows.class_names,
        schema=schema,
    )


def _read(data: DataConfig) -> TableRows | ImageRows:
    if data.name == "csv":
        return read_csv(data)
    if data.name == "folder":
        return read_folder(data)
    if data.name == "breast_cancer":
        return read_breast_cancer(data)
    return read_images(data) if data.name == "idx" else read_digits()
