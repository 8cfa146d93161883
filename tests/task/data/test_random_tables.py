"""Random tables, written as somebody might: what is read is what was meant, or a refusal."""

from __future__ import annotations

import csv
import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl.task.data import DataConfig
from fl.task.data.cells import missing_cells
from fl.task.data.number import parse_number
from fl.task.data.tables import read_csv

_LEVELS = st.sampled_from(["cat", "dog", "é, ü", 'a "b"', "x;y", "tab\there", "two\nlines", "Ж", "nein"])
_MARKS = {"point": ".", "comma": ","}
_THOUSANDS = {"none": "", "comma": ",", "point": ".", "space": " ", "apostrophe": "'"}


@st.composite
def tables(draw):
    """Rows that are meant (numbers, levels, labels), the bytes of a file that says so, and the settings that read it."""
    count = draw(st.integers(24, 40))
    # Sixteenths: a text of four places is exact.
    numbers = [draw(st.one_of(st.none(), st.integers(-(10**6), 10**6).map(lambda n: n / 16))) for _ in range(count)]
    numbers[:2] = [1234.5, -0.0625]
    words = [draw(st.one_of(st.none(), _LEVELS)) for _ in range(count)]
    labels = [("ill", "well")[row % 2] for row in range(count)]
    decimal = draw(st.sampled_from(sorted(_MARKS)))
    thousands = draw(st.sampled_from([each for each in sorted(_THOUSANDS) if each != decimal]))
    missing = draw(st.sampled_from(["", "?", "N/A", "null", "-999", "unknown"]))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    header = draw(st.booleans())
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    columns = draw(st.permutations(["n", "w", "y"]))

    def number(value):
        if value is None:
            return missing + (".0" if missing == "-999" and decimal == "point" else "")
        whole, _, rest = f"{abs(value):,.4f}".partition(".")
        whole = whole.replace(",", _THOUSANDS[thousands])
        return ("-" if value < 0 else "") + whole + _MARKS[decimal] + rest

    cells = {
        "n": [number(value) for value in numbers],
        "w": [missing if word is None else word for word in words],
        "y": labels,
    }
    text = io.StringIO()
    if draw(st.booleans()):
        text.write(f"sep={delimiter}\r\n")
    writer = csv.writer(text, delimiter=delimiter, quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])),
                        lineterminator=draw(st.sampled_from(["\n", "\r\n"])))  # fmt: skip
    if header:
        writer.writerow(columns)
    for row in range(count):
        writer.writerow([cells[column][row] for column in columns])
    told = {
        "target": "y" if header else columns.index("y"),
        "decimal": decimal,
        "thousands": thousands,
        "missing": [missing],
        "header": draw(st.sampled_from([header, "auto"])),
        # What is said need not be found out, and what is not said is.
        "delimiter": {"\t": "tab"}.get(delimiter, delimiter) if not header or draw(st.booleans()) else "auto",
    }
    return numbers, words, labels, columns, text.getvalue().encode(encoding), told


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=tables())
def test_what_is_read_is_what_was_meant(tmp_path_factory, made):
    numbers, words, labels, columns, content, told = made
    path = tmp_path_factory.mktemp("t") / "größe (1), a=b#.csv"
    path.write_bytes(content)
    rows = read_csv(DataConfig(name="csv", path=str(path), **told))
    table = rows.table
    cells = {
        column: table.columns[table.find(column if table.has_header else columns.index(column))] for column in columns
    }
    gone = {column: missing_cells(cells[column], missing=told["missing"]) for column in "nw"}
    assert [
        None if none else parse_number(str(cell)) for cell, none in zip(cells["n"], gone["n"], strict=True)
    ] == numbers
    assert [None if none else str(cell) for cell, none in zip(cells["w"], gone["w"], strict=True)] == words
    assert [rows.class_names[label] for label in rows.labels] == labels
    kinds = {column.name: column.kind for column in rows.reading.columns}
    assert [kinds[table.names[table.find(c if table.has_header else columns.index(c))]] for c in "ny"] == [
        "number",
        "target",
    ]
