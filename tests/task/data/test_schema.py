"""Fitting and applying a schema: robust on little data, alike everywhere, nothing learnt from a shard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.task.data import DataError, FileStyle, TableSchema, fit_schema, read_shard
from fl.task.data.column_roles import ColumnRoles
from fl.task.data.encode import CLIP, encode
from fl.task.data.table import read_table

BINARY = ("0", "1")


def word(number):
    """A word without digits."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def fitted(path, *, class_names=BINARY, positive_above=None, label_map=None, **roles):
    told = ColumnRoles(**{"target": "y", **{name: tuple(value) for name, value in roles.items()}})
    return fit_schema(
        read_table(path), told, class_names=class_names, positive_above=positive_above, label_map=label_map
    )


def test_numbers_are_standardised_words_are_marked_and_missing_is_told(write):
    path = write("v.csv", "age,kind,y\n10,cat,0\n20,dog,1\n,cat,1\n")
    schema = fitted(path)
    assert schema.features == ("age", "age missing", "kind=cat", "kind=dog")
    data = encode(read_table(path), schema=schema)
    assert data.features.tolist() == [[-1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert data.labels.tolist() == [0, 1, 1]
    assert (data.features.dtype, data.labels.dtype) == (np.float32, np.int64)


def test_what_the_fitting_rows_did_not_show_encodes_to_zeros(write):
    schema = fitted(write("v.csv", "age,kind,y\n10,cat,0\n20,dog,1\n"))
    shard = read_shard(write("s.csv", "kind,age,y\nowl,,1\n?,15,0\n"), schema=schema)
    assert schema.features == ("age", "kind=cat", "kind=dog")
    assert shard.data.features.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert shard.name == "s"


def test_codes_are_levels_if_listed_however_they_are_spelt(write):
    path = write("v.csv", "cp,y\n1,0\n4.0,1\n4,1\n10,0\n")
    schema = fitted(path, categorical=["cp"])
    assert schema.features == ("cp=1", "cp=4", "cp=10")
    assert encode(read_table(path), schema=schema).features[1:3].tolist() == [[0, 1, 0], [0, 1, 0]]


def test_zero_stands_for_missing_only_where_said(write):
    path = write("v.csv", "chol,pain,y\n0,0,0\n100,0,1\n300,2,1\n")
    schema = fitted(path, missing_zero=["chol"])
    assert schema.features == ("chol", "chol missing", "pain")
    assert schema.columns[0].mean == pytest.approx(200)
    assert encode(read_table(path), schema=schema).features[0, :2].tolist() == [0, 1]


def test_little_data_still_gives_a_usable_scale(write):
    schema = fitted(write("v.csv", "same,none,y\n5,?,0\n5,?,1\n"))
    assert schema.features == ("same",)  # of a column where nothing was seen, nothing is used
    assert schema.columns[0].std == 1
    shard = read_shard(write("s.csv", "same,none,y\n1e300,word,0\n5,7,1\n-1e300,,1\n"), schema=schema)
    assert shard.data.features[:, 0].tolist() == [CLIP, 0, -CLIP]


def test_huge_and_tiny_numbers_do_not_overflow_the_scale(write):
    path = write("v.csv", "huge,tiny,y\n1e308,1e-320,0\n-1e308,0,1\n")
    schema = fitted(path)
    assert np.isfinite(encode(read_table(path), schema=schema).features).all()


def test_a_schema_is_fitted_on_the_rows_it_is_given_and_only_those(write):
    table = read_table(write("v.csv", "a,y\n1,0\n3,1\n1000,1\n"))
    schema = fit_schema(table.take(np.array([0, 1])), ColumnRoles(target="y"), class_names=BINARY)
    assert schema.columns[0].mean == pytest.approx(2)


def test_a_headerless_shard_is_matched_by_place(write):
    schema = fitted(write("v.csv", "id,age,y\na1,10,0\nb2,20,1\n"), dropped=["id"])
    assert read_shard(
        write("s.csv", "q,20,1\nr,10,0\n"), schema=schema, style=FileStyle(header=False)
    ).data.features.tolist() == [
        [1],
        [-1],
    ]
    # With a header, the column that gives no feature may be left out.
    assert read_shard(write("t.csv", "age,y\n20,1\n"), schema=schema).data.features.tolist() == [[1]]


def test_a_threshold_and_a_map_make_classes(write):
    path = write("v.csv", "a,y\n1,0\n2,3\n3,4.0\n")
    above = fitted(path, positive_above=3, class_names=("up to 3", "above 3"))
    assert encode(read_table(path), schema=above).labels.tolist() == [0, 0, 1]
    assert TableSchema.from_json(above.to_json()).to_json() == above.to_json()
    mapped = fitted(path, label_map={"0": "well", "3": "ill", "4": "ill"}, class_names=("ill", "well"))
    assert encode(read_table(path), schema=mapped).labels.tolist() == [1, 0, 0]


def test_a_schema_survives_its_journey_bit_by_bit(write):
    path = write("v.csv", "a,kind,y\n0.1,é,0\n0.7,x,1\n?,x,1\n")
    schema = fitted(path, label_map={"0": "0", "1": "1"}, positive_above=None, missing_zero=["a"])
    assert TableSchema.from_json(schema.to_json()) == schema
    assert TableSchema.from_json(schema.to_json()).to_json() == schema.to_json()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "[]",
        lambda text: text.replace('"target"', '"aim"'),
        lambda text: text.replace('"std":', '"std":-'),
        lambda text: text.replace('"target":"y"', '"target":"z"'),
    ],
)
def test_a_damaged_schema_is_refused(write, damage):
    text = fitted(write("v.csv", "a,y\n1,0\n2,1\n")).to_json()
    with pytest.raises(DataError, match="a table schema that cannot be read.*fetch the task's spec again"):
        TableSchema.from_json(damage(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,y\n1,0\nold,1\n", "s.csv, line 3, column 'age' holds 'old'; expected a number; .*data.missing"),
        ("age,y\n1_0,0\n", "s.csv, line 2, column 'age' holds '1_0'"),
        ("age,y\ninf,0\n", "s.csv, line 2, column 'age' holds 'inf'"),
        (
            "age,y\n1,0\n1,2\n1,2\n",
            r"s.csv, line 3 has the label '2' \(2 such rows\); expected one of the 2 classes of",
        ),
        ("age,y\n1,0\n1,?\n", r"1 of 2 rows has no label in column 'y' \(.*s.csv, line 3\); .*drop_unlabelled=true"),
        ("age,y\n1,?\n1,\n", "has no label in any row"),
        ("agee,y\n1,0\n", "s.csv has no column 'age'; .*rename 'agee'"),
        ("1,2,3\n4,5,6\n", "s.csv has 3 columns and no header; expected 2 columns"),
    ],
)
def test_a_shard_that_does_not_fit_the_task_is_refused(write, text, message):
    schema = fitted(write("v.csv", "age,y\n1,0\n2,1\n"))
    with pytest.raises(DataError, match=message):
        read_shard(write("s.csv", text), schema=schema)


def test_a_target_that_is_no_number_cannot_be_compared(write):
    schema = fitted(write("v.csv", "a,y\n1,0\n2,1\n"), positive_above=0.0)
    with pytest.raises(DataError, match="column 'y' holds 'ill'; expected a number to compare with positive_above=0"):
        read_shard(write("s.csv", "a,y\n1,1\n1,ill\n"), schema=schema)


def test_a_label_that_the_map_does_not_name_is_refused(write):
    schema = fitted(write("v.csv", "a,y\n1,0\n2,1\n"), label_map={"0": "0", "1.0": "1"})
    with pytest.raises(DataError, match=r"line 2 has the label '2'; expected one that data.label_map names \(0, 1\)"):
        read_shard(write("s.csv", "a,y\n1,2\n"), schema=schema)


def test_rows_without_a_label_can_be_dropped(write):
    schema = fitted(write("v.csv", "a,y\n1,0\n2,1\n"))
    shard = read_shard(write("s.csv", "a,y\n1,1\n2,?\n1,0\n"), schema=schema, drop_unlabelled=True)
    assert shard.data.labels.tolist() == [1, 0]


def test_a_column_that_cannot_be_fitted_is_refused(write):
    with pytest.raises(DataError, match="line 4, column 'a' holds 'x'; expected a number"):
        fitted(write("v.csv", "a,y\n1,0\n2,1\nx,1\n"))
    for levels, rows in ((300, 900), (21, 41)):
        text = "name,y\n" + "".join(f"{word(row % levels)},{row % 2}\n" for row in range(rows))
        with pytest.raises(DataError, match=f"'name' of .* holds {levels} different words in {rows} rows; .*data.drop"):
            fitted(write("w.csv", text))
    with pytest.raises(DataError, match="no column of .* gives a feature"):
        fitted(write("x.csv", "a,y\n?,0\n?,1\n"))


cells = st.one_of(st.sampled_from(["", "?", "nan"]), st.floats(allow_nan=False, allow_infinity=False).map(repr))


@settings(max_examples=60, deadline=None)
@given(own=st.lists(cells, min_size=1, max_size=8), others=st.lists(cells, min_size=1, max_size=8))
def test_features_are_finite_and_bounded_whatever_was_fitted_on(tmp_path_factory, own, others):
    folder = tmp_path_factory.mktemp("schema")
    for name, column in (("v.csv", own), ("s.csv", others)):
        (folder / name).write_text("a,b,y\n" + "".join(f"{cell},1,{row % 2}\n" for row, cell in enumerate(column)))
    schema = fitted(folder / "v.csv")
    features = read_shard(folder / "s.csv", schema=schema).data.features
    assert features.shape == (len(others), schema.num_features)
    assert np.abs(features).max() <= CLIP
    assert TableSchema.from_json(schema.to_json()) == schema
