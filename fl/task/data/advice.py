"""Settings as a person would type them: what a refusal advises has to work when it is pasted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence


def setting(key: str, value: object) -> str:
    """`data.key=value` of a command line, quoted for the grammar of lists and for the shell where either needs it."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, Sequence):
        text = "[" + ",".join(_item(str(each)) for each in value) + "]"
    else:
        text = str(value)
    argument = f"data.{key}={text}"
    return argument if re.fullmatch(r"[\w.=\[\],:%+/@-]*", argument) else shlex.quote(argument)


def shown(values: Sequence[object], *, most: int = 6) -> str:
    """The first of some values, for a message."""
    return ", ".join(repr(str(value)) for value in values[:most]) + (", ..." if len(values) > most else "")


def _item(text: str) -> str:
    if text and not re.search(r"[\[\],\"']", text) and text == text.strip():
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
