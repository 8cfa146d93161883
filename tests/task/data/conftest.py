"""Small files on disk, and the real data where they are."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file under the test's folder."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def write_idx(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as an IDX file under the test's folder."""

    def write_file(name: str, values: NDArray[np.uint8]) -> Path:
        header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        content = header + values.tobytes()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped without it."""
    beside = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("FAIRSHARE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set FAIRSHARE_DATA to the folder that holds heart-disease and mnist10k")
    return folder
