"""What a settings dataclass says of each of its fields: the comments that stand beside or above them in its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import MISSING, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field."""

    name: str
    default: Any
    about: str  # "" where nothing is said


def explained(settings: type) -> list[Setting]:
    """Every field of a dataclass with its default and its comment, in order."""
    source = textwrap.dedent(inspect.getsource(settings))
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    places = {
        node.target.id: (node.lineno - 1, (node.end_lineno or node.lineno) - 1)
        for node in (definition.body if isinstance(definition, ast.ClassDef) else ())
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return [
        Setting(
            name=field.name,
            default=_default(field),
            about=_comment(lines, *places[field.name]) if field.name in places else "",
        )
        for field in fields(settings)
    ]


def _comment(lines: list[str], first: int, last: int) -> str:
    beside = lines[last].partition("  # ")[2]
    if beside:
        return beside.strip()
    above: list[str] = []
    while first > 0 and lines[first - 1].lstrip().startswith("#") and "# fmt:" not in lines[first - 1]:
        first -= 1
        above.insert(0, lines[first].strip().removeprefix("#").strip())
    return " ".join(above)


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else None
