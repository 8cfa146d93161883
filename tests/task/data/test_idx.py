"""IDX files: read as declared, refused when they are not what they say."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fl.task.data import DataConfig, DataError, PartitionConfig, load_federation, read_image_shard
from fl.task.data.idx import read_idx, read_pair

IMAGES = np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


@pytest.fixture
def pair(write_idx):
    """Make a pair of files; returns its folder."""

    def make(folder="d", *, prefix="train", images=IMAGES, labels=LABELS, suffix=""):
        write_idx(f"{folder}/{prefix}-labels-idx1-ubyte{suffix}", labels)
        return write_idx(f"{folder}/{prefix}-images-idx3-ubyte{suffix}", images).parent

    return make


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_pair_reads_back_as_it_was_written(pair, suffix):
    read = read_pair(pair(suffix=suffix))
    assert (read.images == IMAGES).all()
    assert (read.labels == LABELS).all()


def test_a_pair_can_be_named_by_its_file_of_images(pair):
    pair(prefix="t10k", images=IMAGES[:2], labels=LABELS[:2])
    folder = pair()
    assert len(read_pair(folder / "t10k-images-idx3-ubyte").labels) == 2
    with pytest.raises(DataError, match=r"holds 2 files \*images\*idx3\* .*set data.path=.*train-images"):
        read_pair(folder)


def test_pixels_run_from_zero_to_one_with_one_channel(pair):
    images = np.array([0, 255] * 18, dtype=np.uint8).reshape(6, 2, 3)
    data = DataConfig(name="idx", path=str(pair(images=images)), validation=1, test=1)
    federation = load_federation(data, PartitionConfig(name="iid", clients=2), seed=0)
    assert federation.feature_shape == (1, 2, 3)
    assert federation.validation.features.dtype == np.float32
    assert np.unique(federation.shards[0].data.features).tolist() == [0, 1]
    assert federation.class_names == ("0", "1", "2")
    assert federation.schema is None


def test_validation_and_test_can_be_pairs_of_their_own(pair):
    train, apart = pair(), pair("v", images=IMAGES[:2], labels=LABELS[:2])
    data = DataConfig(name="idx", path=str(train), validation=str(apart), test=str(apart))
    federation = load_federation(data, PartitionConfig(name="iid", clients=2), seed=0)
    assert federation.validation.labels.tolist() == [0, 1]
    assert sum(len(shard.data) for shard in federation.shards) == 6


def test_a_node_reads_its_own_pair(pair):
    shard = read_image_shard(pair("site-a"), num_classes=3, feature_shape=(1, 2, 3))
    assert (shard.name, shard.data.features.shape) == ("site-a", (6, 1, 2, 3))
    with pytest.raises(DataError, match="holds images of 2 x 3 pixels; expected 28 x 28"):
        read_image_shard(pair(), num_classes=3, feature_shape=(1, 28, 28))
    with pytest.raises(DataError, match=r"image 2 has the label 2 \(2 such images\); expected one from 0 to 1"):
        read_image_shard(pair(), num_classes=2, feature_shape=(1, 2, 3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "is truncated: 51 bytes; expected 52 for 6 x 2 x 3 values"),
        (lambda raw: raw[:7], "is truncated: 7 bytes"),
        (lambda raw: raw + b"x", "is too long: 53 bytes"),
        (lambda raw: b"\0\0\x0e\3" + raw[4:], "starts with 00000e03; expected 00000803, the mark of images"),
        (lambda raw: b"", "starts with nothing"),
        (lambda raw: gzip.compress(raw)[:-9], "cannot be read .*fetch it again"),
    ],
)
def test_a_damaged_file_is_refused(write_idx, damage, message):
    path = write_idx("i", IMAGES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        read_idx(path, dimensions=3)


def test_files_that_do_not_belong_together_are_refused(pair, write_idx, tmp_path):
    with pytest.raises(DataError, match="holds 6 images and .* 5 labels; expected one label per image"):
        read_pair(pair(labels=LABELS[:5]))
    with pytest.raises(DataError, match="has no image; expected one or more"):
        read_pair(pair("none", images=IMAGES[:0], labels=LABELS[:0]))
    (tmp_path / "e").mkdir()
    with pytest.raises(DataError, match=r"has no file \*images\*idx3\* \(it holds nothing\)"):
        read_pair(tmp_path / "e")
    with pytest.raises(DataError, match="there is no .*absent"):
        read_pair(tmp_path / "absent")
    with pytest.raises(DataError, match="does not have images in its name"):
        read_pair(write_idx("pictures", IMAGES))
    write_idx("o/x-images-idx3-ubyte", IMAGES)
    with pytest.raises(DataError, match=r"has no file \*labels\*idx1\* \(it holds x-images-idx3-ubyte\)"):
        read_pair(tmp_path / "o")


def test_one_class_and_too_few_names_are_refused(pair):
    iid = PartitionConfig(name="iid", clients=2)
    with pytest.raises(DataError, match="every image of .* has the label 7; expected 2 classes or more"):
        load_federation(
            DataConfig(name="idx", path=str(pair(labels=LABELS * 0 + 7)), validation=1, test=1), iid, seed=0
        )
    named = DataConfig(name="idx", path=str(pair()), classes=["a", "b"], validation=1, test=1)
    with pytest.raises(DataError, match="has the label 2 .*name all classes in data.classes"):
        load_federation(named, iid, seed=0)
