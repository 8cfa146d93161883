import json

import numpy as np
import pytest

from clients.shard import read_own_shard
from fl.errors import ConfigError
from fl.task.data import DataConfig, DataError, PartitionConfig, TextSchema, load_federation, text_schema


@pytest.fixture
def folder(tmp_path):
    """Two clients, one with a byte-order mark, and a file that is not text."""
    (tmp_path / "anna.txt").write_bytes(b"abcdefgh" * 20)
    (tmp_path / "Björn.txt").write_bytes(b"\xef\xbb\xbf" + b"ABCDEFGH" * 30)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    return tmp_path


def load(folder, *, partition="natural", **settings):
    data = DataConfig(name="text", path=str(folder), **{"context": 8, **settings})
    return load_federation(data, PartitionConfig(name=partition, clients=0 if partition == "natural" else 2), seed=0)


def test_a_file_is_a_client_and_its_targets_are_the_next_bytes(folder):
    found = load(folder)
    assert [shard.name for shard in found.shards] == ["Björn", "anna"]
    assert found.feature_shape == (8,)
    for data in (*(shard.data for shard in found.shards), found.validation, found.test):
        assert data.features.dtype == data.labels.dtype == np.int64
        np.testing.assert_array_equal(data.features[:, 1:], data.labels[:, :-1])
    assert [len(shard.data) for shard in found.shards] == [17, 11]
    assert (len(found.validation), len(found.test)) == (10, 10)
    assert found.shards[0].data.class_counts(1).tolist() == []


def test_the_same_seed_holds_the_same_rows_back(folder):
    first, second = load(folder), load(folder)
    np.testing.assert_array_equal(first.validation.features, second.validation.features)


def test_a_file_of_ones_own_validates(folder, tmp_path):
    (tmp_path / "held.txt").write_bytes(b"x" * 33)
    found = load(folder, validation=str(tmp_path / "held.txt"))
    assert len(found.validation) == 4
    assert [shard.name for shard in found.shards] == ["Björn", "anna"]


def test_a_node_reads_its_own_file_by_the_specs_schema(folder):
    spec = {"schema": json.loads(TextSchema(context=8).to_json()), "feature_shape": [8], "num_classes": 1}
    shard = read_own_shard(folder / "anna.txt", spec=spec)
    assert shard.data.features[0].tolist() == list(b"abcdefgh")
    assert len(read_own_shard(folder, spec=spec).data) > len(shard.data)  # all files of a folder


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"context": 0}, ConfigError, "data.context is 0; set 1 to 1048576 tokens"),
        ({"context": 500}, DataError, "holds 240 bytes.*at least 501, one row"),
        ({"partition": "iid"}, DataError, "data=text with partition=iid"),
        ({"validation": 0.5, "test": 0.4, "limit": 2}, DataError, "some rows left for the clients"),
    ],
)
def test_text_that_cannot_be_dealt_is_refused(folder, settings, error, message):
    with pytest.raises(error, match=message):
        load(folder, **settings)


def test_a_folder_without_text_or_with_one_name_twice_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="is not there"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        load(folder / "anna.txt")
    (folder / "anna.md").write_text("twice")
    with pytest.raises(DataError, match="holds two files called anna"):
        load(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no text \(it holds nothing\)"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no .*gone.txt"):
        read_own_shard(folder / "gone.txt", spec={"schema": {"tokens": "bytes", "context": 8}, "feature_shape": [8]})


@pytest.mark.parametrize(
    "raw", [{"tokens": "words", "context": 8}, {"tokens": "bytes", "context": "8"}, {"tokens": "bytes"}]
)
def test_a_schema_of_other_tokens_is_refused(raw):
    with pytest.raises(
        DataError, match="a task whose tokens are .*expected tokens that are bytes|tokens that are bytes"
    ):
        text_schema(raw)


def test_a_setting_of_text_is_refused_elsewhere():
    with pytest.raises(ConfigError, match="data.context is 9, which data=digits does not read"):
        DataConfig(name="digits", context=9)
