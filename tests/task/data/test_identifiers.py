"""Identifiers are text; and targets that are numbers are numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fl.task.data import DataConfig, DataError, PartitionConfig, TableSchema, load_federation, write_shards
from fl.task.spec import dataset_hash

NATURAL = PartitionConfig(name="natural", clients=0)
IID = PartitionConfig(name="iid", clients=2)


def by(write, ids, *, partition=NATURAL, **settings):
    rows = "".join(f"{ids[n % len(ids)]},{n},{'iw'[n // len(ids) % 2]}\n" for n in range(20 * len(ids)))
    data = DataConfig(**{"name": "csv", "path": str(write("t.csv", "id,x,y\n" + rows)), "target": "y", **settings})
    return load_federation(data, partition, seed=0)


@pytest.mark.parametrize(
    "ids",
    [
        ["900719925474099267", "900719925474099268", "900719925474099269"],
        ["1", "01", "001"],
        ["1", "1.0", "1e0"],
        ["007", "7"],
        ["inf", "INF"],
        ["a", "A"],
        ["1.10", "1.1"],
        ["0x10", "16"],
    ],
)
def test_natural_clients_are_told_apart_as_they_are_written(write, ids):
    federation = by(write, ids, group="id")
    assert sorted(shard.name for shard in federation.shards) == sorted(ids)
    assert federation.reading.clients == dict.fromkeys(federation.reading.clients, 20)


def test_levels_and_classes_keep_every_digit(write):
    ids = ["900719925474099267", "900719925474099268"]
    federation = by(write, ids, categorical=["id"], partition=IID)
    assert federation.schema.columns[0].levels == tuple(ids)
    assert by(write, ids, target="id", partition=IID).class_names == tuple(ids)


def test_whole_numbers_beside_gaps_are_the_ones_they_were(write):
    # As pandas writes a column of codes in which some are missing.
    federation = by(write, ["4.0", "4", "", "900719925474099267.0"], categorical=["id"], partition=IID)
    assert federation.schema.columns[0].levels == ("4", "900719925474099267")


def test_zeros_in_front_are_part_of_a_code(write):
    with pytest.raises(
        DataError, match="writes one thing in several ways: '01' .*, '1' .*id:1:01.*map a level to itself"
    ):
        by(write, ["01", "1", "02"], categorical=["id"], partition=IID)
    levels = by(write, ["01", "1", "02"], categorical=["id"], level_map=["id:01:01", "id:1:1"], partition=IID).schema
    assert set(levels.columns[0].levels) == {"01", "1", "02"}


def test_near_names_of_clients_are_noted(write):
    notes = by(write, ["Ward 1", "ward_1", "St. Mary"], group="id").reading.notes
    assert "clients 'Ward 1' and 'ward_1' have nearly one name and are taken for several" in notes


def test_a_long_number_of_its_own_in_each_row_is_noted(write):
    rows = "".join(f"{90071992547409 + n * 17},{n % 7},{'iw'[n % 2]}\n" for n in range(40))
    data = DataConfig(name="csv", path=str(write("t.csv", "mrn,x,y\n" + rows)), target="y")
    notes = load_federation(data, IID, seed=0).reading.notes
    assert any("column 'mrn' holds a long number of its own in each row" in n and "data.drop=[mrn]" in n for n in notes)


def test_rare_classes_and_a_common_one_are_noted(write):
    rows = "".join(f"{n},{int(n == 7)}\n" for n in range(240))
    data = DataConfig(name="csv", path=str(write("t.csv", "x,y\n" + rows)), target="y")
    told = " | ".join(load_federation(data, IID, seed=0).reading.notes)
    assert "239 of 240 rows are of the class '0': a model that says nothing else is right in 99.6%" in told
    assert "class '1' has 1 row in all, too few to be learnt, scored and reported" in told


# ---- targets that are numbers ----------------------------------------------------------------------------------------


def houses(write, **settings):
    rows = "".join(f"{50 + n},{2 + n % 4},{1000 * (50 + n) + n % 7}.5\n" for n in range(120))
    path = str(write("h.csv", "area,rooms,price\n" + rows))
    return DataConfig(**{"name": "csv", "path": path, "target": "price", "regression": True, **settings})


def test_a_number_is_predicted_in_standard_deviations_of_the_validation_rows(write):
    federation = load_federation(houses(write), IID, seed=0)
    assert (federation.class_names, federation.num_classes) == ((), 1)
    assert federation.validation.labels.shape == (24, 1)
    assert federation.validation.labels.dtype == np.float32
    assert federation.validation.labels.mean() == pytest.approx(0, abs=1e-6)
    assert federation.validation.labels.std() == pytest.approx(1, abs=1e-6)
    assert federation.shards[0].data.class_counts(1).tolist() == []
    mean, std = federation.schema.target_scale
    parts = [federation.validation, federation.test, *(shard.data for shard in federation.shards)]
    prices = sorted(round(float(label) * std + mean) for part in parts for label in part.labels[:, 0])
    assert prices[0] == pytest.approx(50000.5, abs=2)
    assert prices[-1] == pytest.approx(169000.5 + 119 % 7, abs=2)
    assert TableSchema.from_json(federation.schema.to_json()) == federation.schema
    assert federation.reading.columns[-1].holds == "50000.5 to 169000"


@pytest.mark.parametrize("name", ["iid", "dirichlet", "labels"])
def test_numbers_are_dealt_by_their_tenths_and_read_back_bit_for_bit(write, tmp_path, name):
    partition = PartitionConfig(name=name, clients=3)
    data = houses(write)
    written = write_shards(tmp_path / "out", data=data, partition=partition, seed=0)
    memory = load_federation(data, partition, seed=0)
    held = load_federation(DataConfig(name="holdout", path=str(written.coordinator)), IID, seed=0)
    assert dataset_hash(held.validation) == dataset_hash(memory.validation)
    assert held.num_classes == 1
    assert len({shard.name for shard in memory.shards}) == 3


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            "x,price\n1,2\n2,2\n3,2\n",
            {},
            "every row has the same number 2 in column 'price'; expected a number that varies",
        ),
        ("x,price\n1,2\n2,much\n3,4\n", {}, "line 3, column 'price' holds 'much'; expected a number to predict"),
        ("x;price\n1;2,5\n2;3,5\n", {}, "holds '2,5'; expected a number to predict.*set data.decimal=comma"),
        ("x,price\n1,2\n2,?\n3,4\n", {}, "1 of 3 rows has no label"),
    ],
)
def test_a_target_that_is_no_number_is_refused(write, text, settings, message):
    data = DataConfig(name="csv", path=str(write("t.csv", text)), target="price", regression=True, **settings)
    with pytest.raises(DataError, match=message):
        load_federation(data, IID, seed=0)


def test_a_damaged_scale_of_the_target_is_refused(write):
    schema = json.loads(load_federation(houses(write), IID, seed=0).schema.to_json())
    for damage in (
        {"target_scale": [0.0, 0.0]},
        {"target_scale": None},
        {"class_names": ["a", "b"]},
        {"target_scale": [1]},
    ):
        with pytest.raises(DataError, match="a table schema that cannot be read"):
            TableSchema.from_json(json.dumps({**schema, **damage}))


def test_a_price_in_another_spelling_is_predicted_too(write):
    rows = "".join(f"{n};{n * 7 % 90}.{n:03},5\n" for n in range(10, 130))
    data = DataConfig(name="csv", path=str(write("h.csv", "x;price\n" + rows)), target="price", regression=True,
                      decimal="comma", thousands="point")  # fmt: skip
    assert load_federation(data, IID, seed=0).validation.labels.shape == (24, 1)
