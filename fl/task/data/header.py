"""Whether the first row of a file names its columns, and the names that follow."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fl.task.data.errors import DataError
from fl.task.data.number import parse_number
from fl.task.data.spelling import Spelling, holds_digit

_LOOKED_AT = 1000  # rows below; they tell, and reading on costs time


def is_header(
    rows: Sequence[Sequence[str]],
    *,
    missing: Sequence[str],
    known_names: Sequence[str] = (),
    path: Path,
    spelling: Spelling,
) -> bool:
    """Whether the first row is no data.

    It is a header if half of it are names that the other files have; if it numbers the columns (0, 1, 2, ... or 1, 2, 3,
    ...); if a word stands where all else in the column are numbers; or if it is all words, of which none comes again
    below.

    Args:
        rows: Of the file.
        missing: Marks of a missing value.
        known_names: That other files have.
        path: For messages.
        spelling: How numbers are written.
    Raises: DataError if a word stands above numbers and a number beside it may be data too.
    """
    first, below = rows[0], rows[1 : _LOOKED_AT + 1]
    if known_names and 2 * sum(title in known_names for title in map(normal, first)) >= min(
        len(first), len(known_names)
    ):
        return True
    markers = {marker.casefold() for marker in missing}
    titles = {place: cell for place, cell in enumerate(first) if cell}
    if not titles or any(cell.casefold() in markers for cell in titles.values()):
        return False
    numbers = {place: int(cell) for place, cell in titles.items() if cell.isdecimal()}
    others = {place: cell for place, cell in titles.items() if place not in numbers and _may_be_number(cell, spelling)}
    columns = [[row[place] for row in below if place < len(row)] for place in range(len(first))]
    held = [[cell for cell in column if cell and cell.casefold() not in markers] for column in columns]
    words = [place for place in titles if place not in numbers and place not in others]
    # A word over nothing but numbers cannot be data.
    impossible = [
        place for place in words if held[place] and all(spelling.read(cell) is not None for cell in held[place])
    ]
    counted = not others and (not numbers or _counts_on(numbers))
    if not counted:
        if impossible:
            number = first[min(others or numbers)]
            raise DataError(
                seen=f"the first line of {path} holds {first[impossible[0]]!r} where the rows below hold numbers, and "
                f"{number!r} beside it",
                expected="a header of names, or a row of data",
                fix="set data.header=true if it names the columns; else correct the cell, or set data.header=false",
            )
        return False
    again = any(titles[place] in columns[place] for place in words)
    # A whole row that counts 0, 1, 2, 3 is hardly a row of data; two numbers may well be.
    enough = not numbers or len(numbers) > 3 or (bool(words) and len(numbers) > 1)
    some = any(spelling.read(cell) is not None for column in held for cell in column)
    alone = not numbers and some and len(set(titles.values())) == len(titles)
    return bool(impossible) or alone or (not again and enough)


def titles_of(first: Sequence[str]) -> tuple[str, ...]:
    """The names that a header gives: a column without a title has its place, and titles that occur twice are numbered.

    So `test, result, test` is `test.1, result, test.2`: nobody has to guess which of two columns a name means.
    """
    titles = [normal(title) or str(place) for place, title in enumerate(first)]
    times, seen = Counter(titles), Counter[str]()
    names: list[str] = []
    for title in titles:
        name = title
        while times[title] > 1 and (name == title or name in titles or name in names):
            seen[title] += 1
            name = f"{title}.{seen[title]}"
        names.append(name)
    return tuple(names)


def normal(title: str) -> str:
    """A title in the composed form of Unicode: an é is one name, whichever system wrote it."""
    return unicodedata.normalize("NFC", title)


def _may_be_number(cell: str, spelling: Spelling) -> bool:
    # Written in whatever way, such as 1.234,5 or <5 or 2024-01-31: no title can be made out of it.
    bare = holds_digit(cell) and not any(mark.isalpha() for mark in cell)
    return bare or parse_number(cell) is not None or spelling.read(cell) is not None


def _counts_on(numbers: dict[int, int]) -> bool:
    # 0, 1, 2 by place, or 2019, 2020, 2021: names, one after the other.
    places = sorted(numbers)
    steps = [numbers[after] - numbers[before] for before, after in pairwise(places)]
    by_place = {numbers[place] - place for place in places}
    return by_place in ({0}, {1}) or (len(places) > 1 and all(step == 1 for step in steps))
