"""Numbers that are not written as a program writes them, read by settings; and which settings would read a column.

A cell that is read is put down in the plain spelling, before anything else looks at it: schemas, shards and nodes know
one way to write a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from fl.task.data.advice import setting
from fl.task.data.dates import ORDERS, days
from fl.task.data.number import parse_number

DECIMALS = ("point", "comma", "either")
THOUSANDS = ("none", "comma", "point", "space", "apostrophe")
CENSORED = ("refuse", "bound", "half", "missing")
DATES = ("refuse", *ORDERS)
_SPACES = " \u00a0\u202f\u2009"
_MARKS = {"comma": ",", "point": r"\.", "space": f"[{_SPACES}]", "apostrophe": "['\u2019]"}
_MINUS = "\u2212"  # the mathematical sign, as word processors write it
_BOUND = re.compile(r"(<=|>=|[<>\u2264\u2265])\s*(.+)")
_SHORT_YEAR = re.compile(r"\d{1,2}[-/. ](?:\d{1,2}|[^\W\d_]{3,4}\.?)[-/. ]'?\d{2}(?: .*)?")
_RANGE = re.compile(r"[\d.,]+\s*(?:[-/\u2013]|to)\s*[\d.,]+|[\d.,]+")
# What some people write numbers as, and what to write instead.
_OTHERWISE = (
    (re.compile(r"\(\s*[^\w\s]?\s*[\d.,]+\s*\)"), "write what is in brackets with a minus, -5 for (5)"),
    (re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s*[aApP]\.?[mM]\.?)?"), "write a time of day in hours, 13.5 for 13:30"),
    (re.compile(r"[+-]?[\d.,]+\s*[×x*·]\s*10\s*\^?\s*[+\u2212-]?\s*\d+"), "write powers of ten as 1.2e3"),
    (re.compile(r"0[xX][0-9a-fA-F]+"), "write hexadecimal numbers in decimal digits"),
    (
        re.compile(r"\d+(?:[.,]\d+)?\s*[°º](?:\s*\d.*)?\s*[NSEWOnsew]?"),
        "write degrees, minutes and seconds as one number of degrees",
    ),
)
# Beside a number these multiply it: read as units, 5k would be less than 500.
_MULTIPLIERS = {
    "k", "K", "M", "Mio", "mio", "Mio.", "mn", "Mn", "Mrd", "Mrd.", "bn", "B", "tsd", "Tsd.", "thousand", "million", "billion",
    "lakh", "crore", "万", "億", "亿",
}  # fmt: skip
# A word, a sign or a currency beside a number: 5 mg/l, 12%, € 40, 37.2 °C.
_BESIDE = re.compile(
    r"(?P<before>(?:[A-Z]{3}(?=\s)|[^\w\s.,+<>\u2212-]{0,2}?))\s*"
    r"(?P<number>[+\u2212-]?[\d.,]*\d)\s*(?P<after>[^\d\s.,:/-][^\d\s]{0,11})?"
)


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How numbers are written in a file. A plain number is read by every one of them that does not contradict it."""

    decimal: str = "point"  # point | comma | either: a number has one of the two at most
    thousands: str = "none"  # none | comma | point | space | apostrophe
    censored: str = "refuse"  # "<5" and ">90": refuse | bound (5, 90) | half (2.5, 90) | missing
    dates: str = "refuse"  # refuse | ymd | dmy | mdy: days since 1970
    units: tuple[str, ...] = ()  # what may stand beside a number; in one column, one of them

    @property
    def plain(self) -> bool:
        """Whether it reads no more than plain numbers."""
        return self == Spelling()

    def read(self, cell: str) -> tuple[str, str] | None:
        """The plain spelling of a number, and the unit that stood beside it; None if the cell holds something else.

        The plain spelling of a censored value that counts as missing is the empty cell.
        """
        if self.dates != "refuse" and (day := days(cell, order=self.dates)) is not None:
            return repr(day), ""
        cell, unit = self._without_unit(cell)
        bound = _BOUND.fullmatch(cell) if self.censored != "refuse" else None
        number = self._number(bound[2] if bound else cell)
        if number is None:
            return None
        if bound and self.censored == "missing":
            return "", unit
        if bound and self.censored == "half" and bound[1] in ("<", "<=", "\u2264"):
            return repr(float(number) / 2), unit
        return number, unit

    def _without_unit(self, cell: str) -> tuple[str, str]:
        for unit in sorted(self.units, key=len, reverse=True):
            bare = cell.removesuffix(unit) if cell.endswith(unit) else cell.removeprefix(unit)
            if bare != cell:
                return bare.strip(), unit
        return cell, ""

    def _number(self, cell: str) -> str | None:
        cell = cell.replace(_MINUS, "-")
        mark = {"point": r"\.", "comma": ",", "either": "[.,]"}[self.decimal]
        whole = r"\d+"
        if self.thousands != "none":
            between = _MARKS[self.thousands]
            # By three, or as in India: 12,34,567.
            whole = rf"(?:\d{{1,3}}(?:{between}\d{{3}})+|\d{{1,2}}(?:{between}\d{{2}})+{between}\d{{3}}|\d+)"
        found = re.fullmatch(rf"([+-]?)({whole})?(?:({mark})(\d*))?([eE][+-]?\d+)?", cell)
        if found is None or not (found[2] or found[4]):
            return None
        digits = re.sub(r"\D", "", found[2] or "")
        if found[3] is None and found[2] == digits:
            return cell if parse_number(cell) is not None else None
        text = f"{found[1]}{digits}" + ("" if found[3] is None else f".{found[4]}") + (found[5] or "")
        return text if parse_number(text) is not None else None


def multiplies(unit: str) -> bool:
    """Whether what stands beside a number may stand for thousands or millions of it."""
    return unit in _MULTIPLIERS


def looks_like_thousands(cell: str, *, mark: str) -> bool:
    """Whether each of a number's marks stands before three digits, as in 1,234: it may part thousands, or be decimal."""
    return bool(re.fullmatch(rf"[+\u2212-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+", cell))


def holds_digit(cell: str) -> bool:
    """Whether any character is a digit."""
    return any(character.isdecimal() for character in cell)


def settings_that_read(words: Iterable[str], *, now: Spelling) -> list[str]:
    """The fewest settings by which all these cells are numbers, as one would type them; empty if none would do.

    Args:
        words: Cells that hold digits and are no number by the spelling in force.
        now: The spelling in force.
    """
    cells = list(words)[:5000]
    if not cells:
        return []
    options: dict[str, Sequence[object]] = {
        "decimal": [each for each in ("comma", "point", "either") if each != now.decimal],
        "thousands": [each for each in THOUSANDS[1:] if each != now.thousands],
        "censored": ["half"] if now.censored == "refuse" else [],
        "dates": [each for each in ORDERS if each != now.dates],
        "units": [(*now.units, *found)] if (found := _units(cells)) else [],
    }
    for count in (1, 2, 3):
        told = []
        for names in combinations(options, count):
            for values in product(*(options[name] for name in names)):
                changed: dict[str, Any] = dict(zip(names, values, strict=True))
                trial = replace(now, **changed)
                taken = {"comma": ("comma",), "point": ("point",), "either": ("comma", "point")}[trial.decimal]
                if trial.thousands in taken or ("dates" in changed and count > 1):
                    continue
                read = [trial.read(cell) for cell in cells]
                if None not in read and len({found[1] for found in read if found} - {""}) <= 1:
                    told.append(" ".join(setting(name, value) for name, value in changed.items()))
        if told:
            # `either` says less than the mark that all of them have.
            return [each for each in told if "either" not in each] or told
    return []


def advice_on(words: Sequence[str]) -> str:
    """What to do to cells that no setting reads, if that can be told; else nothing."""
    for form, told in _OTHERWISE:
        if any(form.fullmatch(word) for word in words) and all(
            form.fullmatch(word) or parse_number(word.replace(",", ".")) is not None for word in words
        ):
            return told
    if len(units := _units(words)) > 1:
        return f"convert its units ({', '.join(units)}) to one"
    if all(_SHORT_YEAR.fullmatch(word) for word in words):
        return "write its years in four digits, and set data.dates: of two, nobody can tell the century"
    if all(_RANGE.fullmatch(word) for word in words):
        return "write one number for a range or a fraction"
    return ""


def _units(cells: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for cell in cells:
        parts = _BESIDE.fullmatch(re.sub(_BOUND, r"\2", cell))
        for word in (parts["before"], parts["after"]) if parts else ():
            if word and word.strip() not in found:
                found.append(word.strip())
        if len(found) > 3:
            return ()
    return tuple(found)
