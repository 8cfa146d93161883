"""JSON files that somebody else may be waiting for: written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write the file in one step, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    partial.replace(path)
