"""A whole federation from settings: the same every time, nothing in two places, real data as people would load them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fl.task.data
from fl.task.data import DataConfig, DataError, Federation, PartitionConfig, load_federation, read_shard

NATURAL = PartitionConfig(name="natural", clients=0)


def table(rows: int, *, start: int = 0) -> str:
    """A table in which x is unique to its row."""
    return "x,site,y\n" + "".join(f"{n},{'ab'[n % 2]},{n // 2 % 2}\n" for n in range(start, start + rows))


def raw_x(data, schema) -> set[int]:
    column = schema.columns[0]
    return {round(float(value) * column.std + column.mean) for value in data.features[:, 0]}


def pooled_accuracy(federation: Federation) -> float:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - half a second

    rows = np.concatenate([shard.data.features.reshape(len(shard.data), -1) for shard in federation.shards])
    labels = np.concatenate([shard.data.labels for shard in federation.shards])
    held = federation.validation
    model = LogisticRegression(max_iter=200).fit(rows, labels)
    return model.score(held.features.reshape(len(held), -1), held.labels)


def same(federation: Federation, other: Federation) -> bool:
    parts = [(*[shard.data for shard in each.shards], each.validation, each.test) for each in (federation, other)]
    return federation.schema == other.schema and all(
        a.features.tobytes() == b.features.tobytes() and a.labels.tobytes() == b.labels.tobytes()
        for a, b in zip(*parts, strict=True)
    )


def test_the_public_face():
    assert fl.task.data.__all__ == [
        "CategoricalColumn", "DataConfig", "DataError", "DataReading", "Dataset", "Federation", "FileStyle",
        "NumericColumn", "PartitionConfig", "Shard", "ShardFiles", "TableSchema", "TextSchema", "TextShard", "fit_schema",
        "is_text_schema", "load_federation", "read_image_shard", "read_shard", "read_text_shard", "survey_shard", "text_schema",
        "write_shards",
    ]  # fmt: skip


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DataError(seen="a", expected="b", fix="c")))
    assert (str(error), error.seen) == ("a; expected b; c", "a")


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(name, partition):
    data, split = DataConfig(name=name), PartitionConfig(name=partition, clients=3)
    first = load_federation(data, split, seed=1)
    assert same(first, load_federation(data, split, seed=1))
    assert not same(first, load_federation(data, split, seed=2))


def test_a_seed_of_the_data_keeps_the_held_out_rows_while_shards_change():
    first, other = (load_federation(DataConfig(seed=7), PartitionConfig(), seed=seed) for seed in (1, 2))
    assert first.validation.features.tobytes() == other.validation.features.tobytes()
    assert first.shards[0].data.features.tobytes() != other.shards[0].data.features.tobytes()


def test_digits_are_small_images():
    federation = load_federation(DataConfig(), PartitionConfig(name="iid", clients=4), seed=0)
    assert federation.feature_shape == (1, 8, 8)
    assert federation.num_classes == 10
    assert federation.validation.features.max() == 1
    assert len(federation.validation) == len(federation.test) == 359
    assert federation.validation.class_counts(10).min() >= 34


def test_breast_cancer_goes_the_way_of_every_table():
    federation = load_federation(DataConfig(name="breast_cancer"), PartitionConfig(name="iid", clients=4), seed=0)
    assert federation.class_names == ("benign", "malignant")
    assert federation.feature_shape == (30,)
    assert federation.schema is not None
    assert pooled_accuracy(federation) > 0.93


def test_no_row_is_in_two_places(write):
    data = DataConfig(name="csv", path=str(write("t.csv", table(60))), target="y", drop=["site"])
    federation = load_federation(data, PartitionConfig(name="iid", clients=3), seed=0)
    parts = [federation.validation, federation.test, *(shard.data for shard in federation.shards)]
    seen = [raw_x(part, federation.schema) for part in parts]
    assert sum(map(len, seen)) == 60
    assert set.union(*seen) == set(range(60))


def test_a_column_can_tell_the_natural_clients_and_is_no_feature(write):
    data = DataConfig(name="csv", path=str(write("t.csv", table(60))), target="y", group="site")
    federation = load_federation(data, NATURAL, seed=0)
    assert [(shard.name, len(shard.data)) for shard in federation.shards] == [("a", 18), ("b", 18)]
    assert federation.schema.features == ("x",)
    assert all(x % 2 == 0 for x in raw_x(federation.shards[0].data, federation.schema))


def test_separate_files_are_used_whole_and_fit_the_schema(write):
    validation = write("v.csv", "y,x\n0,1000\n1,1002\n")  # another order, and without the columns that do not count
    test = write("t.csv", table(4, start=2000))
    data = DataConfig(
        name="csv", path=str(write("d.csv", table(30))), target="y", group="site",
        validation=str(validation), test=str(test),
    )  # fmt: skip
    federation = load_federation(data, NATURAL, seed=0)
    assert federation.schema.columns[0].mean == 1001
    assert federation.validation.features.tolist() == [[-1], [1]]
    assert (len(federation.test), sum(len(shard.data) for shard in federation.shards)) == (4, 30)


def test_a_folder_holds_a_file_per_client_besides_the_validation_file(write):
    for name in ("north", "south"):
        folder = write(f"f/{name}.csv", table(20)).parent
    validation = write("f/held.csv", table(10))
    write("f/README.md", "not a table")
    data = DataConfig(name="folder", path=str(folder), target="y", validation=str(validation))
    federation = load_federation(data, NATURAL, seed=0)
    assert [(shard.name, len(shard.data)) for shard in federation.shards] == [("north", 16), ("south", 16)]
    assert len(federation.validation) == 10
    pooled = load_federation(data, PartitionConfig(name="iid", clients=4), seed=0)
    assert [len(shard.data) for shard in pooled.shards] == [8, 8, 8, 8]


def test_a_limit_uses_that_many_rows_in_all(write):
    data = DataConfig(name="csv", path=str(write("t.csv", table(60))), target="y", limit=20, validation=5, test=5)
    federation = load_federation(data, PartitionConfig(name="iid", clients=2), seed=0)
    assert [len(shard.data) for shard in federation.shards] == [5, 5]


def test_classes_are_in_the_order_asked_for_else_by_size(write):
    text = "x,y\n" + "".join(f"{n},{(10, 9, 2.0)[n % 3]}\n" for n in range(30))
    path, iid = str(write("t.csv", text)), PartitionConfig(name="iid", clients=2)
    found = load_federation(DataConfig(name="csv", path=path, target="y"), iid, seed=0)
    assert found.class_names == ("2", "9", "10")
    named = DataConfig(name="csv", path=path, target="y", classes=["10", "9", "2", "5"])
    assert load_federation(named, iid, seed=0).class_names == ("10", "9", "2", "5")
    mapped = DataConfig(name="csv", path=path, target="y", label_map=["2:low", "9:high", "10:high"])
    assert load_federation(mapped, iid, seed=0).class_names == ("high", "low")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("x,y\n1,0\n2,0\n", {}, "every row has the same label '0' in column 'y'; expected 2 classes or more"),
        ("x,y\n1,0\n2,3\n", {"positive_above": 9.0}, "every row has the same label 'up to 9'"),
        ("x,y\n1,?\n2,\n", {}, "has no label in any row"),
        ("x,y\n1,?\n2,1\n", {}, r"1 of 2 rows has no label in column 'y' \(.*line 2\)"),
        ("x,y\n1,0\n2,1\n3,2\n", {"classes": ["0", "1"]}, "line 4 has the label '2' .*add the class to data.classes"),
        ("x,y\n1,0\n2,1\n", {"target": "z"}, "has no column 'z'"),
        ("x,y\n1,0\n2,1\n", {"drop": ["xx"]}, "has no column 'xx'.*did you mean 'x'"),
        ("x,g,y\n1,a,0\n2,?,1\n", {"group": "g"}, "1 row has nothing in data.group=g .*line 3"),
        (
            "x,y\n" + "".join(f"{n},{n / 7}\n" for n in range(50)),
            {},
            "holds 50 different labels in 50 rows; .*data.regression=true task.loss=mse, or .*data.positive_above=NUMBER",
        ),
    ],
)
def test_a_table_that_cannot_be_learnt_from_is_refused(write, text, settings, message):
    data = DataConfig(**{"name": "csv", "path": str(write("t.csv", text)), "target": "y", **settings})
    with pytest.raises(DataError, match=message):
        load_federation(data, PartitionConfig(name="iid", clients=1), seed=0)


def test_an_unlabelled_client_is_refused_by_name(write):
    write("f/a.csv", table(9))
    folder = write("f/b.csv", "x,site,y\n1,a,?\n").parent
    with pytest.raises(DataError, match="b.csv has no label in any row"):
        load_federation(DataConfig(name="folder", path=str(folder), target="y"), NATURAL, seed=0)


def test_a_client_left_without_rows_is_refused_by_name(write):
    write("f/a.csv", table(40))
    folder = write("f/b.csv", table(1)).parent
    data = DataConfig(name="folder", path=str(folder), target="y", validation=0.49, test=0.49)
    with pytest.raises(DataError, match="b would get 0 rows with partition=natural"):
        load_federation(data, NATURAL, seed=0)


def test_a_folder_without_tables_is_refused(write, tmp_path):
    def load(path):
        return load_federation(DataConfig(name="folder", path=str(path), target="y"), NATURAL, seed=0)

    with pytest.raises(DataError, match=r"has no file for a client \(it holds notes.md\); .*ending in .csv"):
        load(write("f/notes.md", "").parent)
    with pytest.raises(DataError, match="there is no .*absent"):
        load(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file; expected a folder; use data=csv"):
        load(write("a.csv", table(3)))
    write("g/a.csv", table(3))
    with pytest.raises(DataError, match="b.csv is empty"):
        load(write("g/b.csv", "").parent)


def test_images_have_no_natural_clients():
    with pytest.raises(DataError, match="do not say which client a row came with"):
        load_federation(DataConfig(), NATURAL, seed=0)


def heart(shared_data, **settings) -> DataConfig:
    return DataConfig(
        name="folder", path=str(shared_data / "heart-disease"), target=-1, positive_above=0.0, missing_zero=[4],
        categorical=[2, 6, 10, 12], **settings,
    )  # fmt: skip


def test_four_hospitals_learn_heart_disease(shared_data):
    federation = load_federation(heart(shared_data), NATURAL, seed=0)
    assert [(shard.name, len(shard.data)) for shard in federation.shards] == [
        ("cleveland", 182), ("hungarian", 176), ("switzerland", 74), ("va", 120),
    ]  # fmt: skip
    assert federation.class_names == ("up to 0", "above 0")
    assert "4 missing" in federation.schema.features
    assert pooled_accuracy(federation) > 0.75


def test_a_hospital_reads_its_own_file_as_the_federation_did(shared_data):
    everything = load_federation(heart(shared_data, validation=1, test=1, seed=0), NATURAL, seed=0)
    # Fitted on one row, and still of use to everybody.
    assert all(np.isfinite(shard.data.features).all() for shard in everything.shards)
    schema = load_federation(heart(shared_data), NATURAL, seed=0).schema
    shard = read_shard(shared_data / "heart-disease" / "switzerland.csv", schema=schema)
    assert shard.data.class_counts(2).tolist() == [8, 115]
    assert shard.data.features[:, schema.features.index("4 missing")].all()


def test_ten_thousand_mnist_images_split_as_asked(shared_data):
    data = DataConfig(name="idx", path=str(shared_data / "mnist10k"), validation=1000, test=1000)
    federation = load_federation(data, PartitionConfig(clients=10), seed=0)
    assert federation.feature_shape == (1, 28, 28)
    assert (len(federation.validation), len(federation.test)) == (1000, 1000)
    assert sum(len(shard.data) for shard in federation.shards) == 8000
    assert federation.validation.features.max() == 1
