"""Rows of totals, rows that come again, columns that give the class away: what nobody means to train on."""

from __future__ import annotations

import pytest

from fl.task.data import DataConfig, DataError
from fl.task.data.tables import read_csv

ROWS = [(30 + n % 37, round(0.5 + n * 0.37 % 2, 2), ("ill", "well")[n * 7 % 5 < 2]) for n in range(60)]


def reading(write, rows, *, titles=("age", "crea", "y"), **settings):
    """What a table of these rows is read as."""
    text = "\n".join(",".join(map(str, row)) for row in (titles, *rows)) + "\n"
    return read_csv(DataConfig(name="csv", path=str(write("t.csv", text)), target="y", **settings)).reading


AGES, CREAS = sum(row[0] for row in ROWS), sum(row[1] for row in ROWS)


@pytest.mark.parametrize(
    ("titles", "rows"),
    [
        (("age", "crea", "y"), [*ROWS, (AGES, round(CREAS, 2), "ill")]),
        (("ward", "age", "crea", "y"), [*(("ABC"[n % 3], *row) for n, row in enumerate(ROWS)), ("Total", AGES, "", "ill")]),
        (("ward", "age", "crea", "y"), [*(("ABC"[n % 3], *row) for n, row in enumerate(ROWS)), ("Summe:", AGES, 0.5, "ill")]),
        (("ward", "age", "crea", "y"), [*(("ABC"[n % 3], *row) for n, row in enumerate(ROWS)), ("mean", round(AGES / 60, 1), 1, "ill")]),
    ],
)  # fmt: skip
def test_a_last_row_of_totals_is_refused(write, titles, rows):
    with pytest.raises(
        DataError, match=r"t.csv, line 62 holds the totals of the rows above it, in '.*; delete that line"
    ):
        reading(write, rows, titles=titles)


@pytest.mark.parametrize("last", [(67, 3.1, "ill"), (AGES, 0.7, "ill"), (29, 0.1, "well"), (-AGES, -CREAS, "ill")])
def test_a_last_row_that_is_only_large_is_a_row(write, last):
    assert reading(write, [*ROWS, last]).rows == 61


def test_a_word_for_a_total_that_sums_nothing_is_a_level(write):
    rows = [(("partial", "total")[n % 2], *row) for n, row in enumerate(ROWS)]
    assert reading(write, rows, titles=("resection", "age", "crea", "y")).rows == 60


def test_a_line_of_units_or_totals_without_a_label_may_be_deleted(write):
    with pytest.raises(
        DataError, match="1 of 61 rows has no label .*line 2.*; or delete that line, if it is a row of totals"
    ):
        reading(write, [("years", "mg/dl", ""), *ROWS])


def test_rows_that_come_again_are_noted(write):
    (note,) = [each for each in reading(write, ROWS * 3).notes if "come" in each]
    assert note.startswith("the same 60 rows come 3 times over: one that is dealt to a client and held back")
    wide = [(*row[:2], n * 0.731 % 1, n * 0.377 % 1, row[2]) for n, row in enumerate(ROWS)]
    (note,) = [
        each
        for each in reading(write, [*wide, *wide[:12]], titles=("age", "crea", "a", "b", "y")).notes
        if "already" in each
    ]
    assert note.startswith("12 of 72 rows stand there already")
    few = [
        (n * n % 11 % 2, n // 7 % 3, row[2]) for n, row in enumerate(ROWS)
    ]  # a survey of two questions repeats itself
    assert not [each for each in reading(write, few).notes if "already" in each or "come" in each]


@pytest.mark.parametrize("codes", [{"ill": "I25", "well": "none"}, {"ill": 1, "well": 0}])
def test_a_column_that_gives_the_class_away_is_noted(write, codes):
    rows = [(*row[:2], codes[row[2]], row[2]) for row in ROWS]
    told = "column 'code' alone tells the class of every row; if it comes from the same finding, data.drop=[code] leaves it out"
    assert told in reading(write, rows, titles=("age", "crea", "code", "y"), categorical=["code"]).notes
    rows[3] = (*rows[3][:2], codes["ill" if rows[3][3] == "well" else "well"], rows[3][3])
    assert told not in reading(write, rows, titles=("age", "crea", "code", "y"), categorical=["code"]).notes


def test_names_of_rows_and_codes_with_zeros_are_noted(write):
    rows = [((n * 7919) % 90_000 + 10_000, f"{n * 331 % 99 + 1:05}", row[0], row[2]) for n, row in enumerate(ROWS)]
    notes = " ".join(reading(write, rows, titles=("patient_id", "zip", "age", "y")).notes)
    assert "column 'patient_id' holds a whole number of its own in each row, as a name of the row would" in notes
    assert "column 'zip' holds numbers with zeros in front ('00001'" in notes
    assert "'age'" not in notes
    rows = [(1000 * row[0], *row[1:]) for row in rows]
    assert "own in each row" not in " ".join(reading(write, rows, titles=("income", "zip", "age", "y")).notes)
