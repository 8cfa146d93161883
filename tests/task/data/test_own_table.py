"""A node's own table: what differs from the task's is named with a setting of `fl client`, before anything is staked."""

from __future__ import annotations

import pytest

from fl.errors import ConfigError
from fl.task.data import DataConfig, DataError, FileStyle, PartitionConfig, load_federation, survey_shard
from fl.task.data.file_style import SETTINGS


@pytest.fixture
def schema(write):
    """Of a table of three features and two classes, as a coordinator fits it."""
    rows = "".join(
        f"{30 + n % 40},{0.6 + n % 8 / 10:.1f},{('no', 'yes')[n % 2]},{('ill', 'well')[n // 2 % 2]}\n"
        for n in range(80)
    )
    path = write("coordinator.csv", "age,crea,smoker,outcome\n" + rows)
    data = DataConfig(name="csv", path=str(path), target="outcome")
    return load_federation(data, PartitionConfig(name="iid", clients=1), seed=0).schema


def own(write, row, *, header="age,crea,smoker,outcome", count=20, name="own.csv"):
    """A file of rows that a function of their number writes."""
    return write(name, (header + "\n" if header else "") + "".join(row(n) + "\n" for n in range(count)))


def plain(n, *, crea=None, smoker=("no", "yes"), outcome=("ill", "well"), comma="."):
    crea = f"{0.6 + n % 8 / 10:.1f}" if crea is None else crea(n)
    return f"{30 + n},{crea.replace('.', comma)},{smoker[n % 2]},{outcome[n // 2 % 2]}"


def read(path, schema, **style):
    return survey_shard(path, schema=schema, style=FileStyle.of(style))


# how the file differs, what is said, the setting that it names, and what else may be said then
DIFFERENT = [
    (
        {"outcome": ("Ill", "Well")},
        r"line 2 has the label 'Ill' \(20 such rows, of the labels 'Ill', 'Well'\); expected one of the 2 classes",
        {"label_map": "Ill:ill,Well:well"},
    ),
    (
        {"smoker": ("No", "Yes")},
        r"column 'smoker' of .* holds 'No', 'Yes' \(20 rows\), which the task does not know; expected its levels \(no, yes\)",
        {"level_map": "smoker:No:no,smoker:Yes:yes"},
    ),
    ({"smoker": ("0", "1")}, "which the task does not know", {"level_map": "smoker:0:no,smoker:1:yes"}),
    ({"smoker": ("n", "y")}, "which the task does not know", {"level_map": "smoker:n:no,smoker:y:yes"}),
    (
        {"smoker": ("rookt", "niet")},
        r"holds 'niet', 'rookt' .* say which is which: level_map=\[smoker:niet:LEVEL,smoker:rookt:LEVEL\] with one of them for LEVEL",
        {"level_map": "smoker:niet:no,smoker:rookt:yes"},
    ),
    (
        {"smoker": ("N", "rookt")},
        r"say which is which: level_map=\[smoker:N:no,smoker:rookt:LEVEL\] with one of them for LEVEL, or the level itself",
        {"level_map": "smoker:N:no,smoker:rookt:yes"},
    ),
    (
        {"outcome": ("krank", "gesund")},
        r"say which is which: label_map=\[gesund:CLASS,krank:CLASS\] with one of them for CLASS, or correct the rows",
        {"label_map": "krank:ill,gesund:well"},
    ),
    (
        {"crea": lambda n: f"{(0.6 + n % 8 / 10) * 88.4:.1f}"},
        r"column 'crea' of .* is 79.6 in the middle, where the task's is .* times as much; 20 of 20 values would be clipped",
        {"scale": "crea:0.0113122"},
    ),
    (
        {"crea": lambda n: f"{(0.6 + n % 8 / 10) / 100:.4f}"},
        r"0.00\d+ in the middle, where .* if the unit differs set scale=crea:FACTOR \(near",
        {"scale": "crea:100"},
    ),
    (
        {"crea": lambda n: "<0.7" if n % 8 == 0 else f"{0.6 + n % 8 / 10:.1f}"},
        "set censored=half",
        {"censored": "bound"},
    ),
    ({"crea": lambda n: f"{0.6 + n % 8 / 10:.1f} mg/dl"}, r"set units=\[mg/dl\]", {"units": "mg/dl"}),
    (
        {"crea": lambda n: "-" if n % 8 == 0 else f"{0.6 + n % 8 / 10:.1f}"},
        r"set missing=\[-\] if '-' stands for no",
        {"missing": "-"},
    ),
]


@pytest.mark.parametrize(("differs", "message", "settings"), DIFFERENT)
def test_what_differs_from_the_task_is_refused_with_a_setting_of_the_node(write, schema, differs, message, settings):
    path = own(write, lambda n: plain(n, **differs))
    with pytest.raises(DataError, match=message) as caught:
        read(path, schema)
    told = str(caught.value)
    assert "data." not in told.replace(str(path), "")
    assert any(f"{key}=" in told for key in settings)
    shard, reading = read(path, schema, **settings)
    same, _ = read(own(write, plain, name="same.csv"), schema)
    assert shard.data.labels.tolist() == same.data.labels.tolist()
    assert (shard.data.features - same.data.features)[:, 0] == pytest.approx(0)
    assert reading.classes == {"ill": 10, "well": 10}


@pytest.mark.parametrize(
    ("level_map", "advice"),
    [
        (
            "smoker:0:noo,smoker:1:yes",
            "writes '0' of column 'smoker' as 'noo', .*write smoker:0:no with one of them, or smoker:0:0 to",
        ),
        (
            "smoker:0:LEVEL,smoker:1:LEVEL",
            "writes '0' of column 'smoker' as 'LEVEL', which the task does not know; .*write smoker:0:LEVEL",
        ),
    ],
)
def test_a_level_is_mapped_to_one_that_the_task_knows(write, schema, level_map, advice):
    path = own(write, lambda n: plain(n, smoker=("0", "1")))
    with pytest.raises(DataError, match=advice):
        read(path, schema, level_map=level_map)


def test_a_level_that_is_mapped_to_itself_or_to_nothing_is_no_slip(write, schema):
    path = own(write, lambda n: plain(n, smoker=("0", "1")))
    for level_map in ("smoker:0:no,smoker:1:1", "smoker:0:no,smoker:1:NA", "smoker:0:1,smoker:1:1"):
        read(path, schema, level_map=level_map)


def test_all_columns_that_are_absent_are_named_at_once(write, schema):
    path = own(write, plain, header="Age (years),creatinine,tobacco,OUTCOME")
    with pytest.raises(DataError) as caught:
        read(path, schema)
    assert str(caught.value) == (
        f"{path} has no columns 'outcome', 'age', 'crea', 'smoker'; expected the task's columns; it has Age (years), creatinine, tobacco, "
        "OUTCOME; rename 'OUTCOME' to 'outcome', 'Age (years)' to 'age', 'creatinine' to 'crea' if those are the ones; add 'smoker', or "
        "check the header"
    )


@pytest.mark.parametrize(
    ("above", "line", "which"),
    [("Export of May,,,", 2, "line above, which is"), ("Export,,,\nWard 3,,,", 3, "lines above, which are")],
)
def test_a_title_above_the_header_is_named_with_the_line_of_the_header(write, schema, above, line, which):
    path = own(write, plain, header=f"{above}\nage,crea,smoker,outcome")
    with pytest.raises(DataError, match=f"line {line} holds them: remove the {which} no part of the table"):
        read(path, schema)


def test_rows_below_the_table_that_hold_nothing_are_no_rows(write, schema):
    path = own(write, plain)
    path.write_text(path.read_text() + ",,,\n,,,\n")
    assert len(read(path, schema)[0].data) == 20
    path.write_text(path.read_text() + plain(3) + "\n")
    with pytest.raises(DataError, match="2 of 23 rows have no label in column 'outcome'"):
        read(path, schema)


def test_every_setting_that_a_refusal_may_name_is_one_of_the_node():
    assert {key for _, _, settings in DIFFERENT for key in settings} <= set(SETTINGS)


def test_a_decimal_comma_is_read_once_it_is_said(write, schema):
    path = own(write, lambda n: plain(n, comma=",").replace(",", ";", 1).replace(",no", ";no").replace(",yes", ";yes")
               .replace(",ill", ";ill").replace(",well", ";well"), header="age;crea;smoker;outcome")  # fmt: skip
    with pytest.raises(DataError, match=r"line 2, column 'crea' holds '0,6'; expected a number; set decimal=comma$"):
        read(path, schema)
    _, reading = read(path, schema, decimal="comma")
    assert [(column.name, column.kind, column.holds) for column in reading.columns] == [
        ("outcome", "target", "ill 10, well 10"),
        ("age", "number", "30 to 49"),
        ("crea", "number", "0.6 to 1.3"),
        ("smoker", "category", "no 10, yes 10"),
    ]
    assert reading.notes == ()


def test_what_an_owner_declares_is_not_questioned_but_told(write, schema):
    path = own(write, lambda n: plain(n, crea=lambda n: f"{50 + n}", smoker=("no", "sometimes")))
    _, reading = read(path, schema, scale="crea:1", level_map="smoker:sometimes:sometimes")
    assert any(
        note.startswith("20 of 20 values of column 'crea' are clipped to 10 standard deviations")
        for note in reading.notes
    )
    assert any(
        note.startswith("column 'smoker' holds 'sometimes' in 10 rows, which the task does not know")
        for note in reading.notes
    )


def test_a_few_unknown_levels_clipped_values_and_one_class_are_told(write, schema):
    path = own(write, lambda n: plain(n, crea=lambda n: "99" if n == 3 else "0.9", outcome=("ill", "ill"))
               .replace("yes", "owl" if n == 5 else "yes"))  # fmt: skip
    _, reading = read(path, schema)
    told = " | ".join(reading.notes)
    assert "1 of 20 values of column 'crea' is clipped" in told
    assert "column 'smoker' holds 'owl' in 1 row," in told
    assert "every row is of the class 'ill'" in told


def test_a_file_without_header_is_matched_by_place_only_where_its_owner_says_so(write, schema):
    path = own(write, plain, header="")
    with pytest.raises(
        DataError, match=r"own.csv has no header; expected a header like .*\(age, crea, smoker, outcome\).*header=false"
    ):
        read(path, schema)
    shard, _ = read(path, schema, header="false")
    assert len(shard.data) == 20


def test_columns_in_another_order_are_matched_by_name(write, schema):
    path = own(write, lambda n: ",".join(reversed(plain(n).split(","))) + ",7", header="outcome,smoker,crea,age,more")
    same, _ = read(own(write, plain, name="same.csv"), schema)
    assert read(path, schema)[0].data.features.tolist() == same.data.features.tolist()


def test_the_tasks_own_maps_travel_with_it(write):
    rows = "".join(f"{n},{('M', 'male', 'F')[n % 3]},{n % 2}\n" for n in range(60))
    data = DataConfig(
        name="csv", path=str(write("t.csv", "x,sex,y\n" + rows)), target="y", level_map=["sex:M:male", "sex:F:female"],
        label_map=["0:well", "1:ill"],
    )  # fmt: skip
    schema = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0).schema
    path = own(write, lambda n: f"{n},{'MF'[n % 2]},{('well', 'ill')[n % 2]}", header="x,sex,y")
    _, reading = read(path, schema)
    assert reading.columns[2].holds == "female 10, male 10"
    assert sum(reading.classes.values()) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decimal": "coma"}, "^decimal is 'coma'; known are point, comma, either; did you mean comma"),
        ({"header": "maybe"}, "^header is 'maybe'; set true, false or auto"),
        ({"label_map": "Ill"}, r"^label_map holds 'Ill'; write VALUE:CLASS"),
        ({"level_map": "[a:b:c"}, r"^level_map is \[a:b:c; write a list such as level_map=\[a,b\], with both brackets"),
        ({"missing": '"a'}, 'close the quote "'),
        ({"scale": "crea:x"}, "^scale holds 'crea:x'; write COLUMN:FACTOR"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_own_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        FileStyle.of(settings)


def test_what_is_said_of_a_table_names_the_nodes_settings_and_leaves_its_files_name(write, schema):
    path = own(write, lambda n: plain(n, crea=lambda n: f"{88 + n % 9}"), name="data.csv")
    with pytest.raises(DataError, match=r"column 'crea' of .*/data.csv is .*; if the unit differs set scale=crea:"):
        read(path, schema)
    path = own(write, lambda n: plain(n, crea=lambda n: "-999" if n == 3 else f"{0.6 + n % 8 / 10:.1f}"), name="a.csv")
    _, reading = read(path, schema)
    assert any(note.endswith("if it stands for no value, add -999 to missing") for note in reading.notes)


def test_what_a_node_cannot_set_is_not_advised(write, schema):
    path = own(write, lambda n: plain(n).replace(f"{30 + n}", f"0{30 + n}", 1))
    assert read(path, schema)[1].notes == ()


def test_a_number_to_predict_in_another_unit_is_refused_as_a_column_is(write):
    houses = "rooms,price\n" + "".join(f"{n % 7},{100 + 3 * (n % 11)}\n" for n in range(60))
    data = DataConfig(name="csv", path=str(write("h.csv", houses)), target="price", regression=True)
    schema = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0).schema
    path = write("own.csv", "rooms,price\n" + "".join(f"{n % 7},{(100 + 3 * (n % 11)) * 1000}\n" for n in range(20)))
    with pytest.raises(
        DataError,
        match="column 'price' of .*own.csv is 113,500 in the middle, where the task's is 11.+ times as much; 20 of 20 values would be clipped",
    ) as caught:
        read(path, schema)
    assert "set scale=price:FACTOR (near 0.001" in str(caught.value)
    assert len(read(path, schema, scale="price:0.001")[0].data) == 20


def test_a_folder_in_place_of_a_table_is_told_without_a_setting_of_the_coordinators(tmp_path, schema):
    with pytest.raises(DataError, match=r"is a folder; expected a file; name a file in it$"):
        read(tmp_path, schema)


def test_columns_that_the_task_does_not_use_are_listed_as_left_out(write, schema):
    header = "patient,age,crea,smoker,outcome,comment"
    path = own(write, lambda n: f"{n},{plain(n)},none", header=header)
    _, reading = read(path, schema)
    assert [(column.name, column.kind) for column in reading.columns] == [
        ("outcome", "target"),
        ("age", "number"),
        ("crea", "number"),
        ("smoker", "category"),
        ("patient", "left out"),
        ("comment", "left out"),
    ]
    assert {column.holds for column in reading.columns[-2:]} == {"not used by the task"}


def test_rows_that_come_again_are_noted(write, schema):
    note = "the same 20 rows come 2 times over: each counts as often as it stands there"
    assert note in read(own(write, lambda n: plain(n % 20), count=40), schema)[1].notes
    some = read(own(write, lambda n: plain(min(n, 34)), count=40), schema)[1].notes
    assert "5 of 40 rows stand there already: each counts as often as it stands there" in some
    assert not [note for note in read(own(write, plain), schema)[1].notes if "counts as often" in note]
