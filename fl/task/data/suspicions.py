"""What may be wrong with data that can be read: said before they are used, and left to their owner."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.advice import setting, shown
from fl.task.data.alike import alike, similar
from fl.task.data.number import parse_number

_SENTINELS = {
    *(
        sign * number
        for sign in (1, -1)
        for number in (9, 99, 999, 9999, 99999, 999999, 8, 88, 888, 8888, 7, 77, 777, 7777)
    ),
    *(
        sign * number
        for sign in (1, -1)
        for number in (97, 98, 997, 998, 9997, 9998, 99.9, 999.9, 9999.9, 9.99, 99.99, 999.99)
    ),
    -1,
}
_FAR = 3.0  # times the range of the others
_COUNTER = 10  # rows from which a column that counts them is no accident
_ORDER = 8.0  # times as much is another unit
_LONG = 10**10  # whole numbers that are so long name something
# A title that calls a column a name of its rows: id, patient_no, CaseID.
_NAMES_ROWS = re.compile(
    r"(?:^|[\W_])(?:id|ids|nr|no|num|number|key|code|pid|mrn|uid|patient|case|record|person|subject|customer|user|account)"
    r"(?:[\W_]|$)|(?-i:[a-z]I[Dd]$)",
    re.IGNORECASE,
)
_NO_LABEL = re.compile(
    r"unk|unknown|undefined|undetermined|missing|not (?:known|recorded|available|done|tested|assessed)|no data|n\.a\.|n\.d\.|nd|tbd|pending|"
    r"unbekannt|k\.a\.|inconnu|desconocido|-+|\.+|\*+|_+",
    re.IGNORECASE,
)
_RARE, _COMMON = 10, 0.95  # rows of a class; share of one


def counts_rows(cells: NDArray[np.str_], *, least: int = _COUNTER) -> bool:
    """Whether a column holds nothing but the number of each row, in order, from wherever it starts."""
    if len(cells) < least:
        return False
    if len(cells) > _COUNTER and not counts_rows(cells[:_COUNTER], least=least):
        return False
    numbers = [parse_number(str(cell)) for cell in cells]
    if any(number is None for number in numbers):
        return False
    return bool((np.diff(np.array(numbers, dtype=np.float64)) == 1).all())


def about_numbers(name: str, cells: NDArray[np.str_], values: NDArray[np.float64]) -> list[str]:
    """Sentences on a column of numbers: on its values, and on whether it should be one.

    Args:
        name: Of the column.
        cells: As they were written, those that hold a value, shape (N,).
        values: Their numbers, shape (N,).
    """
    return about_amounts(name, cells, values) + _about_codes(name, cells, values)


def about_amounts(name: str, cells: NDArray[np.str_], values: NDArray[np.float64]) -> list[str]:
    """Sentences on a column that holds numbers, as its task says.

    Args:
        name: Of the column.
        cells: As they were written, those that hold a value, shape (N,).
        values: Their numbers, shape (N,).
    """
    notes = []
    found, counts = np.unique(values, return_counts=True)
    for extreme, others in ((found[:1], found[1:]), (found[-1:], found[:-1])):
        if others.size < 3 or float(extreme[0]) not in _SENTINELS:
            continue
        spread = float(others[-1] - others[0])
        gap = float(min(abs(extreme[0] - others[0]), abs(extreme[0] - others[-1])))
        # One number below zero, again and again, where no other is.
        lone = extreme[0] < 0 <= others[0] and counts[0] > 1 and gap > float(np.diff(others).max())
        if gap > _FAR * max(spread, 1e-12) or lone:
            rows = int(counts[found == extreme[0]][0])
            notes.append(
                f"column {name!r} holds {extreme[0]:g} in {plural(rows, 'row')}, far from its other values ({others[0]:g} to "
                f"{others[-1]:g}); if it stands for no value, add {extreme[0]:g} to data.missing"
            )
    held = dict.fromkeys(cells.tolist())
    dotted = sorted(cell for cell in held if "." in cell)
    if (
        len(dotted) > 1
        and all(re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", cell) for cell in dotted)
        and any(re.fullmatch(r"[+-]?\d{1,3}", cell) for cell in held)
    ):
        notes.append(
            f"column {name!r} has points before three digits only ({shown(dotted, most=3)}); if they part thousands, set "
            "data.thousands=point data.decimal=comma"
        )
    return notes


def _about_codes(name: str, cells: NDArray[np.str_], values: NDArray[np.float64]) -> list[str]:
    notes = []
    held, found = dict.fromkeys(cells.tolist()), np.unique(values)
    padded = sorted(cell for cell in held if re.fullmatch(r"0\d+", cell))
    if padded:
        notes.append(
            f"column {name!r} holds numbers with zeros in front ({shown(padded, most=3)}), read as amounts; if they are codes, "
            f"{setting('categorical', [name])} takes each for itself and {setting('drop', [name])} leaves them out"
        )
    each_its_own = len(found) == len(values) >= _COUNTER and bool((values == np.round(values)).all())
    if (
        each_its_own
        and float(np.abs(values).min()) < _LONG
        and _NAMES_ROWS.search(name)
        and (np.diff(values) != 1).any()
    ):
        notes.append(
            f"column {name!r} holds a whole number of its own in each row, as a name of the row would; "
            f"{setting('drop', [name])} leaves it out"
        )
    if each_its_own and float(np.abs(values).min()) >= _LONG:
        notes.append(
            f"column {name!r} holds a long number of its own in each row, as a name of the row would; "
            f"{setting('drop', [name])} leaves it out"
        )
    return notes


def about_classes(classes: dict[str, int]) -> list[str]:
    """Sentences on the balance of the classes."""
    notes = []
    rows = sum(classes.values())
    name, most = max(classes.items(), key=lambda item: item[1])
    if rows and most / rows >= _COMMON:
        notes.append(
            f"{most} of {rows} rows are of the class {name!r}: a model that says nothing else is right in {most / rows:.1%}"
        )
    for name, count in classes.items():
        if count < _RARE:
            notes.append(
                f"class {name!r} has {count} row{'s' * (count != 1)} in all, too few to be learnt, scored and reported"
            )
    if len(classes) > 2:
        notes += [
            f"class {name!r} of {plural(count, 'row')} does not read as a label; if it is none, add {name} to data.missing and set data.drop_unlabelled=true"
            for name, count in classes.items()
            if _NO_LABEL.fullmatch(name.strip())
        ]
    numbers = [parse_number(name) for name in classes]
    if len(numbers) > 2 and None not in numbers:
        held = sorted(number for number in numbers if number is not None)
        for odd, others in ((held[0], held[1:]), (held[-1], held[:-1])):
            steps = [after - before for before, after in pairwise(others)]
            if odd in _SENTINELS and min(abs(odd - other) for other in others) > 2 * max(steps):
                notes.append(
                    f"class '{odd:g}' is far from the others ({others[0]:g} to {others[-1]:g}); if it stands for no label, add {odd:g} to "
                    "data.missing and set data.drop_unlabelled=true"
                )
    return notes + about_words("the target", classes)


def about_words(what: str, values: dict[str, int], *, column: str | None = None) -> list[str]:
    """Sentences on values that may stand for one another, though nothing proves it, with the setting that merges them.

    Args:
        what: Holds them.
        values: How often each occurs.
        column: Its name; None for the target.
    """
    notes: list[str] = []
    names = sorted(values, key=len)
    told: set[frozenset[str]] = set()
    for value in names:
        others = [other for other in names if other != value and len(other) >= len(value)]
        near = similar(value, others)
        if near is None or frozenset((value, near)) in told:
            continue
        told.add(frozenset((value, near)))
        if not any({value, near} <= set(group) for group in alike(values)):
            entry = (
                setting("level_map", [f"{column}:{value}:{near}"]) if column else f"{value}:{near} in data.label_map"
            )
            notes.append(
                f"{what} holds {value!r} ({values[value]}) and {near!r} ({values[near]}), which may be one; {entry} merges them"
            )
    return notes[:4]


def about_names(names: Sequence[str]) -> list[str]:
    """Sentences on clients whose names are nearly one."""
    groups = alike(Counter(names))
    return [
        f"clients {' and '.join(map(repr, group))} have nearly one name and are taken for several"
        for group in groups[:4]
    ]


def off_by(own: NDArray[np.float64], *, center: float, spread: float) -> float | None:
    """How many times as large some numbers are as others, if that is another order of magnitude, and no chance; else None.

    Args:
        own: Shape (N,).
        center: Mean or median of the others.
        spread: Their standard deviation.
    """
    if len(own) < 5 or center == 0:
        return None
    low, middle = (float(value) for value in np.percentile(own, [10, 50]))
    high = float(np.percentile(own, 90))
    ratio = middle / center
    if ratio >= _ORDER and min(abs(low), abs(high)) > abs(center) + 3 * spread:
        return ratio
    if 0 < ratio <= 1 / _ORDER and float(own.std()) <= spread / 4 and max(abs(low), abs(high)) < abs(center) / 2:
        return ratio
    return None
