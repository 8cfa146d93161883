"""Where bundles are kept: a folder, or anything that fsspec reaches by URL (s3://, gs://, memory://, …).

    round-0001/header.json, manifest.json     by name: they are how the rest is found
    objects/<aa>/<sha256>                     every file that a manifest names, by its own hash, once for all rounds

A round's base model is the next model of the round before, so an object is often stored once for two rounds. A folder that a
coordinator writes has the files under their names instead (`Bundle.write`); both forms are read, and every hash is checked.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from fl.bundle.files import (
    HEADER,
    MANIFEST,
    ROUND,
    BrokenBundle,
    BundleFiles,
    broken_by,
    checked_file,
    files_of,
    most_bytes,
    read_manifest,
    round_folder,
)
from fl.errors import ConfigError
from fl.foreign.files import Absent, GivenFolder, Unreadable, is_inside
from fl.plain_text import printable

log = logging.getLogger(__name__)

# What a claim, an audit of the payouts and every proof but that of a score need; it is never dropped.
KEPT = (HEADER, MANIFEST, ROUND)
_HASH = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"round-([0-9]{4,10})")


class Withheld(BrokenBundle):
    """A file is there and is not given to this reader, or not yet."""

    def __str__(self) -> str:
        return f"bundle {self.folder}: {self.problem}"


class BundleSource(Protocol):
    """Where the bundles of a task can be had, by round."""

    @property
    def where(self) -> str:
        """For messages."""

    def bundle(self, number: int) -> BundleFiles:
        """The files of a round; reading one raises BrokenBundle where it is not to be had."""


@dataclass(frozen=True)
class BundleStore:
    """Bundles under a folder or a URL.

    Args:
        url: A folder, or a URL that fsspec knows.
        options: Of the file system, such as `endpoint_url` for an S3-compatible server.
    Raises: ConfigError for a URL that no installed file system takes.
    """

    url: str
    fs: AbstractFileSystem
    root: str

    @classmethod
    def at(cls, url: str, *, options: Mapping[str, object] | None = None) -> BundleStore:
        """The store at a folder or URL. Raises: ConfigError for a URL that no installed file system takes."""
        try:
            fs, root = url_to_fs(url, **(options or {}))
        except (ValueError, ImportError) as error:
            raise ConfigError(f"bundles are to be at {url}, which cannot be reached: {error}") from error
        return cls(url, fs, root.rstrip("/"))

    @property
    def where(self) -> str:
        """The URL."""
        return self.url

    def rounds(self) -> list[int]:
        """Numbers of the rounds that are here, ascending."""
        try:
            names = [PurePosixPath(path).name for path in self.fs.ls(self.root, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(int(found.group(1)) for name in names if (found := _FOLDER.fullmatch(name)))

    def bundle(self, number: int) -> BundleFiles:
        """The files of a round; reading one raises BrokenBundle where it is not here."""
        return _StoredBundle(self, number)

    def put(self, number: int, source: Path | BundleFiles) -> None:
        """Store a round, hashes checked; what is here already is not sent again. Raises: BrokenBundle; OSError."""
        files = files_of(source)
        manifest = files.read(MANIFEST)
        for name, sha256 in read_manifest(manifest, files).items():
            self.put_object(checked_file(files, name, sha256=sha256), sha256=sha256)
        # The header last: whoever finds it finds the rest.
        for name, data in ((MANIFEST, manifest), (HEADER, files.read(HEADER))):
            self._write(f"{round_folder(number)}/{name}", data)

    def put_manifest(self, number: int, manifest: bytes) -> None:
        """Store what a round's objects are called: with them, `bundle` has its files."""
        self._write(f"{round_folder(number)}/{MANIFEST}", manifest)

    def put_object(self, data: bytes, *, sha256: str) -> None:
        """Store one object under its hash."""
        if not self.fs.exists(self._path(_object(sha256))):
            self._write(_object(sha256), data)

    def object(self, sha256: str) -> bytes | None:
        """One object, or None where it is not here or is not what its name says."""
        try:
            data = self.read(_object(sha256), most=most_bytes(".safetensors"))
        except Unreadable:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def prune(self, *, keep: int) -> int:
        """Drop models, updates and directions of all rounds but the last `keep`; returns how many objects went.

        Headers, manifests and round.json stay. A score can be challenged until the task closes, and only who has a round's
        update and direction can answer: keep what a task still has to answer for.
        """
        rounds = self.rounds()
        wanted, known, names = set(), set(), {}
        for place, number in enumerate(rounds):
            files = self.bundle(number)
            try:
                sums = read_manifest(files.read(MANIFEST), files)
            except BrokenBundle as error:
                log.warning("not pruned: %s", error)
                return 0  # without every manifest nobody knows what an object is for
            # A manifest may be somebody else's text: it names what is dropped in its own bundle, and nothing besides.
            sums = {name: sha for name, sha in sums.items() if is_inside(name) and _HASH.fullmatch(sha)}
            known |= set(sums.values())
            names[number] = [name for name in sums if name not in KEPT]
            wanted |= {sha for name, sha in sums.items() if place >= len(rounds) - keep or name in KEPT}
        gone = 0
        for sha256 in known - wanted:
            gone += self._drop(_object(sha256))
        for number in rounds[: max(0, len(rounds) - keep)]:
            # In the form that `Bundle.write` makes; what else stands in the folder is not ours.
            gone += sum(self._drop(f"{round_folder(number)}/{name}") for name in names[number])
        return gone

    def read(self, path: str, *, most: int) -> bytes:
        """A file by its path in the store.

        Args:
            most: Bytes that it may have.
        Raises: Absent; Unreadable, in a folder of this machine also for a link or a pipe: somebody may have given it.
        """
        if isinstance(self.fs, LocalFileSystem):
            return GivenFolder(Path(self.root)).read(path, most=most)
        full = self._path(path)
        try:
            if (size := self.fs.size(full)) is not None and size > most:
                raise Unreadable(path=full, problem=f"has {size:,} bytes, {most:,} are the most")
            return self.fs.cat_file(full)
        except FileNotFoundError:
            raise Absent(path=full) from None
        except OSError as error:
            raise Unreadable(path=full, problem=f"cannot be read ({type(error).__name__})") from error

    def _drop(self, path: str) -> bool:
        if there := self.fs.exists(self._path(path)):
            self.fs.rm_file(self._path(path))
        return there

    def _write(self, path: str, data: bytes) -> None:
        full = self._path(path)
        self.fs.makedirs(str(PurePosixPath(full).parent), exist_ok=True)
        # Under another name first: a reader, or a machine that loses power, never meets half a file.
        self.fs.pipe_file(f"{full}.partial", data)
        self.fs.mv(f"{full}.partial", full)

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"


@dataclass(frozen=True)
class _StoredBundle:
    store: BundleStore
    number: int

    @property
    def where(self) -> str:
        """The round's place in the store."""
        return f"{self.store.url}/{round_folder(self.number)}"

    def read(self, name: str) -> bytes:
        """One file, under its name or by its hash. Raises: BrokenBundle."""
        refuse_outside(name, where=self.where)
        try:
            return self.store.read(f"{round_folder(self.number)}/{name}", most=most_bytes(name))
        except Absent:
            pass
        except Unreadable as error:
            raise broken_by(error, name=name, where=self.where) from error
        if name not in (HEADER, MANIFEST) and (data := self._by_hash(name)) is not None:
            return data
        raise BrokenBundle(folder=self.where, problem=f"{name} cannot be read (FileNotFoundError)")

    def _by_hash(self, name: str) -> bytes | None:
        sha256 = read_manifest(self.read(MANIFEST), self).get(name, "")
        return self.store.object(sha256) if _HASH.fullmatch(sha256) else None


@dataclass(frozen=True)
class CachedBundle:
    """A bundle whose files, once read, are kept in a store by their hash: a base model is not fetched twice."""

    files: BundleFiles
    cache: BundleStore
    sums: Mapping[str, str]  # of its manifest

    @property
    def where(self) -> str:
        """Where the files come from."""
        return self.files.where

    def read(self, name: str) -> bytes:
        """One file, hash checked where the manifest names it. Raises: BrokenBundle."""
        if (sha256 := self.sums.get(name)) is None:
            return self.files.read(name)
        if (data := self.cache.object(sha256)) is None:
            data = checked_file(self.files, name, sha256=sha256)
            self.cache.put_object(data, sha256=sha256)
        return data


def refuse_outside(name: str, *, where: str) -> None:
    """Raises: BrokenBundle for a name that points out of its bundle: a manifest is somebody else's text."""
    if not is_inside(name):
        raise BrokenBundle(folder=where, problem=f"{printable(name, most=200)} lies outside the bundle")


def _object(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def drop_objects(cache: BundleStore, *, but: Iterable[str]) -> None:
    """Leave only these objects, by hash."""
    kept = set(but)
    for path in cache.fs.find(f"{cache.root}/objects"):
        if PurePosixPath(path).name not in kept:
            cache.fs.rm_file(path)
