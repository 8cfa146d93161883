"""Columns of ids, of words or items: whole numbers that a model takes as they are, and what stands in the way of that."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fl.foreign.json_text import read_json
from fl.task.data import DataConfig, DataError, FileStyle, PartitionConfig, TableSchema, load_federation, survey_shard
from fl.task.data.unlabelled import read_inputs
from fl.task.spec import dataset_hash, rows_of_dataset

ROWS = [[(7 * row + row // 50 * (place + 2) * 5 + 3 * place) % 50 for place in range(3)] for row in range(120)]


def table(write, *, name="tokens.csv", change=lambda row, place, value: str(value)):
    lines = [
        ",".join([*(change(row, place, value) for place, value in enumerate(values)), "ab"[values[0] % 2]])
        for row, values in enumerate(ROWS)
    ]
    return write(name, "\n".join(["t0,t1,t2,label", *lines]) + "\n")


def federation(path, **settings):
    config = DataConfig(**{"name": "csv", "path": str(path), "target": "label", "ids": True, **settings})
    return load_federation(config, PartitionConfig(name="iid", clients=2), seed=0)


def test_ids_are_read_as_they_stand_on_every_side(write):
    path = table(write)
    found = federation(path)
    assert found.feature_shape == (3,)
    held = np.concatenate([part.features for part in (found.validation, found.test, *(s.data for s in found.shards))])
    assert held.dtype == np.int64
    assert sorted(map(tuple, held)) == sorted(map(tuple, ROWS))
    assert [(column.kind, column.holds) for column in found.reading.columns[:3]] == [("id", "0 to 49")] * 3
    assert found.reading.notes == ()
    schema = TableSchema.from_json(found.schema.to_json())
    assert schema == found.schema
    own, reading = survey_shard(path, schema=schema, style=FileStyle())
    assert own.data.features.tolist() == ROWS
    assert [column.kind for column in reading.columns] == ["target", "id", "id", "id"]
    inputs, _ = read_inputs(path, schema=json.loads(schema.to_json()), feature_shape=(3,))
    assert inputs.tolist() == ROWS
    assert rows_of_dataset(own.data).features.numpy().tolist() == ROWS
    assert dataset_hash(own.data) != dataset_hash(federation(path, ids=False).validation)


def test_numbers_beside_gaps_are_the_ids_they_were(write):
    assert federation(table(write, change=lambda row, place, value: f"{value}.0")).validation.features.max() < 50


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "",
            r"line 9, column 't1' holds 'nothing'; expected a whole number of 0 or more in every row, for the columns hold ids; fill",
        ),
        ("N/A", "line 9, column 't1' holds 'N/A'; .*such as 0 for padding"),
        ("-1", "line 9, column 't1' holds '-1'"),
        ("2.5", "line 9, column 't1' holds '2.5'"),
        ("9007199254740993", "line 9, column 't1' holds '9007199254740993'"),
        ("the", "line 9, column 't1' holds 'the'; expected a whole number of 0 or more"),
    ],
)
def test_what_is_no_id_is_refused_by_its_line(write, cell, message):
    path = table(write, change=lambda row, place, value: cell if (row, place) == (7, 1) else str(value))
    with pytest.raises(DataError, match=message):
        federation(path)


def test_a_node_hears_of_ids_beyond_the_tasks(write):
    schema = federation(table(write)).schema
    beyond = table(write, name="own.csv", change=lambda row, place, value: str(value + 50 * (row < 4)))
    _, reading = survey_shard(beyond, schema=schema, style=FileStyle())
    assert reading.notes[0] == "4 of 120 ids of column 't0' are above 49, the task's highest"
    with pytest.raises(DataError, match="line 3, column 't2' holds 'x'; expected a whole number of 0 or more"):
        survey_shard(
            table(write, name="own.csv", change=lambda row, place, value: "x" if (row, place) == (1, 2) else "1"),
            schema=schema,
            style=FileStyle(),
        )


def test_a_schema_that_is_partly_of_ids_is_none(write):
    path = table(write)
    told = read_json(federation(path).schema.to_json())
    told["columns"][0] = read_json(federation(path, ids=False).schema.to_json())["columns"][0]
    with pytest.raises(DataError, match="some of its columns are of ids, and some are not"):
        TableSchema.from_json(json.dumps(told))
