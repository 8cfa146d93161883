"""Tokens in a file that the system pages in, so that a shard larger than memory trains."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def kept(parts: Iterable[NDArray[Any]], *, dtype: Any) -> NDArray[Any]:
    """Parts one after the other, in a file without a name that goes with the array."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the array holds it
    for part in parts:
        file.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
    file.flush()
    return np.memmap(file, dtype=dtype, mode="r") if file.tell() else np.zeros(0, dtype=dtype)
