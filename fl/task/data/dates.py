"""Dates in cells as numbers: days since 1970, with a fraction where there is a time of day."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

ORDERS = ("ymd", "dmy", "mdy")
# How the names of months begin, in English, German, French, Spanish, Italian, Portuguese and Dutch; without accents.
_MONTHS = (
    "jan ene gen",
    "feb fev",
    "mar mrz maa",
    "apr avr abr",
    "may mai mei mag",
    "jun juin giu",
    "jul juil lug",
    "aug aou ago",
    "sep set",
    "oct okt ott out",
    "nov",
    "dec dez dic",
)
_TIME = r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
_PARTS = {
    "ymd": re.compile(r"(?P<y>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<d>\d{1,2})" + _TIME),
    "dmy": re.compile(
        r"(?P<d>\d{1,2})(?P<mark>[-/. ]|\. )(?P<m>\d{1,2}|[^\W\d_]{3,10}\.?)(?: |(?P=mark))(?P<y>\d{4})" + _TIME
    ),
    "mdy": re.compile(
        r"(?P<m>\d{1,2}|[^\W\d_]{3,10})(?P<mark>[-/. ]|\. )(?P<d>\d{1,2})(?:,? |(?P=mark))(?P<y>\d{4})" + _TIME
    ),
}
_COMPACT = re.compile(r"(?P<y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def days(cell: str, *, order: str) -> float | None:
    """Days from 1970-01-01 (UTC, unless the cell names an offset) to a date, or None for anything else.

    Years have four digits: of two, nobody can tell the century.

    Args:
        order: ymd, dmy or mdy; 20240131 is ymd too.
    """
    found = _PARTS[order].fullmatch(cell)
    if found is None and order == "ymd":
        found = _COMPACT.fullmatch(cell)
    if found is None:
        return None
    clock = (found.groups()[-5:] if found.re is not _COMPACT else None) or (None,) * 5
    hour, minute, second, fraction, offset = clock
    month = _month(found["m"])
    if month is None:
        return None
    try:
        at = datetime(
            int(found["y"]),
            month,
            int(found["d"]),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=UTC,
        )
    except ValueError:  # no such month, day or hour
        return None
    if offset and offset != "Z":
        sign = -1 if offset[0] == "-" else 1
        at -= sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return (at - _EPOCH) / timedelta(days=1) + float(fraction or 0) / 86400


def _month(text: str) -> int | None:
    if text.isdecimal():
        return int(text)
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", text.casefold()) if mark.isalpha())
    begun = [
        (len(name), number)
        for number, names in enumerate(_MONTHS, 1)
        for name in names.split()
        if plain.startswith(name)
    ]
    return max(begun)[1] if begun else None


def is_compact_date(cell: str) -> bool:
    """Whether a whole number reads as a date of eight digits, such as 20240131."""
    return bool(_COMPACT.fullmatch(cell)) and days(cell, order="ymd") is not None
