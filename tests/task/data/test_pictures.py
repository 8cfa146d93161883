"""A folder of pictures for each class: at the coordinator, and at a node."""

import numpy as np
import pytest
from PIL import Image

from clients.shard import read_own_shard
from fl.errors import ConfigError
from fl.task.data import DataConfig, DataError, PartitionConfig, load_federation, write_shards
from fl.task.data.images import read_images
from fl.task.data.pictures import read_pictures

SPEC = {"feature_shape": [1, 8, 8], "num_classes": 2, "class_names": ["cat", "dog"]}


def pictures(folder, *, each=10):
    """Cats are dark and wide, dogs are bright and tall."""
    for name, shade, size in (("cat", 40, (16, 8)), ("dog", 200, (9, 20))):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", size, (shade, shade, shade + number)).save(folder / name / f"{number}.png")
    (folder / "cat" / "notes.txt").write_text("not a picture")
    (folder / ".cache").mkdir()
    return folder


@pytest.fixture
def folder(tmp_path):
    return pictures(tmp_path / "set")


def config(folder, **settings):
    return DataConfig(name="images", path=str(folder), **{"size": 8, **settings})


def load(folder, **settings):
    return load_federation(config(folder, **settings), PartitionConfig(name="iid", clients=2), seed=0)


def test_folders_are_classes_and_all_pictures_have_one_size(folder):
    found = load(folder)
    assert found.class_names == ("cat", "dog")
    assert found.feature_shape == (1, 8, 8)
    assert sum(len(shard.data) for shard in found.shards) + len(found.validation) + len(found.test) == 20
    for data in (found.validation, *(shard.data for shard in found.shards)):
        np.testing.assert_array_equal(data.features.mean(axis=(1, 2, 3)) > 0.5, data.labels == 1)
    assert load(folder, color=True).feature_shape == (3, 8, 8)


def test_a_node_reads_its_own_folder_by_the_tasks_classes(folder, tmp_path):
    found = read_own_shard(folder, spec=SPEC).data
    assert found.features.shape == (20, 1, 8, 8)
    assert found.class_counts(2).tolist() == [10, 10]
    other = pictures(tmp_path / "other", each=1)
    (other / "cat").rename(other / "cow")
    with pytest.raises(
        DataError, match="has a folder 'cow'; expected folders of the classes cat, dog; rename or move it"
    ):
        read_own_shard(other, spec=SPEC)


def test_a_validation_set_of_its_own_has_the_same_classes(folder, tmp_path):
    held = pictures(tmp_path / "held", each=2)
    assert len(load(folder, validation=str(held)).validation) == 4


def test_grey_pictures_are_dealt_to_files_and_coloured_ones_are_refused(folder, tmp_path):
    partition = PartitionConfig(name="iid", clients=2)
    written = write_shards(tmp_path / "out", data=config(folder), partition=partition, seed=0)
    assert sum(written.clients.values()) + written.validation + written.test == 20
    with pytest.raises(DataError, match="pictures in colour; expected grey ones"):
        write_shards(tmp_path / "colour", data=config(folder, color=True), partition=partition, seed=0)


def test_what_is_no_set_of_pictures_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"cat has no folder with pictures \(it has 0.png"):
        load(folder / "cat")
    with pytest.raises(DataError, match=r"nowhere has no folder with pictures \(it has nothing\)"):
        load(tmp_path / "nowhere")
    (folder / "dog" / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3.png cannot be read \(.*fetch it again, or remove it"):
        load(folder)
    with pytest.raises(ConfigError, match="data.size is 4; set 8 to 1024 pixels"):
        config(folder, size=4)
    with pytest.raises(ConfigError, match="data.color is True, which data=digits does not read"):
        DataConfig(name="digits", color=True)


def test_more_classes_than_a_label_holds_are_refused(tmp_path):
    for number in range(257):
        (tmp_path / f"{number:03d}").mkdir()
        (tmp_path / f"{number:03d}" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="has 257 classes; expected at most 256"):
        load(tmp_path)


def test_sixteen_bits_are_brought_to_eight_and_numbers_of_32_are_refused(tmp_path):
    for name, dark in (("cat", 1000), ("dog", 60_000)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((12, 12), dark, dtype=np.uint16)).save(tmp_path / name / "one.png")
    pair, _ = read_pictures(tmp_path, shape=(1, 8, 8))
    assert pair.images.mean((1, 2)).tolist() == [1000 >> 8, 60_000 >> 8]
    Image.fromarray(np.full((12, 12), 0.5, dtype=np.float32)).save(tmp_path / "cat" / "two.tif")
    with pytest.raises(DataError, match="two.tif cannot be read .its pixels are numbers of 32 bits.*8 or 16 bits"):
        read_pictures(tmp_path, shape=(1, 8, 8))


def test_pictures_of_one_class_are_told_what_is_missing(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("L", (12, 12)).save(tmp_path / "cat" / "one.png")
    with pytest.raises(DataError, match="has the label cat; .*each other class into a folder beside it"):
        read_images(DataConfig(name="images", path=str(tmp_path), size=8))
