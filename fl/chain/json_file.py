"""JSON files that somebody else may be waiting for: written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fl.chain.whole_file import write_whole


def write_json(path: Path, values: Mapping[str, object], *, mode: int = 0o666) -> None:
    """Write the file in one step, making its folder if need be.

    Args:
        mode: Of a new file, less the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(values, indent=1) + "\n").encode(), mode=mode)
