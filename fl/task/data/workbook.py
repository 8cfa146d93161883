"""The rows of an Excel workbook or a Parquet file, as the text that a CSV of them would hold."""

from __future__ import annotations

import importlib
import io
import zlib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from fl.task.data.errors import DataError
from fl.task.data.extras import imported
from fl.task.data.text_file import Rows

_AS_CSV = "save the table as CSV in UTF-8"
# In small letters, as the first bytes of a file are compared.
_PICTURES = (b"\x89png", b"\xff\xd8\xff", b"gif87a", b"gif89a", b"ii*\x00", b"mm\x00*")
_BINARY = (
    (b"\x93numpy", "a numpy array"),
    (b"\x89hdf", "an HDF5 file"),
    (b"\x80\x04\x95", "a pickle of Python's"),
    (b"\x80\x05\x95", "a pickle of Python's"),
    (b"$fl2@(#)", "an SPSS file"),
    (b"<stata_dta>", "a Stata file"),
    (b"arrow1\x00", "an Arrow file"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"rar!\x1a", "a RAR archive"),
    (b"{\\rtf", "a document of a word processor"),
)
# How other files begin, what they are, and what to do.
_OTHERS = (
    (b"<!doctype", "a web page", "it may be that of a login: fetch the file itself"),
    (b"<html", "a web page", "it may be that of a login: fetch the file itself"),
    (b"<?xml", "XML", _AS_CSV),
    (b"[{", "JSON", _AS_CSV),
    (b'{"', "JSON", _AS_CSV),
    (b"@relation", "ARFF, of Weka", _AS_CSV),
    (b"sqlite format 3", "a SQLite database", _AS_CSV),
    (b"%pdf-", "a PDF", _AS_CSV),
    *((begin, "a picture", "name a table; pictures are read from a folder for each class") for begin in _PICTURES),
    *((begin, what, _AS_CSV) for begin, what in _BINARY),
    (b"version https://git-lfs", "what Git LFS leaves in place of a file", "fetch the file with `git lfs pull`"),
)
_MOST_CELLS = 50_000_000
_MOST_UNPACKED = 1 << 30  # bytes of a workbook's parts
# Characters of all texts, each as often as a cell has it: both formats keep a text that repeats once, and a kilobyte of either may
# name a text of a megabyte ten thousand times.
_MOST_TEXT = 2 << 30
WORKBOOK, PARQUET = ".xlsx", ".parquet"


def kind_of(path: Path, content: bytes) -> str | None:
    """What a file is, by its first bytes, else by its name: .xlsx, .parquet, or None for text.

    Raises: DataError for a workbook of the format before 2007.
    """
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(
            seen=f"{path} is a workbook of the format before Excel 2007",
            expected="CSV, .xlsx or Parquet",
            fix="save it as CSV in UTF-8",
        )
    for begin, what, fix in _OTHERS:
        if content[:512].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(begin):
            raise DataError(seen=f"{path} is {what}", expected="CSV, .xlsx or Parquet", fix=fix)
    named = path.suffix.lower() in (WORKBOOK, ".xlsm")
    if content.startswith(b"PK\x03\x04") and b"[Content_Types].xml" not in content and not named:
        raise DataError(
            seen=f"{path} is a zip archive", expected="CSV, .xlsx or Parquet", fix="unpack it, and name the file in it"
        )
    if content.startswith(b"PAR1") or path.suffix.lower() == PARQUET:
        return PARQUET
    if content.startswith(b"PK\x03\x04") or named:
        return WORKBOOK
    return None


def read_workbook(path: Path, content: bytes) -> Rows:
    """The rows of the one sheet that holds any; formulas as the values that were last saved.

    Raises: DataError if it is no workbook, or several sheets hold rows.
    """
    openpyxl = _imported("openpyxl", path=path)
    # A sheet is unpacked as its rows are read, so that a damaged one shows there.
    # RuntimeError is of a part that is encrypted, or packed in a way that nobody here knows.
    damages = (BadZipFile, zlib.error, EOFError, ParseError, KeyError, ValueError, OSError, RuntimeError)
    try:
        with ZipFile(io.BytesIO(content)) as parts:
            if (unpacked := sum(part.file_size for part in parts.infolist())) > _MOST_UNPACKED:
                raise ValueError(f"it unpacks to {unpacked:,} bytes, {_MOST_UNPACKED:,} are the most")
        found = _sheets(openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True))
    except (*damages, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise DataError(
            seen=f"{path} is not an Excel workbook ({error})",
            expected="an .xlsx file",
            fix="save it again, or as CSV, or take it out",
        ) from None
    if len(found) > 1:
        raise DataError(
            seen=f"{path} has rows on {len(found)} sheets ({', '.join(found)})",
            expected="one sheet with one table",
            fix="save the one that counts as CSV",
        )
    rows = next(iter(found.values()), [])
    width = max((_width(row) for _, row in rows), default=0)
    return [row[:width] + [""] * (width - len(row)) for _, row in rows], [line for line, _ in rows]


def _sheets(book: Any) -> dict[str, list[tuple[int, list[str]]]]:
    """The numbered rows of each sheet of an openpyxl workbook that holds any."""
    found: dict[str, list[tuple[int, list[str]]]] = {}
    cells, characters = 0, 0
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # as the sheet states them: each row would be filled up to the last column that there can be
        kept = []
        for line, row in enumerate(sheet.iter_rows(values_only=True), 1):
            if not any(cell is not None for cell in row):
                continue
            if (cells := cells + len(row)) > _MOST_CELLS:
                raise ValueError(f"it has more than {_MOST_CELLS:,} cells")
            characters += sum(len(cell) for cell in row if isinstance(cell, str))
            _check_text(characters)
            if any(texts := [_text(cell) for cell in row]):
                kept.append((line, texts))
        if kept:
            found[sheet.title] = kept
    return found


def read_parquet(path: Path, content: bytes) -> Rows:
    """The rows of a Parquet file, below its names as a header.

    Raises: DataError if it is none, or a column holds lists or structures.
    """
    arrow = _imported("pyarrow", path=path)
    parquet = _imported("pyarrow.parquet", path=path)
    try:
        whole = parquet.ParquetFile(io.BytesIO(content))
        # A column of one value is a few bytes however many rows it has.
        if (cells := whole.metadata.num_rows * whole.metadata.num_columns) > _MOST_CELLS:
            raise ValueError(f"it has {cells:,} cells, {_MOST_CELLS:,} are the most")
        _check_kinds(path, whole.schema_arrow)
        table = _read(arrow, parquet, content, whole.schema_arrow)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            seen=f"{path} is not a Parquet file ({str(error).splitlines()[0]})",
            expected="a .parquet file that is whole",
            fix="write it again, or as CSV",
        ) from None
    names = [name for name in table.column_names if not _is_index(name)]
    columns = [[_text(value) for value in table.column(name).to_pylist()] for name in names]
    rows = [names, *map(list, zip(*columns, strict=True))]
    return rows, list(range(1, len(rows) + 1))


def _check_kinds(path: Path, schema: Any) -> None:
    """Refuse columns of what no cell holds, by their type and before any is read. Raises: DataError."""
    types = _imported("pyarrow.types", path=path)
    for column in schema:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        odd = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
        if not _is_index(column.name) and any(is_so(kind) for is_so in odd):
            raise DataError(
                seen=f"{path}, column {column.name!r} holds lists, structures or bytes",
                expected="a number, a word or a date in each cell",
                fix="leave the column out of the file",
            )


def _read(arrow: Any, parquet: Any, content: bytes, schema: Any) -> Any:
    """The columns as a table in which a text that repeats stands once.

    Args:
        arrow: pyarrow.
        parquet: Its module of that name.
        content: Of the file.
        schema: Of the file.
    Raises: ValueError for more text than a table may have.
    """
    names = [column.name for column in schema if not _is_index(column.name)]
    texts = [
        column.name
        for column in schema
        if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type)
    ]
    table = parquet.ParquetFile(io.BytesIO(content), read_dictionary=texts).read(columns=names)
    compute = importlib.import_module("pyarrow.compute")
    characters = 0
    for column in table.columns:
        for part in column.chunks:
            if arrow.types.is_dictionary(part.type) and part.type.value_type in (arrow.string(), arrow.large_string()):
                lengths = compute.binary_length(part.dictionary).cast(arrow.int64())
                characters += compute.sum(lengths.take(part.indices)).as_py() or 0
                _check_text(characters)
    return table


def _check_text(characters: int) -> None:
    if characters > _MOST_TEXT:
        raise ValueError(f"its cells hold more than {_MOST_TEXT:,} characters")


def _is_index(name: str) -> bool:
    """Whether a column is pandas's row numbers."""
    return name.startswith("__index_level_")


def _imported(module: str, *, path: Path) -> Any:
    fix = "pip install 'fairshare[tables]', or save the file as CSV"
    return imported(
        module, path=path, package=module.partition(".")[0], expected="CSV, or the extra that reads it", fix=fix
    )


def _width(row: list[str]) -> int:
    return next((place for place in range(len(row), 0, -1) if row[place - 1]), 0)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # A workbook knows no whole numbers: 4.0 was typed as 4.
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ") if value.time() != time(0) else value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()
