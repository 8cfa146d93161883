"""Random tables, written as somebody might: what is read is what was meant, or a refusal."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl.errors import ConfigError
from fl.task.data import DataConfig, DataError
from fl.task.data.cells import missing_cells
from fl.task.data.number import parse_number
from fl.task.data.tables import read_csv

_LEVELS = st.sampled_from(["cat", "dog", "é, ü", 'a "b"', "x;y", "tab\there", "two\nlines", "Ж", "nein"])
_MARKS = {"point": ".", "comma": ","}
_ORDERS = {"ymd": "%Y-%m-%d", "dmy": "%d.%m.%Y", "mdy": "%m/%d/%Y"}
_THOUSANDS = {"none": "", "comma": ",", "point": ".", "space": " ", "apostrophe": "'"}


@st.composite
def tables(draw):
    """Rows that are meant (numbers, levels, days, labels), the bytes of a file that says so, and the settings that read it."""
    count = draw(st.integers(24, 40))
    # Sixteenths: a text of four places is exact.
    numbers = [draw(st.one_of(st.none(), st.integers(-(10**6), 10**6).map(lambda n: n / 16))) for _ in range(count)]
    numbers[:2] = [1234.5, -0.0625]
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]))
    levels = _LEVELS.filter(lambda level: encoding != "cp1252" or level != "Ж")
    words = [draw(st.one_of(st.none(), levels)) for _ in range(count)]
    when = [draw(st.integers(0, 20_000)) for _ in range(count)]
    order = draw(st.sampled_from(sorted(_ORDERS)))
    unit = draw(st.sampled_from(["", " mg/l", "%", "°"]))
    labels = [("ill", "well")[row % 2] for row in range(count)]
    decimal = draw(st.sampled_from(sorted(_MARKS)))
    thousands = draw(st.sampled_from([each for each in sorted(_THOUSANDS) if each != decimal]))
    missing = draw(st.sampled_from(["", "?", "N/A", "null", "-999", "unknown"]))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    header = draw(st.booleans())
    columns = draw(st.permutations(["n", "w", "d", "y"]))

    def number(value):
        if value is None:
            return missing + (".0" if missing == "-999" and decimal == "point" else "")
        whole, _, rest = f"{abs(value):,.4f}".partition(".")
        whole = whole.replace(",", _THOUSANDS[thousands])
        return ("-" if value < 0 else "") + whole + _MARKS[decimal] + rest + unit

    cells = {
        "d": [(date(1970, 1, 1) + timedelta(days=day)).strftime(_ORDERS[order]) for day in when],
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
        "dates": order,
        "units": [unit.strip()] if unit else [],
        "encoding": encoding if encoding == "cp1252" else "auto",
        "header": draw(st.sampled_from([header, "auto"])),
        # What is said need not be found out, and what is not said is.
        "delimiter": {"\t": "tab"}.get(delimiter, delimiter) if not header or draw(st.booleans()) else "auto",
    }
    content = text.getvalue().encode(encoding)
    if draw(st.booleans()):
        content = gzip.compress(content)
    return {"n": numbers, "w": words, "d": when, "y": labels}, columns, missing, content, told


def read(made, folder, told):
    """What the file is read as, by column: None where a mark of `told` stands; and the kind of each column."""
    _, columns, _, content, _ = made
    path = folder / "größe (1), a=b#.csv"
    path.write_bytes(content)
    rows = read_csv(DataConfig(name="csv", path=str(path), **told))
    table = rows.table
    name = {c: table.names[table.find(c if table.has_header else columns.index(c))] for c in columns}
    cells = {c: table.columns[table.names.index(name[c])] for c in columns}
    gone = {c: missing_cells(cells[c], missing=rows.config.missing) for c in columns}
    held = {
        c: [
            None if none else parse_number(str(cell)) if c in "nd" else str(cell)
            for cell, none in zip(cells[c], gone[c], strict=True)
        ]
        for c in "nwd"
    }
    kinds = {column.name: column.kind for column in rows.reading.columns}
    held["y"] = [rows.class_names[label] for label in rows.labels]
    return held, {c: kinds[name[c]] for c in columns}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=tables())
def test_what_is_read_is_what_was_meant(tmp_path_factory, made):
    meant, *_, told = made
    held, kinds = read(made, tmp_path_factory.mktemp("t"), told)
    assert held == meant
    assert (kinds["n"], kinds["d"], kinds["y"]) == ("number", "number", "target")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    made=tables(),
    said=st.sets(st.sampled_from(["decimal", "thousands", "dates", "units", "encoding", "missing", "delimiter"])),
)
def test_what_nobody_said_is_asked_about_or_read_as_it_was_meant(tmp_path_factory, made, said):
    """Some of the settings, or none: a refusal, or the same values; never others, nor numbers that became categories."""
    meant, _, missing, _, told = made
    partly = {key: value for key, value in told.items() if key in said or key in ("target", "header")}
    try:
        held, kinds = read(made, tmp_path_factory.mktemp("t"), partly)
    except (ConfigError, DataError):
        return
    assert (kinds["n"], kinds["d"]) == ("number", "number")
    assert held["d"] == meant["d"]
    assert held["y"] == meant["y"]
    # A mark that nobody announced is the number, or the word, that stands there.
    assert all(a == b or (b is None and a == parse_number(missing)) for a, b in zip(held["n"], meant["n"], strict=True))
    assert all(a == b or (b is None and a == missing) for a, b in zip(held["w"], meant["w"], strict=True))
