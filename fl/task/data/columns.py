"""Match the columns of several files: by name where they have headers, by place where none has."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from fl.plain_text import plural
from fl.task.data.errors import DataError
from fl.task.data.table import Table

_MOST_NAMED = 12  # columns in a message
_SHORTEST_TITLE = 3  # characters from which one title may be the beginning of another


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
        if absent := [name for name in needed if name not in table.names]:
            raise _absent_columns(table, absent, needed=needed)
        return [table.names.index(name) for name in needed]
    if len(table.names) != len(names):
        raise DataError(
            seen=f"{table.source} has {plural(len(table.names), 'column')}"
            + ("" if table.has_header else " and no header"),
            expected=f"{plural(len(names), 'column')}, as in the other files of the task",
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


def _absent_columns(table: Table, absent: Sequence[str], *, needed: Sequence[str]) -> DataError:
    """All of them at once: whoever renames one column after the other would be refused as often."""
    free = [title for title in table.names if title not in needed]
    renamed: dict[str, str] = {}
    for name in absent:
        if (near := _nearest(name, free)) is not None:
            renamed[name] = near
            free.remove(near)
    to_add = [repr(name) for name in absent if name not in renamed]
    if further := table.where(absent[0]):
        fix = further if len(absent) == 1 else further.replace(" holds it:", " holds them:")
    elif len(absent) == 1:
        fix = (
            f"rename {next(iter(renamed.values()))!r} if that is the one"
            if renamed
            else "add the column, or check its header"
        )
    else:
        swaps = ", ".join(f"{title!r} to {name!r}" for name, title in list(renamed.items())[:_MOST_NAMED])
        added = f"add {', '.join(to_add[:_MOST_NAMED])}, or check the header" if to_add else ""
        fix = "; ".join(filter(None, (f"rename {swaps} if those are the ones" if swaps else "", added)))
    listed = ", ".join(map(repr, absent[:_MOST_NAMED])) + (", ..." if len(absent) > _MOST_NAMED else "")
    return DataError(
        seen=f"{table.source} has no column{'s' if len(absent) > 1 else ''} {listed}",
        expected=f"the task's columns; it has {', '.join(table.names[:_MOST_NAMED])}",
        fix=fix,
    )


def _nearest(name: str, titles: Sequence[str]) -> str | None:
    """The title that may be meant: the same but for case and marks, a few letters off, or one that begins with the other."""
    plain = {title: title.casefold().replace("_", " ").strip() for title in titles}
    own = name.casefold().replace("_", " ").strip()
    same = [title for title, words in plain.items() if words == own]
    close = difflib.get_close_matches(name, titles, n=1)
    begun = [
        title
        for title, words in plain.items()
        if min(len(words), len(own)) >= _SHORTEST_TITLE and (words.startswith(own) or own.startswith(words))
    ]
    return next(iter([*same, *close, *begun]), None)
