"""Put a file's cells down as the task writes them: levels by the map, numbers in the plain spelling and the task's unit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.task.data.advice import setting, shown
from fl.task.data.cells import distinct, missing_cells
from fl.task.data.errors import DataError
from fl.task.data.file_style import FileStyle
from fl.task.data.header import normal
from fl.task.data.kinds import FEW_NUMBERS
from fl.task.data.number import parse_conversion, parse_number, spell
from fl.task.data.spelling import Spelling, looks_like_thousands, multiplies
from fl.task.data.table import Table


def restyle(
    table: Table,
    *,
    style: FileStyle,
    missing: Sequence[str],
    as_text: Collection[str] = (),
    level_map: Sequence[tuple[str, str, str]] = (),
    group: str | None = None,
    own_marks: Sequence[str] = (),
) -> Table:
    """The table with plain cells.

    A column is read as numbers if at least half of its values are numbers by the style's spelling; what is none then
    stays, and is refused by whoever expects numbers there.

    Args:
        table: As read.
        style: Of the file.
        missing: What stands for no value.
        as_text: Columns that are identifiers or categories, taken as they are written.
        level_map: (column, level, name) of the task.
        group: The column that names the sites within the file, for factors of one site.
        own_marks: Marks of a missing value that only this file has; put down as the first of `missing`.
    Raises: DataError for a column that contradicts the style, or a map or factor of a column that is not there.
    """
    table = map_levels(table, [*level_map, *split_level_map(style.level_map, names=table.names)])
    nothing = "" if "" in missing else (*missing, "")[0]
    changed: dict[int, NDArray[np.str_]] = {}
    if own_marks:
        table = table.with_columns(
            {
                place: np.where(missing_cells(cells, missing=own_marks), nothing, cells)
                for place, cells in enumerate(table.columns)
            }
        )
    for place, name in enumerate(table.names):
        if (
            name not in as_text
            and (cells := _respell(table, place, spelling=style.spelling, missing=missing, nothing=nothing)) is not None
        ):
            changed[place] = cells
    table = table.with_columns(changed) if changed else table
    for entry in style.scale:
        table = _scale(table, entry, missing=missing, group=group)
    return table


def split_level_map(entries: Sequence[str], *, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """COLUMN:LEVEL:NAME entries, parted where the columns are known: each of the three may hold a colon.

    Raises: DataError if an entry names no column.
    """
    parted = []
    for entry in entries:
        ends = [at for at, mark in enumerate(entry) if mark == ":" and normal(entry[:at].strip()) in names]
        ends = [at for at in ends if ":" in entry[at + 1 :]]
        if not ends:
            raise DataError(
                seen=f"data.level_map holds {entry!r}",
                expected=f"a column of the file before the first colon ({', '.join(names[:12])})",
                fix="write COLUMN:LEVEL:NAME",
            )
        level, _, name = entry[ends[-1] + 1 :].rpartition(":")
        parted.append((normal(entry[: ends[-1]].strip()), level.strip(), name.strip()))
    return parted


def map_levels(table: Table, level_map: Sequence[tuple[str, str, str]]) -> Table:
    """The table with each level that is mapped under its name; columns that it lacks are passed over."""
    maps: dict[str, dict[str, str]] = {}
    for column, level, name in level_map:
        maps.setdefault(column, {})[spell(level)] = name
    changed = {
        place: mapped(table.columns[place], maps[name]) for place, name in enumerate(table.names) if name in maps
    }
    return table.with_columns(changed) if changed else table


def mapped(cells: NDArray[np.str_], names: Mapping[str, str]) -> NDArray[np.str_]:
    """Each cell under the name of its value, where there is one, shape (N,)."""
    values, inverse = distinct(cells)
    return np.array([names.get(spell(cell), cell) for cell in values], dtype=np.str_)[inverse]


def _respell(
    table: Table, place: int, *, spelling: Spelling, missing: Sequence[str], nothing: str
) -> NDArray[np.str_] | None:
    values, inverse = distinct(table.columns[place])
    if spelling.plain and not any("\u2212" in cell for cell in values):
        return None
    counts = np.bincount(inverse, minlength=len(values))
    absent = missing_cells(np.array(values, dtype=np.str_), missing=missing)
    read = {str(cell): None if gone else spelling.read(str(cell)) for cell, gone in zip(values, absent, strict=True)}
    present = int(counts[~absent].sum())
    readable = sum(int(count) for cell, count in zip(values, counts, strict=True) if read[str(cell)] is not None)
    words = [cell for cell, gone in zip(map(str, values), absent, strict=True) if not gone and read[cell] is None]
    kinds = len(values) - int(absent.sum()) - len(words)
    # Many numbers beside few words are numbers, however often the words stand there.
    if not readable or (2 * readable < present and kinds <= max(FEW_NUMBERS, len(words))):
        return None
    name = table.names[place]
    units = sorted({found[1] for found in read.values() if found and found[1]})
    if len(units) > 1:
        raise DataError(
            seen=f"column {name!r} of {table.source} holds numbers of several units ({', '.join(units)})",
            expected="one unit in a column",
            fix="convert the cells of the others",
        )
    _check_multiplier(table, place, read=read, unit="".join(units))
    other = [cell for cell, found in read.items() if found is None and parse_number(cell) is not None]
    other = [cell for cell, gone in zip(map(str, values), absent, strict=True) if cell in other and not gone]
    if other:
        raise DataError(
            seen=f"column {name!r} of {table.source} holds {shown(other)}, which is not a number by "
            f"{setting('decimal', spelling.decimal)} {setting('thousands', spelling.thousands)}",
            expected="one way to write numbers in a column",
            fix="set data.thousands=point if its points part thousands, or data.decimal=either if they are decimal too",
        )
    commas = [cell for cell in read if read[cell] is not None and "," in cell]
    if spelling.decimal == "either" and commas and all(looks_like_thousands(cell, mark=",") for cell in commas):
        raise DataError(
            seen=f"column {name!r} of {table.source} holds {shown(commas)}, where the comma may be decimal or part thousands",
            expected="data.decimal=comma or data.thousands=comma",
            fix="set the one that is meant",
        )
    plain = [found[0] or nothing if (found := read[str(cell)]) is not None else str(cell) for cell in values]
    return np.array(plain, dtype=np.str_)[inverse]


def _check_multiplier(table: Table, place: int, *, read: Mapping[str, tuple[str, str] | None], unit: str) -> None:
    """Refuse 5k beside 500, which would come out as 5 and 500."""
    bare = [cell for cell, found in read.items() if found and found[0] and not found[1] and float(found[0])]
    if not bare or not multiplies(unit):
        return
    beside = next(cell for cell, found in read.items() if found and found[1])
    raise DataError(
        seen=f"column {table.names[place]!r} of {table.source} holds {beside!r} beside {shown(bare, most=3)}",
        expected=f"{unit!r} at all numbers of a column, or at none: as a unit it is left out and multiplies nothing",
        fix="write the numbers out",
    )


def _scale(table: Table, entry: str, *, missing: Sequence[str], group: str | None) -> Table:
    key, _, text = entry.rpartition(":")
    conversion = parse_conversion(text)
    assert conversion is not None, "checked with the settings"
    factor, offset = conversion
    name, site = normal(key.strip()), None
    if name not in table.names:
        ends = [at for at, mark in enumerate(key) if mark == ":" and normal(key[at + 1 :].strip()) in table.names]
        if not ends:
            raise DataError(
                seen=f"data.scale holds {entry!r}",
                expected=f"COLUMN:FACTOR of one of the columns {', '.join(table.names[:12])}",
                fix="name one of them",
            )
        site, name = key[: ends[0]].strip(), normal(key[ends[0] + 1 :].strip())
    place = table.names.index(name)
    cells = table.columns[place]
    here = np.ones(len(table), dtype=np.bool_)
    if site is not None and group is not None:
        here = table.columns[table.names.index(group)] == site
    elif site is not None and site not in {table.sources[0].name, site_name(table.sources[0].name)}:
        return table
    rows = np.flatnonzero(here & ~missing_cells(cells, missing=missing))
    scaled = cells.astype(object)
    for row in rows:
        number = parse_number(str(cells[row]))
        if number is None:
            raise DataError(
                seen=f"{table.place(int(row))}, column {name!r} holds {str(cells[row])!r}",
                expected=f"a number, to multiply by data.scale={entry}",
                fix="correct the cell, or add it to data.missing if it stands for no value",
            )
        scaled[row] = str(cells[row]) if conversion == (1, 0) else repr(number * factor + offset)
    return table.with_columns({place: scaled.astype(np.str_)})


def site_name(file: str) -> str:
    """A file's name without what it is: north of north.csv.gz."""
    stem, dot, suffix = file.rpartition(".")
    if dot and suffix.lower() in ("gz", "bz2", "xz"):
        stem, dot, suffix = stem.rpartition(".")
    return stem if dot else file
