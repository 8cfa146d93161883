"""The one reader of JSON that this process did not write a moment ago: bundles, specs, invites, answers, files of state.

`json.loads` takes any size and depth, NaN, the same key twice, halves of surrogate pairs and numbers that no float holds.
Each of them has ended a process, or meant one thing to one reader and another to the next.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from fl.errors import FairshareError

MOST_BYTES = 16 << 20  # the leaves of 12,000 clients, twice over
_BYTES_A_VALUE = 8  # as few as a text may have on average: what is shorter takes a hundred times its size in memory
DEEPEST = 32  # of lists and objects in each other
MOST_DIGITS = 78  # of a number: those of 2^256

_SHOWN = 60  # characters of a value that are quoted in a message
# To the end where nothing closes it, or each of its escaped quotes would begin another search to the end.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)")
_HEX = re.compile(r"[0-9a-fA-F]*")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


class BadJson(FairshareError, ValueError):
    """A text is not JSON of the kind that this project writes. Also a ValueError: who reads a file says which file it is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; ask for it again"


def read_json(text: bytes | str, *, most: int = MOST_BYTES) -> Any:
    """Parse a text.

    Args:
        text: UTF-8 if it is bytes, or UTF-16 with a byte-order mark; a mark in front is passed over, editors of Windows write one.
        most: Bytes, or characters, that it may have.
    Returns: what `json.loads` gives, without NaN and infinities; every key of an object stood there once.
    Raises: BadJson for what is not JSON, or has more values, is larger, deeper or has longer numbers than anything that this project writes.
    """
    if len(text) > most:
        raise BadJson(problem=f"it has {len(text):,} bytes, {most:,} are the most")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-16" if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8")
        text = text.removeprefix("\ufeff")
        _check_size(text, values=max(1000, most // _BYTES_A_VALUE))
        value = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number, object_pairs_hook=_object
        )
        if _HALF_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except BadJson:
        raise
    except UnicodeError:
        raise BadJson(problem="it holds text that is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise BadJson(problem=f"it is not JSON ({error})") from None
    return value


def object_of(value: object) -> Mapping[str, Any]:
    """A JSON object. Raises: BadJson for anything else."""
    if not isinstance(value, dict):
        raise BadJson(problem=f"{shown(value)} is not an object")
    return value


def list_of(value: object) -> list[Any]:
    """A JSON list. Raises: BadJson for anything else."""
    if not isinstance(value, list):
        raise BadJson(problem=f"{shown(value)} is not a list")
    return value


def text_of(value: object, *, most: int, what: str = "") -> str:
    """A string of at most so many characters.

    Args:
        value: As parsed.
        most: Characters.
        what: It is, for messages.
    Raises: BadJson for anything else, naming `what` it is.
    """
    if not isinstance(value, str) or len(value) > most:
        raise BadJson(problem=f"{_named(what)}{shown(value)}, no text of at most {most} characters")
    return value


def whole_of(value: object, *, least: int, most: int, what: str = "") -> int:
    """A whole number that stands there as a number.

    Args:
        value: As parsed.
        least: The smallest that is taken.
        most: The largest.
        what: It is, for messages.
    Raises: BadJson for anything else, and outside of its range, naming `what` it is.
    """
    if type(value) is not int or not least <= value <= most:
        raise BadJson(problem=f"{_named(what)}{shown(value)}, no whole number from {least} to {most}")
    return value


def number_of(value: object) -> float:
    """A number, which is finite as everything that is read here. Raises: BadJson for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadJson(problem=f"{shown(value)} is not a number")
    return float(value)


def decimal_of(value: object, *, bits: int, signed: bool = False) -> int:
    """A whole number that stands there as a decimal string, as amounts do, in its one spelling.

    Args:
        value: As parsed.
        bits: That it may have.
        signed: Whether it may be below 0.
    Raises: BadJson for anything else, and for what does not fit into so many bits.
    """
    if isinstance(value, str) and len(value) <= MOST_DIGITS + 1 and _DECIMAL.fullmatch(value):
        number = int(value)
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if least <= number <= most and value != "-0":
            return number
    raise BadJson(
        problem=f"{shown(value)} is not {'a ' if signed else 'an un'}signed whole number of {bits} bits, as a string"
    )


def hex_of(value: object, *, size: int) -> bytes:
    """Bytes of a known length that stand there as hex digits. Raises: BadJson for anything else."""
    if not isinstance(value, str) or len(value) != 2 * size or not _HEX.fullmatch(value):
        raise BadJson(problem=f"{shown(value)} is not the hex of {size} bytes")
    return bytes.fromhex(value)


def shown(value: object) -> str:
    """A value as a message quotes it: on one line, and short."""
    if isinstance(value, str):
        text = repr(value[: _SHOWN + 1])
    elif isinstance(value, dict | list):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}…"


def _named(what: str) -> str:
    return f"{what} is " if what else ""


def _check_size(text: str, *, values: int) -> None:
    # Before anything is built of it. A comma in a string counts too, which costs nobody anything.
    if text.count(",") > values:
        raise BadJson(problem=f"it has more than {values:,} values")
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
    if len(brackets) > values:
        raise BadJson(problem=f"it has more than {values // 2:,} lists and objects")
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEEPEST:
        raise BadJson(problem=f"its lists and objects stand in each other more than {DEEPEST} deep")


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS + 1:
        raise BadJson(problem=f"it has a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if len(text) > MOST_DIGITS + 1 or not math.isfinite(value := float(text)):
        raise BadJson(problem=f"it has the number {text[:_SHOWN]}, which no float holds")
    return value


def _no_number(text: str) -> float:
    raise BadJson(problem=f"it has {text}, which is not a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadJson(problem=f"it has the key {shown(twice)} twice")
    return made
