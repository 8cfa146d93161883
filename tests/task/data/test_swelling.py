"""A table of a few kilobytes that would be gigabytes once it is read."""

import gzip
import io
import zipfile

import pytest

from fl.foreign.packed import unpacked
from fl.task.data.errors import DataError
from fl.task.data.idx import read_idx
from fl.task.data.text_file import read_bytes
from fl.task.data.workbook import read_parquet, read_workbook

openpyxl = pytest.importorskip("openpyxl")
arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def workbook(tmp_path):
    """Makes a workbook of cells by place; returns its name and content."""

    def make(cells):
        book, written = openpyxl.Workbook(), io.BytesIO()
        for place, value in cells.items():
            book.active[place] = value
        book.save(written)
        return tmp_path / "rows.xlsx", written.getvalue()

    return make


def test_a_cell_in_the_last_column_and_row_fills_nothing_up(workbook):
    path, content = workbook({"A1": "age", "B1": "sex", "A2": 41, "B2": "f", "XFD1048576": "x"})
    rows, lines = read_workbook(path, content)
    assert (len(rows), lines) == (3, [1, 2, 1_048_576])
    assert {len(row) for row in rows} == {16_384}


def test_a_workbook_has_as_many_cells_and_bytes_as_a_table_may_have(workbook, monkeypatch):
    path, content = workbook({"A1": "age", "XFD2": 1})
    monkeypatch.setattr("fl.task.data.workbook._MOST_CELLS", 16_000)
    with pytest.raises(DataError, match="is not an Excel workbook .it has more than 16,000 cells"):
        read_workbook(path, content)
    monkeypatch.setattr("fl.task.data.workbook._MOST_UNPACKED", 2000)
    with pytest.raises(DataError, match=r"it unpacks to [0-9,]+ bytes, 2,000 are the most"):
        read_workbook(path, content)


def test_a_workbook_that_is_packed_as_none_is_no_workbook(workbook):
    path, content = workbook({"A1": "age"})
    odd = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x08\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x63\x00")
    assert odd != content
    with pytest.raises(DataError, match="is not an Excel workbook .That compression method is not supported"):
        read_workbook(path, odd)


def test_a_parquet_file_of_one_value_has_as_many_rows_as_a_table_may_have(tmp_path, monkeypatch):
    written = io.BytesIO()
    parquet.write_table(arrow.table({"age": arrow.nulls(100_000, arrow.int8())}), written)
    assert len(written.getvalue()) < 2000
    monkeypatch.setattr("fl.task.data.workbook._MOST_CELLS", 99_999)
    with pytest.raises(DataError, match="it has 100,000 cells, 99,999 are the most"):
        read_parquet(tmp_path / "rows.parquet", written.getvalue())


def repeated(text, rows):
    """A Parquet file in which each row has the same text, which the file holds once."""
    words = arrow.DictionaryArray.from_arrays(arrow.array([0] * rows, arrow.int32()), arrow.array([text]))
    written = io.BytesIO()
    table = arrow.table({"note": words, "age": list(range(rows))})
    parquet.write_table(table, written, compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 24)
    return written.getvalue()


def test_a_parquet_file_of_one_long_text_is_as_large_as_its_cells(tmp_path):
    content = repeated("a" * (1 << 20), 8000)
    assert len(content) < 30_000
    with pytest.raises(DataError, match="its cells hold more than 2,147,483,648 characters"):
        read_parquet(tmp_path / "rows.parquet", content)
    rows, _ = read_parquet(tmp_path / "rows.parquet", repeated("a" * 1000, 3))
    assert rows == [["note", "age"], *(["a" * 1000, str(row)] for row in range(3))]


@pytest.mark.parametrize("kind", ["list", "struct", "bytes", "words in a dictionary of bytes"])
def test_what_no_cell_holds_is_refused_before_it_is_read(tmp_path, kind, monkeypatch):
    note = {
        "list": arrow.array([["a"], None]),
        "struct": arrow.array([{"a": 1}, None]),
        "bytes": arrow.array([b"a", None]),
        "words in a dictionary of bytes": arrow.array([b"a", None]).dictionary_encode(),
    }[kind]
    written = io.BytesIO()
    parquet.write_table(arrow.table({"age": [1, 2], "note": note}), written)
    monkeypatch.setattr("fl.task.data.workbook._read", lambda *told: pytest.fail("it was read"))
    with pytest.raises(DataError, match="column 'note' holds lists, structures or bytes"):
        read_parquet(tmp_path / "rows.parquet", written.getvalue())


def shared(content, text):
    """The workbook with the text "note" of each cell kept once, as Excel keeps it, and in its place another one."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as book, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for part in book.namelist():
            data = book.read(part)
            if part == "xl/worksheets/sheet1.xml":
                data = data.replace(b't="inlineStr"><is><t>note</t></is>', b't="s"><v>0</v>')
            if part == "[Content_Types].xml":
                kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
                entry = b'<Override PartName="/xl/sharedStrings.xml" ContentType="' + kind + b'"/></Types>'
                data = data.replace(b"</Types>", entry)
            file.writestr(part, data)
        main = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        said = b"<sst " + main + b'><si><t xml:space="preserve">' + text.encode() + b"</t></si></sst>"
        file.writestr("xl/sharedStrings.xml", said)
    return written.getvalue()


def test_a_workbook_of_one_long_text_is_as_large_as_its_cells(workbook, monkeypatch):
    monkeypatch.setattr("fl.task.data.workbook._MOST_TEXT", 1 << 24)
    path, content = workbook({f"A{row}": "note" for row in range(1, 100)})
    assert read_workbook(path, shared(content, "one word"))[0] == [["one word"]] * 99
    swelling = shared(content, "a" * (1 << 20) + " ")  # what is stripped is copied for each cell
    assert len(swelling) < 20_000
    with pytest.raises(DataError, match="its cells hold more than 16,777,216 characters"):
        read_workbook(path, swelling)


def test_packed_text_and_images_have_a_size(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_bytes(gzip.compress(b"1,2\n" * 1000))
    for module in ("text_file", "idx"):
        monkeypatch.setattr(f"fl.task.data.{module}.unpacked", lambda content: unpacked(content, most=100))
    with pytest.raises(DataError, match="cannot be unpacked: it holds more than 100 bytes"):
        read_bytes(tmp_path / "rows.csv")
    with pytest.raises(DataError, match="cannot be read .it holds more than 100 bytes"):
        read_idx(tmp_path / "rows.csv", dimensions=3)
