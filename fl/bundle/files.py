"""The files of a bundle, wherever they are: how large each may be, its manifest, and what is said of one that cannot be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fl.errors import FairshareError
from fl.foreign.files import Absent, GivenFolder, Outside, Unreadable
from fl.foreign.json_text import MOST_BYTES, BadJson, read_json
from fl.plain_text import printable
from fl.task.bounds import MOST_MODEL

MANIFEST, HEADER, ROUND = "manifest.json", "header.json", "round.json"
BASE, NEXT, AGGREGATE = "base.safetensors", "next.safetensors", "aggregate.safetensors"  # models
DIRECTION = "direction.blocks"
MASKED = "masked.json"
MOST_MASKED = 1 << 28  # bytes of it: what 1,000 clients tell of 80 pairs each is 60 MB
_FRAME_BYTES = 1 << 20  # of a file of arrays beside their values: names, shapes, scales
_HEADER_BYTES = 1 << 20
_ARRAY_FILES = (".safetensors", ".blocks", "validation")


def round_folder(number: int) -> str:
    """The name of a round's folder."""
    return f"round-{number:04d}"


def update_file(account: str) -> str:
    """The file of an account's update."""
    return f"updates/{account}.blocks"


class BrokenBundle(FairshareError):
    """A bundle's files are not what its manifest, or its header, says."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder, self.problem = folder, problem

    def __str__(self) -> str:
        return f"bundle {self.folder}: {self.problem}; fetch it again, and ask the coordinator if it stays so"


class BundleFiles(Protocol):
    """The files of one bundle, wherever they are: a folder here, or what `fl.bundle.store` reaches."""

    @property
    def where(self) -> str:
        """For messages."""

    def read(self, name: str) -> bytes:
        """One file. Raises: BrokenBundle if it is absent, withheld, or outside the bundle."""


@dataclass(frozen=True)
class BundleFolder:
    """The files of a bundle in a folder of this machine."""

    folder: Path

    @property
    def where(self) -> str:
        """The folder's name."""
        return str(self.folder)

    def read(self, name: str) -> bytes:
        """One file. Raises: BrokenBundle, also for a link, a pipe, and a file that is larger than one of its kind can be."""
        try:
            return GivenFolder(self.folder).read(name, most=most_bytes(name))
        except Unreadable as error:
            raise broken_by(error, name=name, where=self.where) from error


def most_bytes(name: str, *, model_size: int = MOST_MODEL) -> int:
    """How large a file of a bundle can be, by its name.

    Args:
        model_size: P, how many values the task's model has, for who knows it.
    """
    if name.endswith(_ARRAY_FILES):
        # float32, and blocks are smaller; a masked round's words are 8 bytes each.
        return _FRAME_BYTES + (8 if name.startswith("updates/") else 4) * model_size
    if name.endswith(MASKED):
        return MOST_MASKED
    return _HEADER_BYTES if name.endswith(HEADER) else MOST_BYTES


def broken_by(error: Unreadable, *, name: str, where: str) -> BrokenBundle:
    """What it says of a bundle that one of its files cannot be read.

    Args:
        error: Why it cannot be read.
        name: Of the file.
        where: The bundle is, for messages.
    """
    told = printable(name, most=200)
    if isinstance(error, Outside):
        return BrokenBundle(folder=where, problem=f"{told} lies outside the bundle")
    reason = "FileNotFoundError" if isinstance(error, Absent) else f"it {error.problem}"
    return BrokenBundle(folder=where, problem=f"{told} cannot be read ({reason})")


def hash_of(folder: Path) -> bytes:
    """The hash that names a written bundle in its header: sha256 of its manifest, 32 bytes. Raises: BrokenBundle."""
    return hashlib.sha256(BundleFolder(folder).read(MANIFEST)).digest()


def read_manifest(text: bytes, files: BundleFiles) -> dict[str, str]:
    """sha256 in hex by file name. Raises: BrokenBundle for a text that is no manifest."""
    try:
        sums = read_json(text)
    except BadJson as error:
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} cannot be read ({error})") from error
    if not isinstance(sums, dict) or not all(isinstance(checksum, str) for checksum in sums.values()):
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} cannot be read (it is not a list of sha256 sums)")
    return sums


def checked_file(files: BundleFiles, name: str, *, sha256: str) -> bytes:
    """A file whose hash is the manifest's.

    Args:
        files: Of the bundle.
        name: Of the file.
        sha256: In hex, as the manifest has it.
    Raises: BrokenBundle.
    """
    data = files.read(name)
    if (seen := hashlib.sha256(data).hexdigest()) != sha256:
        raise BrokenBundle(folder=files.where, problem=f"{name} has sha256 {seen}, the manifest says {sha256}")
    return data


def files_of(source: Path | BundleFiles) -> BundleFiles:
    """A folder's files, or the files that were given."""
    return BundleFolder(source) if isinstance(source, Path) else source
