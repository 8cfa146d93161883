"""Shards as files: nodes and coordinator read from them, bit for bit, what one machine would have loaded."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest

from fl.coordinator.config import RunConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.errors import ConfigError
from fl.task.data import (
    DataConfig,
    DataError,
    PartitionConfig,
    load_federation,
    read_image_shard,
    read_shard,
    write_shards,
)
from fl.task.data.idx import read_pair
from fl.task.spec import dataset_hash

IID = PartitionConfig(name="iid", clients=2)
NATURAL = PartitionConfig(name="natural", clients=0)


def holdout(folder, **settings) -> DataConfig:
    return DataConfig(name="holdout", path=str(folder), **settings)


def read_back(written, data, split, *, seed):
    """The federation in memory, what the nodes read, and what the coordinator reads."""
    memory = load_federation(data, split, seed=seed)
    coordinator = load_federation(holdout(written.coordinator), split, seed=seed)
    read = [
        read_shard(path, schema=coordinator.schema)
        if coordinator.schema
        else read_image_shard(path, num_classes=coordinator.num_classes, feature_shape=coordinator.feature_shape)
        for path in written.clients
    ]
    return memory, coordinator, [shard.data for shard in read]


def check_same(memory, coordinator, shards):
    assert (coordinator.schema, coordinator.class_names) == (memory.schema, memory.class_names)
    assert (coordinator.feature_shape, coordinator.shards) == (memory.feature_shape, ())
    assert dataset_hash(coordinator.validation) == dataset_hash(memory.validation)
    assert dataset_hash(coordinator.test) == dataset_hash(memory.test)
    assert [dataset_hash(shard) for shard in shards] == [dataset_hash(shard.data) for shard in memory.shards]


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_what_comes_with_scikit_learn_reads_back_bit_for_bit(tmp_path, name):
    data, split = DataConfig(name=name), PartitionConfig(clients=3)
    written = write_shards(tmp_path / "out", data=data, partition=split, seed=5)
    check_same(*read_back(written, data, split, seed=5))
    assert [path.name.split(".")[0] for path in written.clients] == ["client-0", "client-1", "client-2"]


def test_four_hospitals_read_back_bit_for_bit(tmp_path, shared_data):
    data = DataConfig(
        name="folder", path=str(shared_data / "heart-disease"), target=-1, positive_above=0.0, missing_zero=[4],
        categorical=[2, 6, 10, 12],
    )  # fmt: skip
    written = write_shards(tmp_path / "out", data=data, partition=NATURAL, seed=0)
    check_same(*read_back(written, data, NATURAL, seed=0))
    assert {path.name: rows for path, rows in written.clients.items()} == {
        "cleveland.csv": 182, "hungarian.csv": 176, "switzerland.csv": 74, "va.csv": 120,
    }  # fmt: skip


def test_images_and_separate_files_read_back_bit_for_bit(tmp_path, write_idx):
    draw = np.random.default_rng(0)
    for folder, count in (("d", 12), ("v", 4)):
        write_idx(f"{folder}/train-images-idx3-ubyte", draw.integers(256, size=(count, 2, 3), dtype=np.uint8))
        write_idx(f"{folder}/train-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 2)
    data = DataConfig(name="idx", path=str(tmp_path / "d"), validation=str(tmp_path / "v"), classes=["a", "b", "c"])
    written = write_shards(tmp_path / "out", data=data, partition=IID, seed=0)
    check_same(*read_back(written, data, IID, seed=0))


def test_cells_that_look_like_delimiters_and_names_that_are_no_file_names_come_through(tmp_path, write):
    rows = "".join(f'{n},"a;b;c;d;""{"xy"[n % 2]}""",../site {n % 2},{n // 2 % 2}\n' for n in range(40))
    data = DataConfig(name="csv", path=str(write("t.csv", "x,w,site,y\n" + rows)), target="y", group="site")
    written = write_shards(tmp_path / "out", data=data, partition=NATURAL, seed=0)
    check_same(*read_back(written, data, NATURAL, seed=0))
    assert [path.name for path in written.clients] == ["_site_0.csv", "_site_1.csv"]


def test_natural_clients_whose_names_would_be_one_file_keep_files_of_their_own(tmp_path, write):
    sites = ["Ward 1", "Ward/1", "ward_1", "Ward_1-2", "." + "é" * 200]
    text = "x,site,y\n" + "".join(f"{n},{sites[n % 5]},{n // 5 % 2}\n" for n in range(100))
    data = DataConfig(name="csv", path=str(write("t.csv", text)), target="y", group="site")
    written = write_shards(tmp_path / "out", data=data, partition=NATURAL, seed=0)
    told = {path.name: name for path, name in written.names.items()}
    assert sorted(told.values()) == sorted(sites)
    assert told["Ward_1.csv"] == "Ward 1"
    assert len({name.casefold() for name in told}) == 5
    listed = (tmp_path / "out" / "clients.csv").read_text().splitlines()
    assert listed[0] == "file,client,rows"
    assert "clients/Ward_1.csv,Ward 1,12" in listed
    assert json.loads((tmp_path / "out" / "data.json").read_text())["clients"] == dict.fromkeys(sorted(sites), 20)


def test_shards_of_two_deals_are_not_mixed(tmp_path, write):
    out = write("out/old.csv", "").parent
    with pytest.raises(DataError, match="out is not empty; expected a folder that is empty or does not exist"):
        write_shards(out, data=DataConfig(), partition=IID, seed=0)
    with pytest.raises(DataError, match="old.csv is a file"):
        write_shards(out / "old.csv", data=DataConfig(), partition=IID, seed=0)


def test_a_file_that_would_read_back_as_something_else_is_refused(tmp_path, write):
    # Words above numbers, and no header: of a shard, the first row is taken for one.
    text = "".join(f"{'a' if n < 25 else 1},{'xyz'[n % 3]}\n" for n in range(30))
    data = DataConfig(name="csv", path=str(write("t.csv", text)), target=-1, header=False, categorical=[0])
    with pytest.raises(
        DataError, match=r"is refused when it is read back \(.* has a header .* and set data.header=true"
    ):
        write_shards(tmp_path / "out", data=data, partition=IID, seed=0)


def test_a_folder_beside_the_one_that_was_dealt_to_the_coordinator_is_told_from_it(tmp_path):
    written = write_shards(tmp_path / "out", data=DataConfig(), partition=IID, seed=0)
    advice = re.escape(
        f"out holds what `fl shards` dealt to everybody; expected the coordinator's rows; point data.path at {written.coordinator}"
    )
    with pytest.raises(DataError, match=advice):
        load_federation(holdout(tmp_path / "out"), IID, seed=0)
    with pytest.raises(
        DataError, match=f"there is no .*coordinater; .*did you mean {re.escape(str(written.coordinator))}"
    ):
        load_federation(holdout(tmp_path / "out" / "coordinater"), IID, seed=0)


def test_a_dealt_holdout_settles_how_it_is_read(tmp_path):
    written = write_shards(tmp_path / "out", data=DataConfig(), partition=IID, seed=0)
    with pytest.raises(
        DataError, match=r"data.target is 'y', and .*coordinator holds rows that were dealt; .*leave it"
    ):
        load_federation(holdout(written.coordinator, target="y"), IID, seed=0)
    terms = written.coordinator / "holdout.json"
    for text in ("{", "[]", json.dumps({"class_names": ["a", "b"]})):
        terms.write_text(text)
        with pytest.raises(DataError, match=r"holdout.json cannot be read .*deal the data again with `fl shards`"):
            load_federation(holdout(written.coordinator), IID, seed=0)


# ---- a coordinator's own rows ----------------------------------------------------------------------------------------


def test_a_coordinators_own_table_validates_but_for_what_it_reports_on(write):
    path = write("own.csv", "x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
    own = load_federation(holdout(path, target="y", test=5), IID, seed=0)
    assert (len(own.validation), len(own.test), own.shards) == (15, 5, ())
    assert own.schema.target == "y"
    again = load_federation(holdout(path, target="y", test=5, seed=0), IID, seed=9)
    assert dataset_hash(again.validation) == dataset_hash(own.validation)
    other = load_federation(holdout(path, target="y", test=5), IID, seed=9)
    assert dataset_hash(other.validation) != dataset_hash(own.validation)


def test_a_coordinators_report_can_be_on_another_file(write):
    path = write("own.csv", "x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
    other = write("other.csv", "y,x\n1,3\n0,4\n")
    own = load_federation(holdout(path, target="y", test=str(other)), IID, seed=0)
    assert (len(own.validation), own.test.labels.tolist()) == (20, [1, 0])


def test_a_coordinators_own_images_need_no_target(tmp_path, write_idx):
    write_idx("d/images.idx3", np.arange(60, dtype=np.uint8).reshape(10, 2, 3))
    write_idx("d/labels.idx1", np.arange(10, dtype=np.uint8) % 2)
    own = load_federation(holdout(tmp_path / "d", test=0.3), IID, seed=0)
    assert (len(own.validation), len(own.test), own.schema) == (7, 3, None)


def test_a_coordinators_table_without_a_target_or_with_too_many_test_rows_is_refused(write, tmp_path):
    path = write("own.csv", "x,y\n1,0\n2,1\n")
    with pytest.raises(DataError, match="data.target is not set, and .*own.csv is not a folder that `fl shards` wrote"):
        load_federation(holdout(path), IID, seed=0)
    with pytest.raises(DataError, match="2 rows for test out of 2; expected some rows left to validate on"):
        load_federation(holdout(path, target="y", test=2), IID, seed=0)
    with pytest.raises(DataError, match=re.escape(f"there is no {tmp_path / 'absent'}")):
        load_federation(holdout(tmp_path / "absent", target="y"), IID, seed=0)


def test_a_run_plays_the_clients_too_and_refuses_rows_without_any(tmp_path):
    written = write_shards(tmp_path / "out", data=DataConfig(), partition=IID, seed=0)
    config = RunConfig(data=holdout(written.coordinator))
    with pytest.raises(ConfigError, match="data=holdout has no client's rows, and `fl run` plays the clients too"):
        run_federation(config, folder=tmp_path, watcher=Watcher())


def float_idx(folder, pixels):
    folder.mkdir()
    head = bytes([0, 0, 13, 3]) + b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    (folder / "images.idx3.gz").write_bytes(gzip.compress(head + pixels.astype(">f4").tobytes()))
    labels = bytes([0, 0, 8, 1]) + len(pixels).to_bytes(4, "big") + bytes(len(pixels))
    (folder / "labels.idx1.gz").write_bytes(gzip.compress(labels))
    return folder


def test_float_pixels_run_from_zero_to_one(tmp_path):
    pair = read_pair(float_idx(tmp_path / "f", np.array([[[0.0, 0.25]], [[1.0, 0.5]]])))
    assert (pair.images.ravel().tolist(), pair.white) == ([0, 0.25, 1, 0.5], 1)
    for number, worst in enumerate((1.5, -0.5, np.nan)):
        with pytest.raises(DataError, match=r"holds float pixels from .* to .*; expected float pixels from 0"):
            read_pair(float_idx(tmp_path / f"bad{number}", np.array([[[0.0, worst]]])))
