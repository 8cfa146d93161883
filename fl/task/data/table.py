"""A delimited text file as columns of cells, each cell with its place in the file for the error messages."""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.task.data.errors import DataError
from fl.task.data.number import parse_number


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows of text, by column. Nothing is parsed yet."""

    names: tuple[str, ...]  # from the header, else "0", "1", ...
    has_header: bool
    columns: tuple[NDArray[np.str_], ...]  # one per name, each of shape (N,), cells stripped of blanks
    sources: tuple[Path, ...]  # the files that the rows came from
    source_of: NDArray[np.int64]  # shape (N,), index into sources
    lines: NDArray[np.int64]  # shape (N,), line of the row in its file, counted from 1

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
        return Table(
            names=self.names,
            has_header=self.has_header,
            columns=tuple(column[rows] for column in self.columns),
            sources=self.sources,
            source_of=self.source_of[rows],
            lines=self.lines[rows],
        )

    def find(self, column: int | str) -> int:
        """Index of the column with this name, or at this place (negative counts from the end).

        Raises: DataError if there is none; names those that are near.
        """
        if str(column) in self.names:
            return self.names.index(str(column))
        try:
            place = int(column)
        except ValueError:
            near = difflib.get_close_matches(str(column), self.names, n=3)
            shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
            raise DataError(
                seen=f"{self.source} has no column {column!r}",
                expected=f"one of its {len(self.names)} columns ({shown})",
                fix=f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else "name one of them, or its place counted from 0"
                + ("" if self.has_header else "; set data.header=true if the first line names the columns"),
            ) from None
        if not -len(self.names) <= place < len(self.names):
            raise DataError(
                seen=f"{self.source} has no column at place {place}",
                expected=f"a place from 0 to {len(self.names) - 1}, or -1 to {-len(self.names)} from the end",
                fix=f"name one of its {len(self.names)} columns",
            )
        return place % len(self.names)


def read_table(
    path: Path,
    *,
    delimiter: str | None = None,
    header: bool | str = "auto",
    missing: Sequence[str] = ("", "?", "NA", "nan"),
    known_names: Sequence[str] = (),
) -> Table:
    """Read a delimited text file in UTF-8, quoted as in RFC 4180. Blank lines are skipped.

    Args:
        path: The file.
        delimiter: Character between two cells; None takes whichever of , ; | and tab the first line has most of.
        header: True or False, or "auto": the first row is a header if no cell in it is a number or stands for a
            missing value, none occurs twice, and either a column below holds numbers or no column repeats its title.
        missing: What stands for no value, in any case.
        known_names: Names that a header would hold; a first row half of which is among them is a header too.
    Raises: DataError if the file is absent, empty, not text, or has rows of different lengths.
    """
    rows, lines = _read_rows(path, delimiter=delimiter)
    width = len(rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise DataError(
                seen=f"{path}, line {line} has {len(row)} cells",
                expected=f"{width}, as in line {lines[0]}",
                fix="mend that line, or set data.delimiter if cells are not parted where they should be",
            )
    has_header = _is_header(rows, missing=missing, known_names=known_names) if header == "auto" else bool(header)
    names = tuple(str(place) for place in range(width))
    if has_header:
        titles, rows, lines = rows[0], rows[1:], lines[1:]
        twice = [title for title, times in Counter(titles).items() if title and times > 1]
        if twice:
            raise DataError(
                seen=f"{path} has more than one column {twice[0]!r}",
                expected="a different name in each place of the header",
                fix="rename one of them, or set data.header=false if the first row is data",
            )
        names = tuple(title or name for title, name in zip(titles, names, strict=True))
    if not rows:
        raise DataError(
            seen=f"{path} holds a header and no row",
            expected="one or more rows",
            fix="add rows, leave the file out, or set data.header=false if that line is a row",
        )
    return Table(
        names=names,
        has_header=has_header,
        columns=tuple(np.array(cells, dtype=np.str_) for cells in zip(*rows, strict=True)),
        sources=(path,),
        source_of=np.zeros(len(rows), dtype=np.int64),
        lines=np.array(lines, dtype=np.int64),
    )


def write_table(path: Path, table: Table) -> None:
    """Write a table that `read_table` reads as the same cells: UTF-8, commas, quoted as in RFC 4180."""
    rows = zip(*table.columns, strict=True)
    lines = [",".join(map(_quote, row)) for row in ([table.names] if table.has_header else [])]
    lines += [",".join(_quote(str(cell)) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quote(cell: str) -> str:
    # Every character that a reader may guess to be the delimiter, not the comma alone.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',;|\t"\r\n') else cell


def stack_tables(tables: Sequence[Table]) -> Table:
    """All rows of several files under the names of the first; columns are matched by header, else by place.

    Raises: DataError if a file lacks a column of the first, or holds another number of them.
    """
    first = tables[0]
    orders = [column_order(table, names=first.names, has_header=first.has_header) for table in tables]
    return Table(
        names=first.names,
        has_header=first.has_header,
        columns=tuple(
            np.concatenate([table.columns[order[place]] for table, order in zip(tables, orders, strict=True)])
            for place in range(len(first.names))
        ),
        sources=tuple(source for table in tables for source in table.sources),
        source_of=np.concatenate([np.full(len(table), place) for place, table in enumerate(tables)]),
        lines=np.concatenate([table.lines for table in tables]),
    )


def column_order(
    table: Table, *, names: Sequence[str], has_header: bool, needed: Sequence[str] | None = None
) -> list[int]:
    """Where a table holds the columns that are needed.

    By name if both sides have a header, so a file may order its columns as it likes and hold more of them; by place
    otherwise, and then the number of columns must agree.

    Args:
        table: The file.
        names: All columns of the task's first file, in order.
        has_header: Whether these names come from a header.
        needed: Those to look for; None for all.
    Raises: DataError if a column is not there.
    """
    needed = names if needed is None else needed
    if table.has_header and has_header:
        for name in needed:
            if name not in table.names:
                raise _absent_column(table, name)
        return [table.names.index(name) for name in needed]
    if len(table.names) != len(names):
        raise DataError(
            seen=f"{table.source} has {len(table.names)} columns" + ("" if table.has_header else " and no header"),
            expected=f"{len(names)} columns, as in the other files of the task",
            fix="give the file the same columns in the same order",
        )
    return [names.index(name) for name in needed]


def _absent_column(table: Table, name: str) -> DataError:
    near = difflib.get_close_matches(name, table.names, n=1)
    return DataError(
        seen=f"{table.source} has no column {name!r}",
        expected=f"the columns of the other files of the task; it has {', '.join(table.names[:12])}",
        fix=f"rename {near[0]!r} if that is the one" if near else "add the column, or check its header",
    )


def _read_rows(path: Path, *, delimiter: str | None) -> tuple[list[list[str]], list[int]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter or _guess_delimiter(first), strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if cells and (len(cells) > 1 or cells[0]):  # a blank line reads as no cell, or as one that is empty
                    rows.append(cells)
                    lines.append(reader.line_num)
    except FileNotFoundError:
        raise absent(path) from None
    except IsADirectoryError:
        raise DataError(
            seen=f"{path} is a folder",
            expected="a file",
            fix="name a file in it, or use data=folder for one file per client",
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            seen=f"{path} is not UTF-8 text (byte {error.start})",
            expected="a text file with one row per line",
            fix="save it as CSV in UTF-8",
        ) from None
    except csv.Error as error:
        raise DataError(
            seen=f"{path}, line {reader.line_num} cannot be read: {error}",
            expected="cells quoted as in RFC 4180",
            fix="mend the quotes in that line",
        ) from None
    except OSError as error:
        raise DataError(
            seen=f"{path} cannot be read: {error.strerror}", expected="a readable file", fix="check its permissions"
        ) from None
    if not rows:
        raise DataError(seen=f"{path} is empty", expected="one or more rows", fix="add rows, or leave the file out")
    return rows, lines


def absent(path: Path) -> DataError:
    """The refusal of a path where there is nothing; names what is near."""
    parent = path.parent
    here = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, here, n=1)
    place = f"in {parent.resolve()}" if parent.is_dir() else f"and no folder {parent}"
    return DataError(
        seen=f"there is no {path}",
        expected="a path relative to where the command runs, or an absolute one",
        fix=f"did you mean {parent / near[0]}?" if near else f"nothing of that name is {place}; check the path",
    )


def _guess_delimiter(line: str) -> str:
    outside = "".join(line.split('"')[::2])  # a comma between quotes parts nothing
    return max(",;\t|", key=outside.count)


def _is_header(rows: Sequence[Sequence[str]], *, missing: Sequence[str], known_names: Sequence[str]) -> bool:
    first, below = rows[0], rows[1:]
    if known_names and 2 * sum(cell in known_names for cell in first) >= min(len(first), len(known_names)):
        return True
    titles = [cell for cell in first if cell]
    markers = {marker.casefold() for marker in missing}
    if not titles or len(set(titles)) < len(titles):
        return False
    if any(parse_number(cell) is not None or cell.casefold() in markers for cell in titles):
        return False
    columns = list(zip(*below[:1000], strict=False))  # a thousand rows tell, and reading on costs time
    if any(parse_number(cell) is not None for column in columns for cell in column):
        return True
    return not any(title in column for title, column in zip(first, columns, strict=False) if title)
