"""One thing written in several ways: values of a column that a reader would take for the same word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from fl.task.data.number import by_size, parse_number

_TRUE = {"true", "t", "yes", "y", "wahr", "ja", "oui", "si", "vrai"}
_FALSE = {"false", "f", "no", "n", "falsch", "nein", "non", "faux"}
_BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_\-./,'\u2019]+(?=\w)")  # what may part two words, or a word and its number
_LONG = 5  # characters from which one wrong letter is a slip


def alike(values: Mapping[str, int]) -> list[list[str]]:
    """Groups of values that differ in case, blanks, accents, marks between words, spelling of a number, or yes and true.

    Args:
        values: How often each occurs.
    Returns: each group by frequency, the most frequent first; a 0 or 1 that stands for a word comes last.
    """
    groups: dict[object, list[str]] = {}
    truths = _truths(values)
    for value in values:
        groups.setdefault(("truth", truths[value]) if value in truths else _key(value), []).append(value)
    found = [
        # A word before the 0 or 1 that stands for it.
        sorted(group, key=lambda value: (value in truths and parse_number(value) is not None, -values[value], value))
        for group in groups.values()
        if len(group) > 1
    ]
    return sorted(found, key=lambda group: by_size(group[0]))


def similar(value: str, known: Sequence[str]) -> str | None:
    """The one known value that a value may stand for: alike, its first letters, or one letter off; None if none is."""
    for group in alike(dict.fromkeys([value, *known], 1)):
        if value in group:
            return next((each for each in known if each in group), None)
    own = _key(value)
    if not isinstance(own, str) or not own:
        return None
    keys = {each: key for each in known if isinstance(key := _key(each), str) and key}
    begun = [each for each, key in keys.items() if key.startswith(own) or own.startswith(key)]
    slips = [each for each, key in keys.items() if min(len(own), len(key)) >= _LONG and _one_off(own, key)]
    near = begun or slips
    return near[0] if len(near) == 1 else None


def merge_map(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Every value of some groups with the one to write it as: the first of its group."""
    return {value: group[0] for group in groups for value in group}


def _truths(values: Iterable[str]) -> dict[str, bool]:
    folded = {value: value.casefold() for value in values}
    words = set(folded.values())
    digits = {value for value in values if parse_number(value) is not None}
    # 0 and 1 stand for no and yes where no other number does, a single letter where no other letter stands alone.
    bits = all(parse_number(value) in (0, 1) for value in digits)
    letters = all(word in _TRUE | _FALSE for word in words if len(word) == 1 and word.isalpha())
    long = {word for word in words if word in _TRUE | _FALSE and (letters or len(word) > 1)}
    if not long:
        return {}
    truths = {value: word in _TRUE for value, word in folded.items() if word in long}
    if bits:
        truths |= {value: parse_number(value) == 1 for value in digits}
    return truths


def _key(value: str) -> object:
    number = parse_number(value)
    if number is not None:
        return Decimal(value)  # exact: long codes must not meet in a float
    text = unicodedata.normalize("NFKD", value).casefold()
    text = "".join(mark for mark in text if unicodedata.category(mark) not in ("Mn", "Cf"))
    text = _BETWEEN.sub(" ", " ".join(text.split())).strip(" .\"'")
    return text.replace(" ", "") if not any(mark.isdecimal() for mark in text) else text


def _one_off(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[start:], other[start:]
    return one[1:] == other[1:] or one[1:] == other or one == other[1:]
