"""The files of a folder that holds one for each client, and what lies there besides."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fl.task.data.errors import DataError
from fl.task.data.restyle import site_name
from fl.task.data.text_file import PACKED, absent

SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".xlsx", ".xlsm", ".parquet")  # files that are taken for tables
_TEXT = (".csv", ".tsv", ".txt", ".data")


@dataclass(frozen=True, kw_only=True)
class Sites:
    """What a folder holds."""

    files: tuple[Path, ...]  # by name
    names: tuple[str, ...]  # of the clients: the file's stem, or its whole name where two stems are one
    left_out: tuple[str, ...]  # what is not a client's table, with the reason


def find_sites(folder: Path, *, aside: Collection[Path]) -> Sites:
    """One file per client; hidden files are nobody's, nor are those set aside.

    Raises: DataError if the folder is absent or has no table.
    """
    if not folder.exists():
        raise absent(folder)
    if not folder.is_dir():
        raise DataError(seen=f"{folder} is a file", expected="a folder", fix="use data=csv for one file")
    files, left_out = [], []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.resolve() in aside:
            continue
        if entry.is_dir():
            left_out.append(f"{entry.name}/ (a folder; move its files up, or name it alone)")
        elif entry.name.startswith("~$") or entry.name.endswith("~"):
            left_out.append(f"{entry.name} (a program's own note or copy of an open file)")
        elif not _is_table(entry.name):
            left_out.append(f"{entry.name} (no table by its name)")
        else:
            files.append(entry)
    if not files:
        here = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} has no file for a client (it holds {here})",
            expected=f"one file per client, ending in {', '.join(SUFFIXES)}, or one of text packed as .gz",
            fix="put them there, or point data.path at their folder",
        )
    names = [site_name(entry.name) for entry in files]
    if len(set(names)) < len(names):
        names = [entry.name for entry in files]
    return Sites(files=tuple(files), names=tuple(names), left_out=tuple(left_out))


def _is_table(name: str) -> bool:
    name = name.lower()
    packed = [name.removesuffix(suffix) for suffix in PACKED if name.endswith(suffix)]
    return name.endswith(SUFFIXES) or any(inner.endswith(_TEXT) for inner in packed)
