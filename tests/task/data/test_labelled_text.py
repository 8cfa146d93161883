"""Text with a class, a class for each word, or two answers: read as it stands, or refused with its row and what to do."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from clients.shard import survey_own_shard
from fl.errors import ConfigError
from fl.task.data import DataConfig, DataError, PartitionConfig, TextSchema, load_federation, read_text_shard
from fl.task.data.labelled_text import IGNORED, PADDING


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path, rows, *, form, context=16, classes=("no", "yes")):
    schema = TextSchema(context=context, form=form)
    return read_text_shard(lines(tmp_path / "own.jsonl", rows), schema=schema, classes=classes)


def decoded(row):
    return bytes(row[row >= 0].astype(np.uint8).tolist()).decode()


def test_a_text_and_its_class(tmp_path):
    rows = [
        {"text": "fine", "label": "yes"},
        {"text": "x" * 20, "label": "no"},
        {"text": "", "label": "no"},
    ]
    shard = read(tmp_path, rows, form="labels")
    assert shard.data.labels.tolist() == [1, 0]
    assert decoded(shard.data.features[0]) == "fine"
    assert (shard.data.features[0][4:] == PADDING).all()
    assert shard.notes == (
        "1 of 3 texts is longer than 16 tokens and cut off",
        "1 text has nothing to learn from within 16 tokens, and is left out",
    )


def test_a_class_stands_at_the_first_letter_of_its_word(tmp_path):
    shard = read(tmp_path, [{"tokens": ["a", "bc", "d"], "tags": ["no", "yes", "no"]}], form="tags")
    features, labels = shard.data.features[0], shard.data.labels[0]
    assert decoded(features) == "a bc d"
    assert {place: int(label) for place, label in enumerate(labels) if label != IGNORED} == {0: 0, 2: 1, 5: 0}


def test_of_two_answers_only_the_answers_are_targets(tmp_path):
    shard = read(tmp_path, [{"prompt": "ab", "chosen": "cd", "rejected": "e"}], form="pairs", classes=())
    assert shard.data.features.shape == (1, 2, 16)
    better, other = shard.data.labels[0]
    assert [chr(token) for token in better if token != IGNORED] == ["c", "d"]
    assert [chr(token) for token in other if token != IGNORED] == ["e"]
    assert [chr(token) for token in shard.data.features[0, 0, :3]] == ["a", "b", "c"]
    assert better[:3].tolist() == [IGNORED, ord("c"), ord("d")]


def test_a_prompt_may_be_absent_and_one_that_fills_the_row_leaves_nothing(tmp_path):
    path = tmp_path / "own.parquet"
    parquet.write_table(pa.table({"chosen": ["yes"], "rejected": ["no"]}), path)
    assert len(read_text_shard(path, schema=TextSchema(context=8, form="pairs")).data) == 1
    rows = [{"prompt": "p" * 40, "chosen": "c", "rejected": "r"}, {"prompt": "p", "chosen": "c", "rejected": "r"}]
    shard = read(tmp_path, rows, form="pairs", classes=())
    assert len(shard.data) == 1
    assert "1 text has nothing to learn from within 16 tokens, and is left out" in shard.notes


@pytest.mark.parametrize(
    ("form", "row", "message"),
    [
        ("labels", {"text": "a"}, r"row 1 has not a value in 'label' \(it has text\)"),
        ("labels", {"text": "a", "label": None}, "row 1 has not a value in 'label' but nothing"),
        ("labels", {"text": "a", "label": "Yes"}, r"has the label 'Yes'; expected one of the task's: no, yes; write it as 'yes'"),
        ("labels", {"text": "a", "label": 0.5}, "has the label '0.5'; expected a word or a whole number"),
        ("labels", {"text": 5, "label": "no"}, "has a int in 'text'; expected a text"),
        ("tags", {"tokens": ["a", "b"], "tags": ["no"]}, "row 1 has 2 words and 1 tag; expected a tag for each word"),
        ("tags", {"tokens": "a b", "tags": ["no", "no"]}, "has a str in 'tokens'; expected a list"),
        ("tags", {"tokens": ["a"], "tags": ["maybe"]}, "has the label 'maybe'; .*or leave the row out"),
        ("pairs", {"chosen": "", "rejected": "r"}, "has an empty 'chosen'"),
        ("pairs", {"chosen": "c", "rejected": " "}, "has an empty 'rejected'"),
        ("pairs", {"chosen": "c", "rejected": "c"}, "has the same text as 'chosen' and 'rejected'"),
        ("pairs", {"chosen": "c"}, "row 1 has not a value in 'rejected'"),
        ("labels", {"text": "", "label": "no"}, "has no row to learn from within 16 tokens"),
    ],
)  # fmt: skip
def test_rows_that_say_nothing_or_something_else_are_refused(tmp_path, form, row, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, [row], form=form)


def test_plain_text_has_no_labels(tmp_path):
    (tmp_path / "own.txt").write_text("hello")
    with pytest.raises(DataError, match="is plain text; expected rows with text and label"):
        read_text_shard(tmp_path / "own.txt", schema=TextSchema(context=8, form="labels"), classes=("a", "b"))


def federation(folder, **settings):
    config = DataConfig(name="text", path=str(folder), **{"context": 8, "form": "labels", **settings})
    return load_federation(config, PartitionConfig(name="natural", clients=0), seed=0)


def test_classes_are_all_that_occur_and_a_client_reads_by_the_tasks(tmp_path):
    for name, labels in (("anna", [10, 9]), ("bert", [9, 2])):
        lines(tmp_path / f"{name}.jsonl", [{"text": "abc", "label": label} for label in labels * 10])
    found = federation(tmp_path)
    assert found.class_names == ("2", "9", "10")
    assert found.num_classes == 3
    spec = {
        "schema": json.loads(found.schema.to_json()),
        "feature_shape": list(found.feature_shape),
        "num_classes": 3,
        "class_names": list(found.class_names),
    }
    shard, reading = survey_own_shard(tmp_path / "anna.jsonl", spec=spec)
    assert reading.classes == {"9": 10, "10": 10}
    assert shard.data.features.shape == (20, 8)
    assert federation(tmp_path, classes=["2", "9", "10", "11"]).num_classes == 4
    with pytest.raises(DataError, match="data.classes is set, and data.form=pairs has none"):
        federation(tmp_path, form="pairs", classes=["a", "b"])
    lines(tmp_path / "bert.jsonl", [{"text": "abc", "label": 9}] * 20)
    lines(tmp_path / "anna.jsonl", [{"text": "abc", "label": 9}] * 20)
    with pytest.raises(DataError, match="every label is 9; expected 2 classes or more"):
        federation(tmp_path)


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="data.form"):
        DataConfig(name="text", path="x", form="rows")
