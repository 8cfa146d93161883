"""A folder of sites: packed files, workbooks and Parquet are read, the rest is named, and nothing is left out in silence."""

from __future__ import annotations

import gzip
import sys
import zipfile
from datetime import date, datetime

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from fl.task.data import DataConfig, DataError, PartitionConfig, load_federation
from fl.task.data.sites import find_sites
from fl.task.data.table import read_table

NATURAL = PartitionConfig(name="natural", clients=0)
ROWS = [(n, 0.5 + n % 8, ("ill", "well")[n % 2]) for n in range(20)]
TEXT = "age,crea,y\n" + "".join(f"{a},{c},{y}\n" for a, c, y in ROWS)


def load(folder, **settings):
    return load_federation(DataConfig(name="folder", path=str(folder), target="y", **settings), NATURAL, seed=0)


def workbook(path, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_every_kind_of_file_is_a_client_and_the_rest_is_named(tmp_path):
    (tmp_path / "north.csv").write_text(TEXT)
    (tmp_path / "east.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    workbook(tmp_path / "west.xlsx", {"Sheet1": [("age", "crea", "y"), *ROWS], "notes": []})
    columns = dict(zip(("age", "crea", "y"), map(list, zip(*ROWS, strict=True)), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "south.parquet")
    (tmp_path / "middle").mkdir()
    (tmp_path / "middle" / "ward.csv").write_text(TEXT)
    (tmp_path / "README.md").write_text("not a table")
    (tmp_path / "old.zip").write_bytes(b"PK")
    (tmp_path / ".hidden.csv").write_text("no")
    federation = load(tmp_path)
    assert [shard.name for shard in federation.shards] == ["east", "north", "south", "west"]
    assert federation.reading.clients == dict.fromkeys(["east", "north", "south", "west"], 20)
    assert federation.reading.notes[0] == (
        "left out of the folder: README.md (no table by its name); middle/ (a folder; move its files up, or name it alone); "
        "old.zip (no table by its name)"
    )
    tables = [read_table(tmp_path / name) for name in ("north.csv", "east.csv.gz", "west.xlsx", "south.parquet")]
    cells = [[column.tolist() for column in table.columns] for table in tables]
    assert cells[1] == cells[0]
    assert [float(cell) for cell in cells[2][1]] == [float(cell) for cell in cells[3][1]] == [c for _, c, _ in ROWS]


def test_a_lock_file_of_an_open_workbook_is_named_and_not_read(tmp_path):
    for name in ("a.csv", "~$b.xlsx", "c.csv~"):
        (tmp_path / name).write_bytes(b"x")
    found = find_sites(tmp_path, aside=())
    assert found.names == ("a",)
    assert found.left_out == (
        "c.csv~ (a program's own note or copy of an open file)",
        "~$b.xlsx (a program's own note or copy of an open file)",
    )


def test_two_files_of_one_stem_keep_their_whole_names(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert [shard.name for shard in load(tmp_path).shards] == ["a.csv", "a.csv.gz"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "0.5,33,ill\n0.6,34,well\n",
            r"b.csv has no header; expected a header like the other files .*\(age, crea, y\)",
        ),
        ("Age,crea,y\n1,2,ill\n", "b.csv has no column 'age'; .*rename 'Age' if that is the one"),
        ("age,y\n1,ill\n", "b.csv has no column 'crea'"),
    ],
)
def test_a_site_of_other_columns_is_refused_by_name(tmp_path, second, message):
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text(second)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_other_orders_and_more_columns_are_matched_by_name(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text("y,more,crea,age\n" + "".join(f"{y},7,{c},{a}\n" for a, c, y in ROWS))
    federation = load(tmp_path)
    assert federation.shards[0].data.features.shape == federation.shards[1].data.features.shape == (12, 2)
    assert any(
        "b.csv has columns that " in n and "does not have, and they are left out: 'more'" in n
        for n in federation.reading.notes
    )


def test_a_counter_without_a_title_is_no_feature_and_a_named_one_is_noted(write):
    rows = "".join(f"{n},{n * 7 % 20},{('ill', 'well')[n // 20]}\n" for n in range(40))
    federations = [
        load_federation(DataConfig(name="csv", path=str(write("t.csv", head + rows)), target="y"),
                        PartitionConfig(name="iid", clients=1), seed=0)
        for head in (",noise,y\n", "row,noise,y\n")
    ]  # fmt: skip
    assert federations[0].schema.features == ("noise",)
    assert (
        "the column without a title ('0') counts the rows and is not a feature; name it to use it"
        in federations[0].reading.notes
    )
    assert [column.kind for column in federations[0].reading.columns] == ["counter", "number", "target"]
    assert federations[1].schema.features == ("row", "noise")
    assert any(note.startswith("column 'row' counts the rows; leave it out") for note in federations[1].reading.notes)


def test_a_counter_may_be_missing_at_another_site(tmp_path):
    (tmp_path / "a.csv").write_text(",x,y\n" + "".join(f"{n},{n * 7 % 20},{'iw'[n % 2]}\n" for n in range(20)))
    (tmp_path / "b.csv").write_text("x,y\n" + "".join(f"{n * 7 % 20},{'iw'[n % 2]}\n" for n in range(20)))
    assert load(tmp_path).schema.features == ("x",)


def test_a_workbook_holds_one_table(tmp_path):
    rows = [("d", "t", "x", "b"), (date(2024, 1, 31), datetime(2024, 1, 31, 12), 4.0, True), (None, None, 4.5, None)]
    table = read_table(workbook(tmp_path / "a.xlsx", {"one": [(), *rows, ()]}))
    assert [column.tolist() for column in table.columns] == [
        ["2024-01-31", ""], ["2024-01-31 12:00:00", ""], ["4", "4.5"], ["true", ""],
    ]  # fmt: skip
    assert table.place(0).endswith("a.xlsx, line 3")
    with pytest.raises(DataError, match=r"b.xlsx has rows on 2 sheets \(one, two\); expected one sheet with one table"):
        read_table(workbook(tmp_path / "b.xlsx", {"one": rows, "two": rows}))
    with pytest.raises(DataError, match="e.xlsx is empty"):
        read_table(workbook(tmp_path / "e.xlsx", {"one": []}))


def test_a_workbook_whose_sheet_is_damaged_is_refused(tmp_path):
    path = workbook(tmp_path / "a.xlsx", {"one": [["age", "label"], *([age, age % 2] for age in range(50))]})
    with zipfile.ZipFile(path) as book:
        info = next(info for info in book.infolist() if info.filename.startswith("xl/worksheets/"))
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(info.filename)] = 0xFF  # no way to begin a block of deflate
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.xlsx is not an Excel workbook \(Error -3 .*; save it again, or as CSV"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.xlsx",
            b"PK not a real workbook",
            "a.xlsx is not an Excel workbook .*; expected an .xlsx file; save it again, or as CSV",
        ),
        # By what it is, whatever its name.
        ("a.csv", b"PK\x03\x04 [Content_Types].xml nor this", "a.csv is not an Excel workbook"),
        ("a.csv", b"PK\x03\x04 nor this", "a.csv is a zip archive; .*; unpack it, and name the file in it"),
        (
            "a.csv",
            b"\n<!DOCTYPE html><html>",
            "a.csv is a web page; .*; it may be that of a login: fetch the file itself",
        ),
        ("a.csv", b'[{"age": 1}]', "a.csv is JSON; .*; save the table as CSV in UTF-8"),
        (
            "a.csv",
            b"\x89PNG\r\n\x1a\n\0\0",
            "a.csv is a picture; .*; name a table; pictures are read from a folder for each class",
        ),
        ("a.csv", b"\xff\xd8\xff\xe0\0\x10JFIF", "a.csv is a picture; "),
        ("a.csv", b"\x80\x04\x95\x10\0", "a.csv is a pickle of Python's; .*; save the table as CSV in UTF-8"),
        ("a.csv", b"\x93NUMPY\x01\0", "a.csv is a numpy array; "),
        ("a.csv", b"{\\rtf1 x", "a.csv is a document of a word processor; "),
        ("a.csv", b"@RELATION heart", "a.csv is ARFF, of Weka; "),
        ("a.csv", b"SQLite format 3\0", "a.csv is a SQLite database; "),
        (
            "a.csv",
            b"version https://git-lfs.github.com/spec/v1",
            "a.csv is what Git LFS leaves .*; fetch the file with `git lfs pull`",
        ),
        ("a.parquet", b"PAR1", "a.parquet is not a Parquet file"),
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "a.xls is a workbook of the format before Excel 2007; .*save it as CSV",
        ),
    ],
)
def test_a_file_that_is_not_what_it_seems_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_parquet_has_cells_and_no_lists_and_pandas_row_numbers_are_no_column(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, None], "__index_level_0__": [0, 1]}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert (table.names, table.columns[0].tolist()) == (("x",), ["1", ""])
    pyarrow.parquet.write_table(pyarrow.table({"x": [[1], [2]]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="b.parquet, column 'x' holds lists, structures or bytes"):
        read_table(tmp_path / "b.parquet")


@pytest.mark.parametrize(("name", "module"), [("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow")])
def test_a_reader_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(
        DataError, match=rf"{name} needs {module}, which is not installed here; .*'fairshare\[tables\]'"
    ):
        read_table(tmp_path / name)
