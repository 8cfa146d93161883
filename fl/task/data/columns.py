"""Match the columns of several files: by name where they have headers, by place where none has."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from fl.task.data.errors import DataError
from fl.task.data.table import Table


def stack_tables(tables: Sequence[Table], *, optional: Collection[str] = ()) -> Table:
    """All rows of several files under the names of the first.

    Args:
        tables: One or more.
        optional: Columns that give no feature: a file may lack them, and holds nothing in them then.
    Raises: DataError if a file lacks another column of the first, holds another number of them, or has no header where
        the first has one.
    """
    first = tables[0]
    aligned = [align(table, like=first, optional=optional) for table in tables]
    return replace(
        first,
        columns=tuple(np.concatenate([table.columns[place] for table in aligned]) for place in range(len(first.names))),
        sources=tuple(source for table in tables for source in table.sources),
        source_of=np.concatenate([np.full(len(table), place) for place, table in enumerate(tables)]),
        lines=np.concatenate([table.lines for table in tables]),
    )


def align(table: Table, *, like: Table, optional: Collection[str] = ()) -> Table:
    """The columns of a file under the names, and in the order, of another.

    Args:
        table: The file.
        like: The file whose columns count.
        optional: Columns that may be absent.
    Raises: DataError, as `stack_tables`.
    """
    by_name = table.has_header and like.has_header
    needed = [name for name in like.names if not (by_name and name in optional and name not in table.names)]
    places = column_order(table, names=like.names, has_header=like.has_header, needed=needed)
    found = dict(zip(needed, places, strict=True))
    nothing = np.full(len(table), "", dtype=np.str_)
    return replace(
        table,
        names=like.names,
        has_header=like.has_header,
        columns=tuple(table.columns[found[name]] if name in found else nothing for name in like.names),
        untitled=like.untitled,
    )


def column_order(
    table: Table,
    *,
    names: Sequence[str],
    has_header: bool,
    needed: Sequence[str] | None = None,
    by_place: bool = False,
) -> list[int]:
    """Where a table holds the columns that are needed.

    By name if both sides have a header, so a file may order its columns as it likes and hold more of them. By place if
    neither has, or somebody said so; then the number of columns must agree.

    Args:
        table: The file.
        names: All columns of the task's first file, in order.
        has_header: Whether these names come from a header.
        needed: Those to look for; None for all.
        by_place: A file without a header has its columns in the order of the names: its owner says so.
    Raises: DataError if a column is not there, or a file has no header among those that have.
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
    if table.has_header != has_header and not by_place:
        listed = ", ".join((names if has_header else table.names)[:12])
        raise DataError(
            seen=f"{table.source} has " + ("no header" if has_header else f"a header ({listed})"),
            expected=f"a header like the other files of the task ({listed}): nobody can tell whether the order is theirs"
            if has_header
            else "none, as in the other files of the task",
            fix="add that line, in the file's own order; a node whose file is in the task's order sets header=false"
            if has_header
            else "set data.header=true if the first line of every file names the columns; else remove the line",
        )
    return [names.index(name) for name in needed]


def _absent_column(table: Table, name: str) -> DataError:
    near = difflib.get_close_matches(name, table.names, n=1)
    same = [each for each in table.names if each.casefold().replace("_", " ") == name.casefold().replace("_", " ")]
    near = same[:1] or near
    return DataError(
        seen=f"{table.source} has no column {name!r}",
        expected=f"the columns of the other files of the task; it has {', '.join(table.names[:12])}",
        fix=f"rename {near[0]!r} if that is the one" if near else "add the column, or check its header",
    )
