"""Numbers written otherwise: read by the setting that the refusal names, or refused; never a category by accident."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fl.task.data import DataConfig, DataError, PartitionConfig, load_federation, survey_shard
from fl.task.data.dates import days
from fl.task.data.file_style import FileStyle
from fl.task.data.spelling import Spelling, settings_that_read

IID = PartitionConfig(name="iid", clients=1)


def load(write, cells, *, delimiter=";", **settings):
    """A federation of a table whose column x holds these cells, over and over; y is ill or well."""
    rows = [f"{cell}{delimiter}{('ill', 'well')[row // len(cells) % 2]}" for row, cell in enumerate([*cells] * 12)]
    path = write("t.csv", f"x{delimiter}y\n" + "\n".join(rows) + "\n")
    data = DataConfig(**{"name": "csv", "path": str(path), "target": "y", "validation": 0.34, "test": 0.33, **settings})
    return load_federation(data, IID, seed=0)


def values(federation):
    """The numbers of column x that the federation was read as."""
    (column,) = federation.schema.columns
    parts = [federation.validation, federation.test, *(shard.data for shard in federation.shards)]
    return {round(float(x) * column.std + column.mean, 4) for part in parts for x in part.features[:, 0]}


# cells, what the refusal advises, the same as arguments, the numbers that they are
WRITTEN = [
    (["0,9", "1,2", "13"], "data.decimal=comma", {"decimal": "comma"}, {0.9, 1.2, 13}),
    (["5,000", "2,500"], "data.decimal=comma or data.thousands=comma", {"thousands": "comma"}, {5000, 2500}),
    (["5,000", "2,500"], "data.decimal=comma or", {"decimal": "comma"}, {5, 2.5}),
    (
        ["1.234,5", "2,25"],
        "data.decimal=comma data.thousands=point",
        {"decimal": ",", "thousands": "."},
        {1234.5, 2.25},
    ),
    (["1.234.567", "2.000"], "data.thousands=point", {"decimal": "comma", "thousands": "point"}, {1234567, 2000}),
    (["1 234", "22\u00a0000"], "data.thousands=space", {"thousands": "space"}, {1234, 22000}),
    (["1'234.5", "7"], "data.thousands=apostrophe", {"thousands": "apostrophe"}, {1234.5, 7}),
    (["0,9", "1.25"], "data.decimal=either", {"decimal": "either"}, {0.9, 1.25}),
    (["<5", "8", "< 6"], "data.censored=half", {"censored": "half"}, {2.5, 8, 3}),
    (["<5", ">90", "8"], "data.censored=half", {"censored": "bound"}, {5, 90, 8}),
    (["<0,5", "1,5"], "data.decimal=comma data.censored=half", {"decimal": "comma", "censored": "half"}, {0.25, 1.5}),
    (["5 mg/l", "7mg/l"], "data.units=[mg/l]", {"units": ["mg/l"]}, {5, 7}),
    (["12%", "15 %"], "data.units=[%]", {"units": ["%"]}, {12, 15}),
    (["€ 4", "€ 1.50"], "'data.units=[€]'", {"units": ["€"]}, {4, 1.5}),
    (["37.2 °C", "38 °C"], "'data.units=[°C]'", {"units": ["°C"]}, {37.2, 38}),
    (["2024-01-31", "2024-02-01"], "data.dates=ymd", {"dates": "ymd"}, {19753, 19754}),
    (["31.01.2024", "1.2.2024"], "data.dates=dmy", {"dates": "dmy"}, {19753, 19754}),
    (["01/31/2024", "02/01/2024"], "data.dates=mdy", {"dates": "mdy"}, {19753, 19754}),
    (["01/02/2024", "02/02/2024"], "data.dates=dmy or data.dates=mdy", {"dates": "dmy"}, {19754, 19755}),
    (["2024-01-31T12:00:00Z", "2024-02-01 00:00"], "data.dates=ymd", {"dates": "ymd"}, {19753.5, 19754}),
    (["1,00,000", "2,00,000"], "data.thousands=comma", {"thousands": "comma"}, {100000, 200000}),
    (["5. März 2024", "6. Mrz 2024"], "data.dates=dmy", {"dates": "dmy"}, {19787, 19788}),
    (["31 janvier 2024", "1 févr. 2024"], "data.dates=dmy", {"dates": "dmy"}, {19753, 19754}),
    (["January 5, 2024", "Jan 6, 2024"], "data.dates=mdy", {"dates": "mdy"}, {19727, 19728}),
    (["3-Jan-2024", "4-Jan-2024"], "data.dates=dmy", {"dates": "dmy"}, {19725, 19726}),
]


@pytest.mark.parametrize(("cells", "advice", "settings", "numbers"), WRITTEN)
def test_numbers_written_otherwise_are_refused_with_the_setting_that_reads_them(
    write, cells, advice, settings, numbers
):
    with pytest.raises(DataError, match=f"column 'x' holds .*set .*{re.escape(advice)}"):
        load(write, cells)
    assert values(load(write, cells, **settings)) == numbers


@pytest.mark.parametrize(
    "cells",
    [["T1", "T2"], ["12:30", "13:05"], ["I25.1", "E11.9"], ["SW1A 1AA", "N1 9GU"], ["(5)", "(7)"], ["5-", "7-"],
     ["1/2", "3/4"], ["0x1F", "0x2A"], ["1_000", "2_000"], ["10.0.0.1", "10.0.0.2"], ["1e5x", "2e5x"], ["03/02/24", "04/02/24"]],
)  # fmt: skip
def test_words_with_digits_become_a_category_only_where_they_are_declared(write, cells):
    with pytest.raises(
        DataError, match=r"holds words most of which hold digits \('.*line 2\).*data.categorical=\[x\]; .*drop"
    ):
        load(write, cells)
    assert len(load(write, cells, categorical=["x"]).schema.columns[0].levels) == 2


@pytest.mark.parametrize(
    ("cells", "settings", "message"),
    [
        (
            ["1.5", "2,5", "3"],
            {"decimal": "comma"},
            r"holds '1.5', which is not a number by data.decimal=comma .*either",
        ),
        (
            ["1,234", "2,500"],
            {"decimal": "either"},
            "the comma may be decimal or part thousands; expected data.decimal=comma",
        ),
        (["5 mg", "7 g"], {"units": ["mg", "g"]}, r"numbers of several units \(g, mg\); expected one unit in a column"),
        (["<5", "7"], {"decimal": "comma"}, "holds '<5'; .*|words most of which hold digits .*data.censored=half"),
        (
            ["1.5", "2.5", "3", "x"],
            {},
            r"holds 'x'; expected a number; set 'data.missing=\[.*,x\]' if 'x' stands for no value",
        ),
        (
            ["unknown", "unknown", "1", "2", "3", "4", "5", "6"],
            {},
            r"holds 'unknown'.*'data.missing=\[.*,null,unknown\]'",
        ),
    ],
)
def test_what_contradicts_its_column_is_refused(write, cells, settings, message):
    with pytest.raises(DataError, match=message):
        load(write, cells, **settings)


def test_numbers_behind_many_unknowns_are_no_category(write):
    numbers = [str(n) for n in range(8)]
    with pytest.raises(DataError, match=r"column 'x' holds 'unknown'; expected a number; .*stands for no value"):
        load(write, ["unknown"] * 20 + numbers)
    federation = load(write, ["unknown"] * 20 + numbers, missing=["unknown"])
    assert federation.schema.features == ("x", "x missing")


@pytest.mark.parametrize(
    ("mark", "cell"), [("-999", "-999.0"), ("-999", "-999"), ("-999.00", "-999"), ("NULL", "null"), ("9e2", "900.0")]
)
def test_a_sentinel_is_one_in_any_spelling(write, mark, cell):
    federation = load(write, [cell, "1", "2", "3"], missing=[mark])
    assert federation.schema.columns[0].marks_missing
    assert federation.schema.columns[0].mean == pytest.approx(2, abs=0.5)


def test_a_sentinel_in_a_decimal_comma_is_one_too(write):
    federation = load(write, ["-999,0", "1,5", "2,5"], missing=["-999"], decimal="comma")
    assert federation.schema.columns[0].mean == pytest.approx(2, abs=0.5)


def test_a_code_with_zeros_in_front_is_no_zero(write):
    federation = load(write, ["00", "01", "0"], missing=["0"], categorical=["x"])
    assert federation.schema.columns[0].levels == ("00", "01")


def test_a_censored_value_can_be_missing_even_where_the_empty_cell_is_not(write):
    federation = load(write, ["<5", "7", "9"], censored="missing", missing=["-"])
    assert federation.schema.features == ("x", "x missing")
    assert federation.schema.columns[0].mean == pytest.approx(8, abs=0.5)


def test_a_minus_sign_of_a_word_processor_is_one(write):
    assert values(load(write, ["\u22125", "3"])) == {-5, 3}


def test_dates_of_eight_digits_are_no_amounts(write):
    cells = [f"2024{month:02}15" for month in range(1, 13)]
    with pytest.raises(
        DataError, match=r"column 'x' of .* holds dates of eight digits .*data.dates=ymd .*data.drop=\[x\]"
    ):
        load(write, cells)
    assert len(values(load(write, cells, dates="ymd"))) == 12
    assert load(write, ["20240101", "99999999", "3", "4", "5", "6"]).schema.features == ("x",)


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["-999", "1", "2", "3"], "column 'x' holds -999 in 12 rows, far from its other values (1 to 3)"),
        (["99999", "1", "2", "3"], "add 99999 to data.missing"),
        (["-9", "37", "41", "55", "38", "61", "29"], "add -9 to data.missing"),
        (
            ["-1", "37", "41", "55", "38", "61", "29"],
            "column 'x' holds -1 in 12 rows, far from its other values (29 to 61)",
        ),
        (["999.9", "3.1", "4.1", "5.5"], "add 999.9 to data.missing"),
        (["950", "1.234", "2.500"], "has points before three digits only ('1.234', '2.500'); if they part thousands"),
    ],
)
def test_numbers_that_may_mean_something_else_are_noted(write, cells, note):
    assert any(note in told for told in load(write, cells).reading.notes)


@pytest.mark.parametrize(
    "cells", [["-1", "0", "1", "2"], ["-2.5", "3", "8", "21"], ["9", "2", "5", "7"], ["99", "80", "95", "91"]]
)
def test_numbers_that_may_well_be_meant_are_not_noted(write, cells):
    assert not [told for told in load(write, cells).reading.notes if "data.missing" in told]


@pytest.mark.parametrize("settings", [{"regression": True}, {"positive_above": 4.5}])
def test_a_sentinel_among_targets_is_noted_on_both_sides(write, settings):
    rows = "".join(f"{n},{('5.1', '4.2', '-999', '3.3', '4.9')[n % 5]}\n" for n in range(60))
    path = write("t.csv", "x,price\n" + rows)
    federation = load_federation(DataConfig(name="csv", path=str(path), target="price", **settings), IID, seed=0)
    note = "column 'price' holds -999 in 12 rows, far from its other values (3.3 to 5.1); if it stands for no value, add -999"
    assert any(told.startswith(note) for told in federation.reading.notes)
    _, own = survey_shard(path, schema=federation.schema, style=FileStyle())
    assert any(told.startswith(note) for told in own.notes)


@pytest.mark.parametrize(
    ("labels", "noted"), [("019", True), ("0123456789", False), (["0", "1", "-9"], True), (["-1", "0", "1"], False)]
)
def test_a_class_that_may_be_no_label_is_noted(write, labels, noted):
    rows = "".join(f"{n},{labels[n % len(labels)]}\n" for n in range(120))
    data = DataConfig(name="csv", path=str(write("t.csv", "x,y\n" + rows)), target="y")
    notes = load_federation(data, IID, seed=0).reading.notes
    assert any("if it stands for no label, add" in told for told in notes) == noted


@pytest.mark.parametrize(
    ("cells", "advice"),
    [
        (["5 mg", "7 g"], "convert its units (mg, g) to one; or, if each"),
        (
            ["31/01/24", "28.02.24"],
            "write its years in four digits, and set data.dates: of two, nobody can tell the century; or",
        ),
        (["05-Jan-24", "06-Feb-24"], "write its years in four digits"),
        (["5-10", "10-20", "7"], "write one number for a range or a fraction; or, if each"),
        (["1/2", "3/4"], "write one number for a range or a fraction"),
        (["(5)", "(7.5)", "3"], "write what is in brackets with a minus, -5 for (5); or, if each"),
        (["13:30", "07:05:10"], "write a time of day in hours, 13.5 for 13:30"),
        (["1:30 pm", "7:05 AM"], "write a time of day in hours, 13.5 for 13:30"),
        (["1.2×10^3", "4 x 10-2"], "write powers of ten as 1.2e3"),
        (["0x1f", "0x20"], "write hexadecimal numbers in decimal digits"),
        (["52°12'N", "4.5°E"], "write degrees, minutes and seconds as one number of degrees"),
    ],
)
def test_what_no_setting_reads_has_its_own_advice(write, cells, advice):
    with pytest.raises(DataError, match=re.escape(f"is declared; {advice}")):
        load(write, cells)


@pytest.mark.parametrize("unit", ["k", "Mio", "bn", "lakh"])
def test_thousands_of_a_number_are_no_unit_beside_others_without(write, unit):
    with pytest.raises(
        DataError,
        match=rf"column 'x' of .* holds '5{unit}' beside '500'; expected '{unit}' at all numbers .*write the numbers out",
    ):
        load(write, [f"5{unit}", "500"], units=[unit])
    assert load(write, [f"5{unit}", f"7{unit}"], units=[unit]).reading.columns[0].holds == "5 to 7"
    assert load(write, ["5 mg", "500"], units=["mg"]).reading.columns[0].holds == "5 to 500"


@pytest.mark.parametrize(
    ("third", "noted"), [("unknown", True), ("Not tested", True), ("-", True), ("other", False), ("maybe", False)]
)
def test_a_class_whose_name_says_that_nobody_knows_is_noted(write, third, noted):
    rows = "".join(f"{n},{('no', 'yes', third)[n % 3]}\n" for n in range(120))
    data = DataConfig(name="csv", path=str(write("t.csv", "x,y\n" + rows)), target="y")
    told = f"class {third!r} of 40 rows does not read as a label; if it is none, add {third} to data.missing and set data.drop_unlabelled=true"
    assert (told in load_federation(data, IID, seed=0).reading.notes) == noted


def test_a_target_to_compare_is_spelled_like_any_number(write):
    rows = "".join(f"{n};{n % 7},5\n" for n in range(30))
    data = DataConfig(
        name="csv", path=str(write("t.csv", "a;y\n" + rows)), target="y", positive_above=3.0, decimal="comma"
    )
    assert load_federation(data, IID, seed=0).class_names == ("up to 3", "above 3")


def test_advice_is_the_least_that_reads_all_cells():
    assert settings_that_read([], now=Spelling()) == []
    assert settings_that_read(["1,5", "2024-01-01"], now=Spelling()) == []
    assert settings_that_read(["0,9", "1.25"], now=Spelling()) == ["data.decimal=either"]
    assert settings_that_read(["5 mg", "7 g"], now=Spelling()) == []
    assert settings_that_read(["1.5"], now=Spelling(decimal="comma")) == ["data.decimal=point"]
    assert settings_that_read(["5a", "5b", "5c", "5d"], now=Spelling()) == []


@pytest.mark.parametrize(
    ("cell", "order", "day"),
    [
        ("1970-01-02", "ymd", 1),
        ("1969-12-31", "ymd", -1),
        ("2024-01-01T02:00:00+02:00", "ymd", 19723),
        ("2024-02-30", "ymd", None),
        ("2024-01-01 25:00", "ymd", None),
        ("01.02.24", "dmy", None),
        ("Jan 3, 2024", "mdy", 19725),
        ("Foo 3, 2024", "mdy", None),
        ("3 juillet 2024", "dmy", 19907),
        ("3 juin 2024", "dmy", 19877),
        ("3. Dez. 2024", "dmy", 20060),
        ("3 maart 2024", "dmy", 19785),
        ("3 Oktober 2024 12:00", "dmy", 19999.5),
        ("3 xyz 2024", "dmy", None),
        ("2024-01/03", "ymd", None),
    ],
)
def test_a_date_is_a_day_or_nothing(cell, order, day):
    assert days(cell, order=order) == day


def test_a_unit_beside_another_spelling_of_the_number_is_read():
    assert FileStyle.of({"decimal": "comma", "units": "mg/l"}).spelling.read("0,5 mg/l") == ("0.5", "mg/l")


def test_values_keep_every_digit(write):
    federation = load(write, ["0,1", "0,30000000000000004"], decimal="comma")
    assert np.isfinite(federation.validation.features).all()


@pytest.mark.parametrize("said", [{}, {"decimal": "comma"}])
def test_numbers_written_otherwise_behind_a_word_that_nobody_announced_are_no_category(write, said):
    """More rows say "unknown" than hold a number: that makes no levels of the numbers."""
    cells = [f"{n},{n * 7 % 10}" for n in range(9)]
    rows = "".join(f"{cells[n // 3 % 9] if n % 3 == 0 else 'unknown'};{('ill', 'well')[n % 2]}\n" for n in range(120))
    data = {"name": "csv", "path": str(write("t.csv", "x;y\n" + rows)), "target": "y"}
    with pytest.raises(
        DataError, match="data.decimal=comma, and add 'unknown' to data.missing|data.missing=.*unknown.* if"
    ):
        load_federation(DataConfig(**data, **said), IID, seed=0)
    read = load_federation(DataConfig(**data, decimal="comma", missing=["unknown"]), IID, seed=0)
    assert read.schema.columns[0].name == "x"
    assert read.reading.columns[0].holds == "0 to 8.6"
