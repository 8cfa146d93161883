"""One thing written in several ways: values of a column that a reader would take for the same word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal

from fl.task.data.number import by_size, parse_number

# Words of one meaning in several languages, without accents, as `_plain` writes them.
_YES = "true t yes y on wahr ja j oui vrai si sim verdadeiro verdadero vero tak prawda ano da да истина evet kylla igen hai ναι 是 はい 예"
_NO = "false f no n off falsch nein non faux nao falso nie falsz ne нет ложь hayir ei nem nee nej nei iie οχι 否 いいえ 아니오"
_SEEN, _UNSEEN = (
    "pos positive positiv positif positivo + detected",
    "neg negative negativ negatif negativo - undetected",
)
_OPPOSITES = tuple((frozenset(yes.split()), frozenset(no.split())) for yes, no in ((_YES, _NO), (_SEEN, _UNSEEN)))
_MISREAD = re.compile("[\u00c2\u00c3\u00e2\u00d0\u00d1]")  # what UTF-8 begins with where it was read as cp1252: KÃ¶ln
_BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_\-./,'\u2019]+(?=\w)")  # what may part two words, or a word and its number
_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_LETTERS = {letters: number for number, letters in enumerate(_NUMERALS, 1)}
# A number in letters behind a word, or alone if it is longer than one: stage II, IV.
_ROMAN = re.compile(rf"(.+ (?=[ivx])|(?=[ivx]{{2}}))({'|'.join(_NUMERALS)})")
_SHORT = 4  # characters from which a word is whole
_LONG = 5  # characters from which one wrong letter is a slip


def alike(values: Mapping[str, int]) -> list[list[str]]:
    """Groups of values that differ in case, blanks, accents, marks between words, spelling of a number, or yes and true.

    Args:
        values: How often each occurs.
    Returns: each group by frequency, the most frequent first; a 0 or 1 that stands for a word comes last.
    """
    groups: dict[object, list[str]] = {}
    truths = _truths(values)
    whole = _abbreviated(values)
    for value in values:
        key = ("truth", truths[value]) if value in truths else _key(whole.get(value, value))
        groups.setdefault(key, []).append(value)
    found = [
        # A word before the number or sign that stands for it, and before itself in a wrong encoding.
        sorted(
            group,
            key=lambda value: (value in truths and not value[:1].isalpha(), _misread(value), -values[value], value),
        )
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


def _truths(values: Iterable[str]) -> dict[str, object]:
    """What values say that stand for yes or no, or for positive or negative."""
    folded = {value: _plain(value).strip(" .\"'") for value in values}
    digits = {value for value in values if parse_number(value) is not None}
    words = {word for value, word in folded.items() if value not in digits}
    for true, false in _OPPOSITES:
        # A single letter where no other letter stands alone; and most of them, for NO, SI and NE are countries too.
        letters = all(word in true | false for word in words if len(word) == 1 and word.isalpha())
        meant = {word for word in words if word in true | false and (letters or len(word) > 1 or not word.isalpha())}
        if not meant or 2 * len(meant) < len(words):
            continue
        truths: dict[str, object] = {value: word in true for value, word in folded.items() if word in meant}
        # 0 and 1 stand for no and yes where no other number does.
        if all(parse_number(value) in (0, 1) for value in digits):
            truths |= {value: parse_number(value) == 1 for value in digits}
        return truths
    return {}


def _abbreviated(values: Iterable[str]) -> dict[str, str]:
    """The whole word of each short one, where all values are pairs of both, as M, F, male and female are; else nothing."""
    keys = {value: key for value in values if isinstance(key := _key(value), str) and key.isalpha()}
    if len(keys) < len(list(values)):
        return {}
    short = {value: key for value, key in keys.items() if len(key) < _SHORT}
    long = {value: key for value, key in keys.items() if len(key) >= _SHORT}
    meant: dict[str, str] = {}
    for value, key in short.items():
        begun = [word for word, other in long.items() if other.startswith(key)]
        if len({keys[word] for word in begun}) != 1:
            return {}
        meant[value] = begun[0]
    paired = {keys[word] for word in meant.values()}
    return (
        meant
        if len(set(short.values())) > 1 and len(paired) == len(set(short.values())) == len(set(long.values()))
        else {}
    )


def _key(value: str) -> object:
    number = parse_number(value)
    if number is not None:
        return Decimal(value)  # exact: long codes must not meet in a float
    text = _plain(value)
    text = _BETWEEN.sub(" ", " ".join(text.split())).strip(" .\"'")
    if roman := _ROMAN.fullmatch(text):
        text = f"{roman[1]}{_LETTERS[roman[2]]}"
        if not roman[1]:
            return Decimal(text)
    return text.replace(" ", "") if not any(mark.isdecimal() for mark in text) else text


def _as_meant(value: str) -> str:
    """UTF-8 that somebody read as cp1252, read anew; all else as it is."""
    if _MISREAD.search(value):
        with suppress(UnicodeError):
            return value.encode("cp1252").decode("utf-8")
    return value


def _misread(value: str) -> bool:
    return _as_meant(value) != value


def _plain(value: str) -> str:
    """Without case, accents and marks that nobody sees; what was read in a wrong encoding as it was meant."""
    value = _as_meant(value)
    text = unicodedata.normalize("NFKD", value).casefold().replace("\u0131", "i").replace("\u0142", "l")
    return "".join(mark for mark in text if unicodedata.category(mark) not in ("Mn", "Cf"))


def _one_off(name: str, other: str) -> bool:
    if abs(len(name) - len(other)) > 1:
        return False
    start = next((at for at, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))
    name, other = name[start:], other[start:]
    if any(mark.isdecimal() for mark in (name[:1] + other[:1])):
        return False  # another number is another thing: stage 2, 2024-02-01
    if name[:2] == other[1::-1] and len(name) > 1:
        return name[2:] == other[2:]  # two letters changed places
    return name[1:] == other[1:] or name[1:] == other or name == other[1:]
