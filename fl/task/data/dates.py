"""Dates in cells as numbers: days since 1970, with a fraction where there is a time of day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

ORDERS = ("ymd", "dmy", "mdy")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
_PARTS = {
    "ymd": re.compile(r"(?P<y>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<d>\d{1,2})" + _TIME),
    "dmy": re.compile(r"(?P<d>\d{1,2})(?P<mark>[-/. ])(?P<m>\d{1,2}|[A-Za-z]{3})(?P=mark)(?P<y>\d{4})" + _TIME),
    "mdy": re.compile(r"(?P<m>\d{1,2}|[A-Za-z]{3})(?P<mark>[-/. ])(?P<d>\d{1,2})(?:,? |(?P=mark))(?P<y>\d{4})" + _TIME),
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
    month = found["m"].casefold()
    try:
        at = datetime(
            int(found["y"]),
            _MONTHS.index(month) + 1 if month.isalpha() else int(month),
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


def is_compact_date(cell: str) -> bool:
    """Whether a whole number reads as a date of eight digits, such as 20240131."""
    return bool(_COMPACT.fullmatch(cell)) and days(cell, order="ymd") is not None
