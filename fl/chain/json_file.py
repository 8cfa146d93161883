"""JSON files that somebody else may be waiting for: written whole or not at all, and those of state with a seal.

A disk that gives back another byte than was written mostly leaves JSON that parses. What must not be forgotten, or believed
wrongly, is therefore kept with the sha256 of its values beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl.chain.whole_file import write_whole
from fl.foreign.files import read_file
from fl.foreign.json_text import MOST_BYTES, BadJson, object_of, read_json

_SEAL = "sha256"  # key of the seal


def write_json(path: Path, values: Mapping[str, object], *, mode: int = 0o666) -> None:
    """Write the file in one step, making its folder if need be.

    Args:
        mode: Of a new file, less the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(values, indent=1) + "\n").encode(), mode=mode)


def write_sealed(path: Path, values: Mapping[str, object], *, mode: int = 0o600) -> None:
    """As `write_json`, with the values' sha256 among them.

    Args:
        path: Of the file.
        values: To write.
        mode: Of the file, such as 0o600.
    """
    write_json(path, seal(values), mode=mode)


def read_sealed(path: Path, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """What `write_sealed` wrote, without its seal. Raises: Absent, Unreadable; BadJson for anything else than was written."""
    return unseal(read_json(read_file(path, most=most), most=most))


def seal(values: Mapping[str, object], *, over: bytes = b"") -> dict[str, object]:
    """The values with the sha256 of their canonical JSON, and of further bytes that belong to them."""
    return {**values, _SEAL: _sum(values, over)}


def unseal(raw: object, *, over: bytes = b"") -> dict[str, Any]:
    """The values that `seal` was given. Raises: BadJson if they, or the further bytes, are others now."""
    values = dict(object_of(raw))
    if values.pop(_SEAL, None) != _sum(values, over):
        raise BadJson(problem="it is not what was written there: its sha256 is another one")
    return values


def _sum(values: Mapping[str, object], over: bytes) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text + b"\n" + over).hexdigest()
