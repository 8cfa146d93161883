"""A file as columns of cells, each cell with its place in the file for the error messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.errors import DataError
from fl.task.data.header import is_header, normal, titles_of
from fl.task.data.spelling import Spelling
from fl.task.data.text_file import read_bytes, read_text
from fl.task.data.workbook import WORKBOOK, kind_of, read_parquet, read_workbook

_LINES_ABOVE = 20  # of remarks above a header
DEFAULT_MISSING = ("", "?", "NA", "N/A", "#N/A", "nan", "null")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows of text, by column. Nothing is parsed yet."""

    names: tuple[str, ...]  # from the header, else "0", "1", ...
    has_header: bool
    columns: tuple[NDArray[np.str_], ...]  # one per name, each of shape (N,), cells stripped of blanks
    sources: tuple[Path, ...]  # the files that the rows came from
    source_of: NDArray[np.int64]  # shape (N,), index into sources
    lines: NDArray[np.int64]  # shape (N,), line of the row in its file, counted from 1
    untitled: tuple[str, ...] = ()  # columns that the header gives no title

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def source(self) -> str:
        """The file, or the first of several, for messages."""
        return str(self.sources[0]) if len(self.sources) == 1 else f"{self.sources[0]} and {len(self.sources) - 1} more"

    def place(self, row: int) -> str:
        """Where a row stands, for messages: file and line."""
        return f"{self.sources[self.source_of[row]]}, line {self.lines[row]}"

    def take(self, rows: NDArray[np.int64]) -> Table:
        """The rows with these indices, in this order."""
        return replace(
            self,
            columns=tuple(column[rows] for column in self.columns),
            source_of=self.source_of[rows],
            lines=self.lines[rows],
        )

    def with_columns(self, changed: dict[int, NDArray[np.str_]]) -> Table:
        """The table with other cells in the columns at these places."""
        return replace(self, columns=tuple(changed.get(at, column) for at, column in enumerate(self.columns)))

    def find(self, column: int | str) -> int:
        """Index of the column with this name, or at this place (negative counts from the end).

        Raises: DataError if there is none; names those that are near.
        """
        title = normal(str(column))
        if title in self.names:
            return self.names.index(title)
        if not re.fullmatch(r"0|-?[1-9]\d*", title):
            twins = [name for name in self.names if re.fullmatch(re.escape(title) + r"\.\d+", name)]
            near = twins or ([] if len(self.names) == 1 else difflib.get_close_matches(title, self.names, n=3))
            listed = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
            raise DataError(
                seen=f"{self.source} has no column {title!r}"
                + (f" but {len(twins)} with that title" if len(twins) > 1 else ""),
                expected=f"one of its {plural(len(self.names), 'column')} ({listed})",
                fix=self.where(title) or f"did you mean {' or '.join(map(repr, near))}?"
                if near or self.where(title)
                else "name one of them, or its place counted from 0"
                + ("" if self.has_header else "; set data.header=true if the first line names the columns"),
            )
        place = int(title)
        if not -len(self.names) <= place < len(self.names):
            raise DataError(
                seen=f"{self.source} has no column at place {place}",
                expected=f"a place from 0 to {len(self.names) - 1}, or -1 to {-len(self.names)} from the end",
                fix=f"name one of its {plural(len(self.names), 'column')}",
            )
        return place % len(self.names)

    def where(self, title: str) -> str:
        """What to do where the header stands further down, or its titles are not parted; empty if neither is."""
        for row in range(min(len(self), _LINES_ABOVE)):
            if title in (str(column[row]) for column in self.columns):
                if not self.has_header and self.lines[row] == self.lines.min():
                    return "the first line holds it: set data.header=true"
                above = "line above, which is" if self.lines[row] == 2 else "lines above, which are"
                return f"line {self.lines[row]} holds it: remove the {above} no part of the table"
        marks = [mark for mark in ":~^ \u00a6" if title in self.names[0].split(mark)]
        if len(self.names) == 1 and marks:
            return f"its cells are parted by {marks[0]!r}: set 'data.delimiter={marks[0]}'"
        return ""


def read_table(
    path: Path,
    *,
    delimiter: str | None = None,
    header: bool | str = "auto",
    encoding: str = "auto",
    missing: Sequence[str] = DEFAULT_MISSING,
    known_names: Sequence[str] = (),
    spelling: Spelling | None = None,
) -> Table:
    """Read a delimited text file, packed by gzip, bzip2 or xz or not, an Excel workbook or a Parquet file.

    Args:
        path: The file.
        delimiter: As of `fl.task.data.text_file.read_text`.
        header: True or False, or "auto": see `fl.task.data.header.is_header`. Parquet has one always.
        encoding: As of `fl.task.data.text_file.read_text`.
        missing: What stands for no value, in any case.
        known_names: Names that a header would hold; a first row half of which is among them is a header too.
        spelling: Of numbers, to tell them from titles; None: plain.
    Raises: DataError if the file is absent, empty, not text, or has rows of different lengths.
    """
    content = read_bytes(path)
    kind = kind_of(path, content)
    if kind is None:
        rows, lines = read_text(path, content, delimiter=delimiter, encoding=encoding)
    else:
        rows, lines = read_workbook(path, content) if kind == WORKBOOK else read_parquet(path, content)
    if not rows:
        raise DataError(seen=f"{path} is empty", expected="one or more rows", fix="add rows, or leave the file out")
    width = len(rows[0])
    for place, (row, line) in enumerate(zip(rows, lines, strict=True)):
        if len(row) != width:
            if place == 1 and min(width, len(row)) > 1 and len(rows) > 2 and len({len(each) for each in rows[1:]}) == 1:
                raise _all_wider(path, rows, lines)
            # A title, or a remark, above a table that is whole from here on.
            above = place <= _LINES_ABOVE and len(row) > 1 and all(len(each) == len(row) for each in rows[place:])
            raise DataError(
                seen=f"{path}, line {line} has {len(row)} cell{'s' * (len(row) != 1)}",
                expected=f"{width}, as in line {lines[0]}",
                fix=f"remove the {place} line{'s' * (place > 1)} above it if the table begins there, or mend that line"
                if above and len(rows) - place > place
                else "mend that line, or set data.delimiter if cells are not parted where they should be",
            )
    if kind is None or kind == WORKBOOK:
        named = (
            is_header(rows, missing=missing, known_names=known_names, path=path, spelling=spelling or Spelling())
            if header == "auto"
            else bool(header)
        )
    else:
        named = True
    names = tuple(str(place) for place in range(width))
    untitled: tuple[str, ...] = ()
    if named:
        titles, rows, lines = rows[0], rows[1:], lines[1:]
        names = titles_of(titles)
        untitled = tuple(name for name, title in zip(names, titles, strict=True) if not title)
    if not rows:
        raise DataError(
            seen=f"{path} holds a header and no row",
            expected="one or more rows",
            fix="add rows, leave the file out, or set data.header=false if that line is a row",
        )
    return Table(
        names=names,
        has_header=named,
        columns=tuple(np.array(cells, dtype=np.str_) for cells in zip(*rows, strict=True)),
        sources=(path,),
        source_of=np.zeros(len(rows), dtype=np.int64),
        lines=np.array(lines, dtype=np.int64),
        untitled=untitled,
    )


def _all_wider(path: Path, rows: list[list[str]], lines: list[int]) -> DataError:
    """The refusal of a file whose rows all have another number of cells than its first line."""
    width, cells = len(rows[0]), len(rows[1])
    if cells == width + 1 and not any(row[-1] for row in rows[1:]):
        fix = "delete the mark at the end of each of these lines, or add one to the first"
    elif cells > width:
        fix = "quote numbers with a decimal comma and words that hold the mark between cells, or save the file with another mark"
        fix += "; or remove the line above them, if it is a title"
    else:
        fix = "name these cells alone in the first line, or remove it if it is a title"
    return DataError(
        seen=f"{path}, line {lines[1]} has {cells} cell{'s' * (cells != 1)}, as have all below it",
        expected=f"{width}, as in line {lines[0]}",
        fix=fix,
    )


def write_table(path: Path, table: Table) -> None:
    """Write a table that `read_table` reads as the same cells: UTF-8, commas, quoted as in RFC 4180."""
    rows = zip(*table.columns, strict=True)
    titles = ["" if name in table.untitled else name for name in table.names]
    lines = [",".join(map(_quote, row)) for row in ([titles] if table.has_header else [])]
    lines += [",".join(_quote(str(cell)) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quote(cell: str) -> str:
    # Every character that a reader may guess to be the delimiter, not the comma alone.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',;|\t"\r\n') else cell
