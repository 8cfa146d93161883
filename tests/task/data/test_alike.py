"""One thing written in several ways is shown side by side with the map that merges it, and never two classes or levels."""

from __future__ import annotations

import re

import pytest

from fl.task.data import DataConfig, DataError, PartitionConfig, load_federation
from fl.task.data.alike import alike, similar

NATURAL = PartitionConfig(name="natural", clients=0)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (["yes", "Yes", "YES", "no"], [["YES", "Yes", "yes"]]),
        (["true", "1", "t", "0", "FALSE"], [["FALSE", "0"], ["t", "true", "1"]]),
        (["y", "yes", "n", "unknown"], [["y", "yes"]]),
        (["Ward 1", "Ward/1", "ward_1", "Ward 12"], [["Ward 1", "Ward/1", "ward_1"]]),
        (["St. Mary", "St Mary", "st.mary"], [["St Mary", "St. Mary", "st.mary"]]),
        (["caf\u00e9", "cafe\u0301", "cafe"], [["cafe", "cafe\u0301", "caf\u00e9"]]),
        (["1", "01", "1.0", "+1", "2"], [["+1", "01", "1", "1.0"]]),
        (["ill", "ill.", "i\u200bll"], [["ill", "ill.", "i\u200bll"]]),
        (["\uff21", "A"], [["A", "\uff21"]]),  # full width
        (["A", "A+", "A-", "B"], []),
        (["0", "1", "2", "yes"], []),
        (["t", "f", "m"], []),  # a letter among others is no truth
        (["<5", ">5", "5-10", "510"], []),
        (["900719925474099267", "900719925474099268"], []),
        (["1.10", "1.01", "-1", "1"], []),
        (["low", "mid", "high"], []),
        (["s\u00ed", "si", "Sim", "no", "n\u00e3o"], [["Sim", "si", "s\u00ed"], ["no", "n\u00e3o"]]),
        (["tak", "nie", "yes", "no"], [["nie", "no"], ["tak", "yes"]]),
        (["\u0434\u0430", "\u041d\u0435\u0442", "1", "0"], [["\u041d\u0435\u0442", "0"], ["\u0434\u0430", "1"]]),
        (["hay\u0131r", "Evet", "HAYIR"], [["HAYIR", "hay\u0131r"]]),
        (["NO", "SI", "NE", "DE", "FR", "IT", "ES"], []),  # countries
        (["pos", "+", "positive", "neg", "-"], [["neg", "-"], ["pos", "positive", "+"]]),
        (["K\u00c3\u00b6ln", "K\u00f6ln", "Ulm"], [["K\u00f6ln", "K\u00c3\u00b6ln"]]),  # UTF-8 read as cp1252
        (["2024-01-01", "2024-02-01"], []),
        (["M", "F", "male", "female"], [["F", "female"], ["M", "male"]]),
        (["B", "M", "benign", "malignant"], [["B", "benign"], ["M", "malignant"]]),
        (["M", "F", "male", "female", "diverse"], []),  # not all are pairs
        (["N", "S", "NE", "SE"], []),
        (["stage I", "stage 1", "Stage II", "stage 2"], [["Stage II", "stage 2"], ["stage 1", "stage I"]]),
        (["II", "2", "III"], [["2", "II"]]),
        (["vitamin C", "vitamin D"], []),
        (["Pos.", "positive", "neg"], [["Pos.", "positive"]]),
    ],
)
def test_values_that_a_reader_takes_for_one(values, groups):
    assert alike(dict.fromkeys(values, 1)) == groups


def test_the_most_frequent_spelling_is_the_one_to_keep():
    assert alike({"Yes": 3, "yes": 9, "no": 1}) == [["yes", "Yes"]]


@pytest.mark.parametrize(
    ("value", "known", "meant"),
    [
        ("Ill", ["ill", "well"], "ill"),
        ("m", ["male", "female"], "male"),
        ("femal", ["male", "female"], "female"),
        ("benign tumour", ["benign", "malignant"], "benign"),
        ("malignent", ["benign", "malignant"], "malignant"),
        ("femlae", ["male", "female"], "female"),
        ("True", ["0", "1"], "1"),
        ("owl", ["cat", "dog"], None),
        ("s", ["sick", "sound"], None),  # either
        ("cot", ["cat", "dog"], None),  # too short to be a slip
        ("", ["cat"], None),
    ],
)
def test_a_value_that_may_stand_for_a_known_one(value, known, meant):
    assert similar(value, known) == meant


def sites(write, **columns):
    """A folder of sites, each with its own pair of words in column y and a level in column w."""
    for name, (labels, levels) in columns.items():
        rows = "".join(f"{n},{levels[n % len(levels)]},{labels[n // 2 % len(labels)]}\n" for n in range(24))
        folder = write(f"sites/{name}.csv", "x,w,y\n" + rows).parent
    return folder


def load(folder, **settings):
    return load_federation(DataConfig(name="folder", path=str(folder), target="y", **settings), NATURAL, seed=0)


def test_classes_that_sites_spell_differently_are_refused_with_the_map_that_merges_them(write):
    folder = sites(write, a=(["yes", "no"], ["p", "q"]), b=(["Yes", "No"], ["p", "q"]), c=(["YES", "NO"], ["p", "q"]))
    with pytest.raises(DataError) as caught:
        load(folder)
    told = str(caught.value)
    assert "column 'y' writes one class in several ways: 'NO' (12), 'No' (12), 'no' (12) | 'YES' (12)" in told
    label_map = re.search(r"data.label_map=\[(.*?)\]", told)[1].split(",")
    federation = load(folder, label_map=label_map)
    assert sorted(federation.class_names) == ["NO", "YES"]
    assert federation.reading.classes == {"NO": 36, "YES": 36}
    classes = re.search(r"data.classes=\[(.*?)\]", told)[1].split(",")
    assert len(load(folder, classes=classes).class_names) == 6  # declared, so meant


def test_levels_that_sites_spell_differently_are_refused_with_the_map_that_merges_them(write):
    folder = sites(write, a=(["i", "w"], ["M", "F"]), b=(["i", "w"], ["m", "f"]), c=(["i", "w"], ["male", "female"]))
    with pytest.raises(DataError) as caught:
        load(folder)
    told = str(caught.value)
    assert "column 'w' of " in told
    assert "'F' (12), 'f' (12), 'female' (12) | 'M' (12), 'm' (12), 'male' (12)" in told
    level_map = re.search(r"data.level_map=\[(.*?)\]", told)[1].split(",")
    federation = load(folder, level_map=level_map)
    (column,) = [each for each in federation.schema.columns if each.name == "w"]
    assert column.levels == ("F", "M")
    apart = [f"w:{level}:{level}" for level in ("M", "m", "F", "f")]
    (column,) = [each for each in load(folder, level_map=apart).schema.columns if each.name == "w"]
    assert len(column.levels) == 6


def test_truths_of_three_tools_are_one_column(write):
    folder = sites(
        write,
        pandas=(["i", "w"], ["True", "False"]),
        excel=(["i", "w"], ["TRUE", "FALSE"]),
        sql=(["i", "w"], ["1", "0"]),
    )
    with pytest.raises(
        DataError, match=r"writes one thing in several ways: 'FALSE' .*'0' .* \| 'TRUE' .*'1'.*w:1:TRUE"
    ) as caught:
        load(folder)
    level_map = re.search(r"data.level_map=\[(.*?)\]", str(caught.value))[1].split(",")
    assert load(folder, level_map=level_map).schema.columns[1].levels == ("FALSE", "TRUE")


def test_sites_of_other_words_are_asked_about_or_noted(write):
    folder = sites(write, a=(["ill", "well"], ["p", "q"]), b=(["krank", "gesund"], ["r", "s"]))
    with pytest.raises(
        DataError, match="holds 'ill', 'well' at 'a' and 'gesund', 'krank' at the others; .*say which"
    ) as caught:
        load(folder)
    label_map = re.search(r"data.label_map=\[(.*?)\]", str(caught.value))[1].split(",")
    assert load(folder, label_map=label_map).reading.classes == {"gesund": 24, "krank": 24}
    classes = re.search(r"data.classes=\[(.*?)\]", str(caught.value))[1].split(",")
    notes = load(folder, classes=classes).reading.notes
    assert any(
        "the target at 'a' holds 'ill', 'well' and the others 'gesund', 'krank': not one value" in n for n in notes
    )
    assert any("column 'w' at 'b' holds 'r', 's' and the others 'p', 'q': not one value in common" in n for n in notes)


@pytest.mark.parametrize(
    ("here", "there", "note"),
    [
        (
            ["m", "f"],
            ["m", "w"],
            "column 'w' holds 'f' at 'a' alone and 'w' at 'b' alone; if they are one, merge them with data.level_map",
        ),
        (
            ["0", "1"],
            ["1", "2"],
            "column 'w' holds '0' at 'a' alone and '2' at 'b' alone; if they are one, merge them with data.scale, or",
        ),
    ],
)
def test_a_code_that_one_site_alone_has_is_noted(write, here, there, note):
    folder = sites(write, a=(["i", "w"], here), b=(["i", "w"], there))
    assert [told for told in load(folder).reading.notes if told.startswith(note)]
    folder = sites(write, a=(["i", "w"], here), b=(["i", "w"], here))
    assert not [told for told in load(folder).reading.notes if "alone" in told]


def units(write, *, column="crea", **factors):
    """A folder of sites, each of which writes one column times a factor of its own."""
    for name, factor in factors.items():
        rows = "".join(f"{(0.6 + n % 8 / 10) * factor:.4g},{n % 5},{'iw'[n % 2]}\n" for n in range(40))
        folder = write(f"sites/{name}.csv", f"{column},age,y\n" + rows).parent
    return folder


def advised(error):
    """The lists of data.scale that a refusal offers: the one that converts, and the one that says it is right."""
    return [found.split(",") for found in re.findall(r"data.scale=\[(.*?)\]", str(error))]


def test_a_unit_of_one_site_is_shown_beside_the_others_and_refused_until_it_is_settled(write):
    folder = units(write, a=1, b=1, c=88.4)
    with pytest.raises(
        DataError,
        match=r"column 'crea' is 83.98 in the middle at 'c' and 0.95 at the others, 88.4 times as much; expected one unit in a "
        r"column; if the unit differs, set data.scale=\[c:crea:0.0113\] with the exact factor; if the numbers are right, say so with "
        r"data.scale=\[c:crea:1\]",
    ) as caught:
        load(folder)
    converted, right = advised(caught.value)
    assert load(folder, scale=converted).schema.columns[0].mean == pytest.approx(0.95, abs=0.1)
    kept = load(folder, scale=right)
    assert kept.schema.columns[0].mean > 20
    assert not any("in the middle" in note for note in kept.reading.notes)
    with pytest.raises(
        DataError, match=r"data.scale holds 'c:kreatinin:2'; expected COLUMN:FACTOR of one of .*crea, age, y"
    ):
        load(folder, scale=["c:kreatinin:2"])


@pytest.mark.parametrize(
    ("factors", "odd"),
    [
        ({"a": 1, "b": 1000}, ["b"]),
        ({"a": 1000, "b": 1}, ["a"]),
        ({"a": 1, "b": 1, "c": 0.001}, ["c"]),
        ({"a": 1, "b": 88.4, "c": 1, "d": 88.4}, ["b", "d"]),  # half of them each
        ({"a": 1, "b": 1000, "c": 1, "d": 0.01}, ["b", "d"]),
    ],
)
def test_every_site_in_another_unit_is_named_whichever_way_and_how_many(write, factors, odd):
    with pytest.raises(DataError) as caught:
        load(units(write, **factors))
    converted, right = advised(caught.value)
    assert [entry.split(":")[0] for entry in converted] == odd
    assert right == [f"{site}:crea:1" for site in odd]
    means = load(units(write, **factors), scale=converted).reading.columns[0].holds.split(" to ")
    assert float(means[1]) < 8 * float(means[0]), "all of them in one unit"


def test_degrees_of_another_scale_are_another_unit_and_years_are_none(write):
    for name, made in (
        ("a", lambda n: 36 + n % 9 / 5),
        ("b", lambda n: 36 + n % 7 / 5),
        ("c", lambda n: 97 + n % 9 / 3),
    ):
        rows = "".join(f"{made(n):.2f},{2010 + n % 8 + (12 if name == 'c' else 0)},{'iw'[n % 2]}\n" for n in range(40))
        folder = write(f"sites/{name}.csv", "temperature,year,y\n" + rows).parent
    with pytest.raises(
        DataError, match=r"column 'temperature' is 98.\d+ in the middle at 'c' and 36.6 at the others"
    ) as caught:
        load(folder)
    assert "year" not in str(caught.value)
    converted, _ = advised(caught.value)
    assert converted == ["c:temperature:0.5556-17.78"]
    low, high = load(folder, scale=converted).reading.columns[0].holds.split(" to ")
    assert 35 < float(low) < float(high) < 40


def houses(folder, **settings):
    data = DataConfig(name="folder", path=str(folder), target="price", regression=True, **settings)
    return load_federation(data, NATURAL, seed=0)


def test_a_number_to_predict_has_a_unit_too(write):
    for name, factor in (("a", 1), ("b", 1), ("c", 1000)):
        rows = "".join(f"{n % 7},{(100 + 3 * (n % 11)) * factor}\n" for n in range(40))
        folder = write(f"sites/{name}.csv", "rooms,price\n" + rows).parent
    with pytest.raises(
        DataError, match="column 'price' is 113,500 in the middle at 'c' and 113.5 at the others, 1000 times as much"
    ):
        houses(folder)
    assert houses(folder, scale=["c:price:0.001"]).schema.target_scale[0] < 200


def test_names_of_rows_and_codes_have_no_unit(write):
    for name, first, code in (("a", 1, 1), ("b", 100_000, 200), ("c", 900_000, 1)):
        rows = "".join(f"{first + 7 * n + n % 3},{code},{n % 5},{'iw'[n % 2]}\n" for n in range(40))
        folder = write(f"sites/{name}.csv", "case_id,device,age,y\n" + rows).parent
    assert any("'case_id' holds a whole number of its own" in note for note in load(folder).reading.notes)


def test_a_site_that_is_merely_apart_is_noted_with_the_setting(write):
    for name, first in (("a", 30), ("b", 31), ("c", 55)):
        rows = "".join(f"{first + n % 12},{n % 5},{'iw'[n % 2]}\n" for n in range(40))
        folder = write(f"sites/{name}.csv", "age,x,y\n" + rows).parent
    notes = load(folder).reading.notes
    assert (
        "column 'age' is 60 in the middle at 'c' and 35 at the others, 1.714 times as much; if the unit differs, "
        "data.scale=[c:age:0.583] converts it"
    ) in notes


def test_a_factor_of_one_site_within_a_file_touches_its_rows_alone(write):
    rows = "".join(f"{n % 5 + (1000 if n % 2 else 1)},{'ab'[n % 2]},{'iw'[n // 2 % 2]}\n" for n in range(40))
    data = DataConfig(
        name="csv", path=str(write("t.csv", "x,site,y\n" + rows)), target="y", group="site", scale=["b:x:0.001"]
    )
    (column, *_) = load_federation(data, NATURAL, seed=0).reading.columns
    assert column.holds == "1 to 5"


def test_a_country_called_na_is_asked_about_wherever_it_stands(write):
    rows = "".join(f"{n},{('BW', 'NA', 'ZA')[n % 3]},{'ab'[n // 3 % 2]}\n" for n in range(60))
    path = str(write("t.csv", "v,country,y\n" + rows))
    for settings in ({}, {"group": "country"}, {"target": "country", "drop": ["y"]}):
        data = DataConfig(**{"name": "csv", "path": path, "target": "y", **settings})
        with pytest.raises(
            DataError, match=r"column 'country' of .* holds 'NA' in 20 rows, beside 'BW', 'ZA'; .*whether"
        ):
            load_federation(data, PartitionConfig(name="iid", clients=1), seed=0)
    told = ["", "?"]
    by_country = load_federation(
        DataConfig(name="csv", path=path, target="y", group="country", missing=told), NATURAL, seed=0
    )
    assert [shard.name for shard in by_country.shards] == ["BW", "NA", "ZA"]
    level = DataConfig(name="csv", path=path, target="y", missing=["NA"])
    schema = load_federation(level, PartitionConfig(name="iid", clients=1), seed=0).schema
    assert schema.features == ("v", "country=BW", "country=ZA", "country missing")
    named = DataConfig(name="csv", path=path, target="y", level_map=["country:NA:Namibia"])
    assert "country=Namibia" in load_federation(named, PartitionConfig(name="iid", clients=1), seed=0).schema.features


def test_na_among_words_is_noted_and_na_among_labels_has_a_hint(write):
    rows = "".join(f"{n},{('none', 'NA', 'much')[n % 3]},{'ab'[n // 3 % 2]}\n" for n in range(60))
    path = str(write("t.csv", "v,alcohol,y\n" + rows))
    federation = load_federation(
        DataConfig(name="csv", path=path, target="y"), PartitionConfig(name="iid", clients=1), seed=0
    )
    assert any(
        "column 'alcohol' of words holds 'NA' in 20 rows, taken for no value" in n for n in federation.reading.notes
    )
    with pytest.raises(
        DataError, match="20 of 60 rows have no label .*take 'NA' out of data.missing if it is one, or set data.drop_un"
    ):
        load_federation(
            DataConfig(name="csv", path=path, target="alcohol"), PartitionConfig(name="iid", clients=1), seed=0
        )


def test_a_map_of_a_column_that_is_not_there_is_refused(write):
    folder = sites(write, a=(["i", "w"], ["p", "q"]), b=(["i", "w"], ["p", "q"]))
    with pytest.raises(
        DataError, match="data.level_map holds 'v:p:q'; expected a column of the file before the first colon"
    ):
        load(folder, level_map=["v:p:q"])


def test_a_column_and_a_level_may_hold_colons(write):
    rows = "".join(f"{('a:b', 'A:B', 'c')[n % 3]},{n},{'iw'[n % 2]}\n" for n in range(60))
    data = DataConfig(
        name="csv", path=str(write("t.csv", "w:1,x,y\n" + rows)), target="y", level_map=["w:1:a:b:one", "w:1:A:B:one"]
    )
    schema = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0).schema
    assert schema.columns[0].levels == ("c", "one")
