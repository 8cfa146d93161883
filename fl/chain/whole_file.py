"""Files that are there whole or not at all, whatever ends the process, or the power."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_AT_ONCE = 16  # files that wait for the disk together


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file in one step, in place of what is there; a device or a pipe, such as /dev/stdout, is written to.

    Args:
        mode: Of the file, less the umask.
    Raises: OSError; what was there before is still there.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            device.write(data)
        return
    with _beside(path, data, mode=mode) as partial:
        partial.replace(path)


def write_new(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file in one step where there is none.

    Args:
        mode: Of the file, less the umask.
    Raises: FileExistsError, and what is there stays; OSError.
    """
    with _beside(path, data, mode=mode) as partial:
        path.hardlink_to(partial)  # unlike a rename, it never takes another file's place
        partial.unlink()


@contextmanager
def _beside(path: Path, data: bytes, *, mode: int) -> Iterator[Path]:
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # one that is left from a kill has its own mode
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            # A rename may reach the disk before the content does: after a power cut the file would be there, and empty.
            os.fsync(file.fileno())
        yield partial
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Have everything in a folder on the disk, as deep as it goes. Many files at a time, which a disk takes in one go."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_sync_one, folder.rglob("*"), chunksize=1))
    sync_folder(folder)


def _sync_one(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def set_aside(path: Path) -> Path:
    """Move a file or folder that cannot be used out of the way, beside itself, under a name that was free; returns that name."""
    number = 1
    while (away := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(away)
    return away


def private_folder(folder: Path) -> Path:
    """Make a folder, with those above it, for its owner only; one that is there is made so."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder
