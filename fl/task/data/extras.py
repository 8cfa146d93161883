"""Packages that only some files need, and that not everybody has installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from fl.task.data.errors import DataError


def imported(module: str, *, path: Path, package: str, expected: str, fix: str) -> Any:
    """A module of an optional extra.

    Args:
        module: Its dotted name.
        path: The file or folder that needs it.
        package: What is installed, in words.
        expected, fix: Of the error.
    Raises: DataError where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(
            seen=f"{path} needs {package}, which is not installed here", expected=expected, fix=fix
        ) from None
