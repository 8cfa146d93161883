"""Paths, columns and words as they are typed: quoted for Hydra, whose grammar gives a meaning to , = ( # and null."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from fl.coordinator.config import RunConfig
from fl.errors import ConfigError
from fl.task.data.words import parse_list

_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|float|int|str|bool|json_str)\(.*\)")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)")
_ODD = re.compile(r"[+-]?[\d.,_' ]*\d[\d.,_' ]*([eE][+-]?\d+)?")
_PLAIN = re.compile(r"(?!(true|false|null|nan|inf|none|yes|no|on|off)$)[A-Za-z/][\w./:-]*", re.IGNORECASE | re.ASCII)
_CHECKED = ("data.", "partition.", "seed")  # whose numbers are told in words when they are none


def literal(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the value of every setting that is text quoted for Hydra; what is quoted already stays.

    With -m a comma outside quotes and brackets parts the values of a sweep, as Hydra has it.

    Raises: ConfigError for a number of the data that is written in another way, such as 1,000 or 010.
    """
    sweeps = any(argument in ("-m", "--multirun") for argument in arguments)
    return [_literal(argument, sweeps=sweeps) for argument in arguments]


def _literal(argument: str, *, sweeps: bool) -> str:
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    types_of = _settings().get(name)
    if not sign or types_of is None or key.startswith("~") or (sweeps and _SWEEP.fullmatch(value)):
        return argument
    values = list(_points(value)) if sweeps else [value]
    return f"{key}={','.join(_quoted(name, point, types_of) for point in values)}"


def _quoted(key: str, value: str, kinds: frozenset[Any]) -> str:
    if list in kinds:
        return "[" + ",".join(map(_quote, parse_list(value, key=key))) + "]"
    is_text = str in kinds
    if value == "null" and type(None) in kinds:
        return value
    if is_text and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value
    if bool in kinds:
        return value if value in ("true", "false") else _quote(value)
    numeric = {int, float} & kinds
    if numeric and (_NUMBER if float in kinds else _WHOLE).fullmatch(value):
        return value
    whole = _NUMBER if float in kinds else _WHOLE
    several = "," in value and all(
        whole.fullmatch(part) for part in value.split(",")
    )  # a sweep, refused where none may be
    odd = _ODD.fullmatch(value) and (not several or re.fullmatch(r"\d{1,3}(,\d{3})+", value))
    if numeric and key.startswith(_CHECKED) and odd and key not in ("data.target", "data.group"):
        what = "a share such as 0.2, or digits alone such as 1000" if float in kinds else "digits alone, such as 1000"
        raise ConfigError(f"{key} is {value!r}; write {what}, without commas, blanks, powers of ten or zeros in front")
    return _quote(value) if is_text else value


def _quote(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", text)
    text = re.sub(r"(\\+)$", lambda found: found[1] * 2, text)
    return "'" + text.replace("${", "\\${") + "'"


def _points(value: str) -> Iterator[str]:
    """The values of a sweep: parted by commas outside quotes and brackets."""
    start, depth, quote = 0, 0, ""
    for at, mark in enumerate(value):
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark in "[]":
            depth += 1 if mark == "[" else -1
        elif mark == "," and not depth:
            yield value[start:at]
            start = at + 1
    yield value[start:]


@cache
def _settings() -> dict[str, frozenset[Any]]:
    """Dotted settings that are text, lists of text or numbers, with the types that each may have."""
    found: dict[str, frozenset[Any]] = {}

    def walk(prefix: str, cls: Any) -> None:  # a dataclass
        hints = typing.get_type_hints(cls)
        for field in fields(cls):
            hint = hints[field.name]
            kinds = _kinds(hint)
            if is_dataclass(hint):
                walk(f"{prefix}{field.name}.", hint)
            elif kinds:
                found[prefix + field.name] = kinds

    walk("", RunConfig)
    return found


def _kinds(hint: Any) -> frozenset[Any]:
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        return frozenset({list}) if str in _kinds(inner) else frozenset()
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return frozenset().union(*(_kinds(each) for each in typing.get_args(hint)))
    return (
        frozenset({hint})
        if hint in (str, int, float, type(None))
        else frozenset({bool})
        if hint is bool
        else frozenset()
    )
