"""The rows of a delimited text file, packed or not, as cells with their lines."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import lzma
import re
import zlib
from pathlib import Path

from fl.foreign.packed import unpacked
from fl.task.data.errors import DataError

Rows = tuple[list[list[str]], list[int]]  # cells of each row, and its line in the file, counted from 1

PACKED = (".gz", ".bz2", ".xz")  # what the names of packed files end with
_MARKS = {  # the longer one first: one begins like the other
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # as Excel writes it, above the header


def read_bytes(path: Path) -> bytes:
    """What a file holds, unpacked where it is packed. Raises: DataError if it cannot be read."""
    try:
        return unpacked(path.read_bytes())
    except FileNotFoundError:
        raise absent(path) from None
    except NotADirectoryError:
        raise absent(path) from None
    except IsADirectoryError:
        raise DataError(
            seen=f"{path} is a folder",
            expected="a file",
            fix="name a file in it, or use data=folder for one file per client",
        ) from None
    except (EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise DataError(
            seen=f"{path} cannot be unpacked: {error}", expected="a packed file that is whole", fix="fetch it again"
        ) from None
    except OSError as error:
        raise DataError(
            seen=f"{path} cannot be read: {error.strerror or error}",
            expected="a readable file",
            fix="check its permissions, or fetch it again if it is packed",
        ) from None


def read_text(path: Path, content: bytes, *, delimiter: str | None, encoding: str = "auto") -> Rows:
    """Rows of delimited text, quoted as in RFC 4180. Blank lines and a first line `sep=;` are no rows.

    Args:
        path: For messages.
        content: Of the file.
        delimiter: Character between two cells; None takes whichever of , ; | and tab the first line has most of, or the
            one that a first line `sep=;` names.
        encoding: A name that Python knows; auto is UTF-8, or UTF-16 or UTF-32 with a byte-order mark.
    Raises: DataError if it is not text, or its quotes do not match.
    """
    lines = io.StringIO(_decode(path, content, encoding=encoding), newline="")
    start = 0
    for line in iter(lines.readline, ""):
        if line.strip():
            named = _SEPARATOR_LINE.fullmatch(line.strip("\r\n"))
            if named:
                delimiter = delimiter or named[1]
                start = lines.tell()
                line = next((each for each in lines if each.strip()), "")
            break
    else:
        line = ""
    skipped = lines.getvalue()[:start].count("\n")
    lines.seek(start)
    rows: list[list[str]] = []
    numbers: list[int] = []
    mark = delimiter or _guess_delimiter(line)
    # Where blanks part cells, several of them do so once.
    reader = csv.reader(lines, delimiter=mark, strict=True, skipinitialspace=mark == " ")
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if mark == " " and len(cells) > 1 and not cells[-1]:
                cells.pop()
            if cells and (len(cells) > 1 or cells[0]):  # a blank line reads as no cell, or as one that is empty
                rows.append(cells)
                numbers.append(reader.line_num + skipped)
    except csv.Error as error:
        raise DataError(
            seen=f"{path}, line {reader.line_num + skipped} cannot be read: {error}",
            expected="cells quoted as in RFC 4180",
            fix="mend the quotes in that line",
        ) from None
    # Spreadsheets write rows below a table that were formatted and never filled. One in between may be a person, of whom nothing is known.
    while len(rows) > 1 and len(rows[-1]) > 1 and not any(rows[-1]):
        rows.pop()
        numbers.pop()
    return rows, numbers


def absent(path: Path) -> DataError:
    """The refusal of a path where there is nothing; names what is near."""
    if path.is_symlink():
        return DataError(
            seen=f"{path} is a link to {path.readlink()}, which is not there",
            expected="a link to a file",
            fix="name the file itself, or mend the link",
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+]+:/", str(path)):
        return DataError(
            seen=f"{path} is an address",
            expected="a file on this machine",
            fix="fetch it, and name the file that it was saved as",
        )
    parent = path.parent
    here = sorted(entry.name for entry in parent.iterdir() if entry.name != path.name) if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, here, n=1)
    place = f"in {parent.resolve()}" if parent.is_dir() else f"and no folder {parent}"
    return DataError(
        seen=f"there is no {path}",
        expected="a path relative to where the command runs, or an absolute one",
        fix=f"did you mean {parent / near[0]}?" if near else f"nothing of that name is {place}; check the path",
    )


def _decode(path: Path, content: bytes, *, encoding: str) -> str:
    if encoding == "auto":
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}.get(encoding, encoding)
        raise DataError(
            seen=f"{path} is not {name} text (byte {error.start})",
            expected="a text file with one row per line",
            fix=_without_mark(content)
            or "save it as CSV in UTF-8, or set data.encoding, to cp1252 for most files of Windows in the West",
        ) from None
    text = text.rstrip("\x1a")  # the end of a file, as DOS wrote it
    if "\0" in text:
        raise DataError(
            seen=f"{path} holds null bytes",
            expected="a text file with one row per line",
            fix=_without_mark(content) or "save it as CSV in UTF-8",
        )
    return text.removeprefix("\ufeff")


def _without_mark(content: bytes) -> str:
    """What to set for text of two bytes a character that does not say so; empty for other files."""
    begin = content[: 1 << 16]
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        other = begin[1 - parity :: 2]
        if len(other) > 4 and 2 * begin[parity::2].count(0) > len(other) and 10 * other.count(0) < len(other):
            return f"it looks like UTF-16 without its mark: set data.encoding={encoding}, or save it as CSV in UTF-8"
    return ""


def _guess_delimiter(line: str) -> str:
    outside = "".join(line.split('"')[::2])  # a comma between quotes parts nothing
    return max(",;\t|", key=outside.count)
