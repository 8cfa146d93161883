"""What is said of an owner's rows that are unlike the task's, and that nothing is said of those that are alike."""

import json
from pathlib import Path

import pytest

from clients.joining.own_rows import differences
from clients.shard import read_own_shard
from fl.task.data.schema import CategoricalColumn, NumericColumn, TableSchema
from fl.task.data.text import TextSchema

SCHEMA = TableSchema(
    names=("age", "kind", "label"),
    has_header=True,
    columns=(
        NumericColumn(name="age", mean=50.0, std=10.0, marks_missing=True, zero_is_missing=False),
        CategoricalColumn(name="kind", levels=("a", "b"), marks_missing=False, zero_is_missing=False),
    ),
    target="label",
    class_names=("well", "ill"),
    positive_above=None,
    label_map=(),
    missing=("", "?"),
)
SPEC = {
    "schema": json.loads(SCHEMA.to_json()),
    "feature_shape": [SCHEMA.num_features],
    "num_classes": 2,
    "class_names": ["well", "ill"],
}


@pytest.fixture
def said(tmp_path):
    """Writes a table and returns what is said of it."""

    def look(rows, *, header="age,kind,label"):
        path = Path(tmp_path / "own.csv")
        path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
        return differences(spec=SPEC, data=read_own_shard(path, spec=SPEC).data)

    return look


def rows(count=24, *, age="{}", kind="a", label=None):
    """Rows about the task's mean, of both classes in turn."""
    return [f"{age.format(40 + number % 24)},{kind},{label or ('well', 'ill')[number % 2]}" for number in range(count)]


def test_of_rows_like_the_tasks_nothing_is_said(said):
    assert said(rows()) == []


def test_a_far_mean_shows_with_both_means(said):
    older = [f"{age},a,{label}" for age in range(50, 80) for label in ("well", "ill")]
    assert said(older) == ["age: your mean is 64.5, the task's 50 ± 10; another unit, or another kind of row?"]


def test_levels_that_the_task_does_not_know_are_counted(said):
    assert said([*rows(22), "50,c,ill", "50,c,well"]) == [
        "kind: 2 of 24 rows have nothing, or none of the task's levels (a, b), and count as none"
    ]


def test_a_column_that_is_mostly_empty_shows(said):
    assert said([*rows(8), *["?,a,ill", "?,a,well"] * 8]) == ["age: 67% of your rows have no value"]


def test_classes_that_are_absent_few_or_uneven_show(said):
    assert said(rows(label="well")) == ["no rows of: ill"]
    assert said([*rows(60, label="well"), *rows(3, label="ill")]) == [
        "fewer than 10 rows of: ill",
        "classes are uneven: 60 rows of one, 3 of another",
    ]


def test_a_range_of_its_own_shows_where_the_mean_does_not(said):
    assert said([*rows(48), "400,a,ill"]) == [
        "age: 1 of 49 values lies more than 6 standard deviations from the task's 50 ± 10"
    ]
    assert said(rows(age="50")) == ["age: yours is one value only, the task's spreads by ± 10"]
    assert said([f"{50 + number % 2},a,{('well', 'ill')[number // 2 % 2]}" for number in range(24)]) == [
        "age: yours spreads by ± 0.5, the task's by ± 10"
    ]


def test_a_column_of_a_table_without_a_header_is_called_by_its_place(tmp_path):
    spec = {**SPEC, "schema": {**SPEC["schema"], "names": ["0", "1", "2"], "has_header": False, "target": "2"}}
    spec["schema"]["columns"] = [
        {**column, "name": str(place)} for place, column in enumerate(SPEC["schema"]["columns"])
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(f"{age},a,{label}" for age in range(50, 80) for label in ("well", "ill")) + "\n")
    assert differences(spec=spec, data=read_own_shard(path, spec=spec).data) == [
        "column 0: your mean is 64.5, the task's 50 ± 10; another unit, or another kind of row?"
    ]


def test_text_is_compared_with_nothing(tmp_path):
    spec = {"schema": json.loads(TextSchema(context=8).to_json()), "feature_shape": [8], "num_classes": 1}
    (tmp_path / "own.txt").write_text("the rain falls on the hill " * 4)
    assert differences(spec=spec, data=read_own_shard(tmp_path / "own.txt", spec=spec).data) == []
