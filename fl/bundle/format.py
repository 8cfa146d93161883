"""The bundle of a round: one folder with everything that a re-computation needs, and a manifest of sha256 sums.

    base.safetensors, next.safetensors   the model before and after, by array name
    aggregate.safetensors                the inner strategy's model, where a public step follows it
    updates/<account>.blocks             each accepted update, as it was signed; its words in a masked round
    masked.json                          of a masked round: everything that was said in it but the words (`fl.privacy.wire`)
    direction.blocks                     the direction, quantised
    round.json                           participants, length, weights, public step, leaves before and after, price
    manifest.json                        sha256 of each of the files above; its own sha256 is in the header
    header.json                          the header and the evaluators' signatures (after the manifest, which it names)

Amounts are decimal strings, since JSON readers lose digits above 2^53.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_safetensors

from fl.bundle.files import (
    AGGREGATE,
    BASE,
    DIRECTION,
    HEADER,
    MANIFEST,
    MASKED,
    MOST_MASKED,
    NEXT,
    ROUND,
    BrokenBundle,
    BundleFiles,
    checked_file,
    files_of,
    read_manifest,
    update_file,
)
from fl.bundle.round_record import (
    NOT_THIS,
    ListedUpdate,
    RoundRecord,
    canonical,
    files_named_by,
    header_file,
    leaves_of,
    read_round,
    signed_header_of,
)
from fl.chain.typed_data import Header
from fl.chain.whole_file import write_whole
from fl.codec import Blocks, Layout, Wire, parts_of
from fl.foreign.arrays import read_arrays
from fl.foreign.json_text import read_json
from fl.plain_text import printable
from fl.privacy.transcript import Transcript
from fl.privacy.wire import transcript_from_json, transcript_to_json
from fl.rewards import Leaf, Participant
from fl.scoring.public_vectors import PublicStep
from fl.spool import Spool


@dataclass(frozen=True, kw_only=True, eq=False)
class BundledUpdate(ListedUpdate):
    """One accepted update as it was signed."""

    wire: Wire  # blocks

    def participant(self, blocks: Blocks) -> Participant:
        """As it takes part in scores and pay, with its blocks as they were read."""
        return Participant(
            account=self.account, stake=self.stake, blocks=blocks, root=self.root, selected=self.selected
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """One round, whole."""

    task_id: bytes
    round: int
    layout: Layout
    base: NDArray[np.float32]  # shape (P,)
    next: NDArray[np.float32]  # shape (P,)
    updates: tuple[BundledUpdate, ...]
    direction: Blocks
    previous: tuple[Leaf, ...]  # leaves of the round before, none in round 1
    leaves: tuple[Leaf, ...]
    price: int  # units of 2^−64 wei per 2^−40 of loss
    length: int  # what a longer update was held to, units of 2^−64
    aggregate: NDArray[np.float32] | None = (
        None  # the inner strategy's model, shape (P,); None where no public step follows
    )
    public: PublicStep | None = None
    masked: Transcript | None = None  # of a masked round, whose updates are words

    def write(self, folder: Path) -> bytes:
        """Write the folder, all but the header; returns the manifest's hash, 32 bytes."""
        (folder / "updates").mkdir(parents=True, exist_ok=True)
        sums = {}
        for name, data in self._contents():
            digest = hashlib.sha256()
            with (folder / name).open("wb") as file:
                for part in parts_of(data):
                    file.write(part)
                    digest.update(part)
            sums[name] = digest.hexdigest()
        manifest = canonical(sums)
        (folder / MANIFEST).write_bytes(manifest)
        return hashlib.sha256(manifest).digest()

    def _contents(self) -> Iterator[tuple[str, Wire]]:
        """Its files, each made when its turn comes."""
        yield BASE, save_safetensors(self.layout.unflatten(self.base))
        yield NEXT, save_safetensors(self.layout.unflatten(self.next))
        if self.aggregate is not None:
            yield AGGREGATE, save_safetensors(self.layout.unflatten(self.aggregate))
        yield DIRECTION, self.direction.to_bytes()
        yield ROUND, self._record().to_json()
        if self.masked is not None:
            yield MASKED, canonical(transcript_to_json(self.masked))
        for update in self.updates:
            yield update_file(update.account), update.wire

    @classmethod
    def read(cls, source: Path | BundleFiles) -> tuple[Bundle, bytes]:
        """Read a bundle and check every hash; returns the bundle and its manifest's hash.

        Raises: BrokenBundle for a file that is missing, was changed, is not in the manifest, or holds something else.
        """
        files = files_of(source)
        manifest = files.read(MANIFEST)
        sums = read_manifest(manifest, files)
        if ROUND not in sums:
            raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} does not name {ROUND}")
        text = checked_file(files, ROUND, sha256=sums[ROUND])
        names = files_named_by(read_round(text, where=files.where))
        # Before anything is fetched: a manifest may name any number of files.
        if odd := sorted({ROUND, *names} ^ sums.keys()):
            problem = f"{MANIFEST} and {ROUND} do not name the same files: {printable(odd[0])}"
            raise BrokenBundle(folder=files.where, problem=problem)
        return cls.parse(_CheckedFiles(files, sums), where=files.where), hashlib.sha256(manifest).digest()

    @classmethod
    def parse(cls, contents: Mapping[str, bytes], *, where: str) -> Bundle:
        """A bundle from the contents of its files by name. Raises: BrokenBundle for what is no bundle."""
        try:
            return cls._parse(contents)
        except BrokenBundle:  # of a file that is read when its turn comes
            raise
        except NOT_THIS as error:
            raise BrokenBundle(folder=where, problem=f"cannot be read ({type(error).__name__}: {error})") from error

    @classmethod
    def _parse(cls, contents: Mapping[str, bytes]) -> Bundle:
        record, spool = read_round(contents[ROUND], where=""), Spool()
        # The words of a masked round are added up as a whole.
        keep = (lambda data: data) if record.masked else spool.keep_bytes
        return cls(
            task_id=record.task_id,
            round=record.round,
            layout=record.layout,
            base=record.layout.flatten(read_arrays(contents[BASE])),
            next=record.layout.flatten(read_arrays(contents[NEXT])),
            updates=tuple(
                BundledUpdate(**vars(update), wire=keep(contents[update_file(update.account)]))
                for update in record.updates
            ),
            direction=Blocks.from_bytes(contents[DIRECTION], size=record.layout.size),
            previous=record.previous,
            leaves=record.leaves,
            price=record.price,
            length=record.length,
            aggregate=record.layout.flatten(read_arrays(contents[AGGREGATE])) if record.public else None,
            public=record.public,
            masked=transcript_from_json(read_json(contents[MASKED], most=MOST_MASKED)) if record.masked else None,
        )

    def _record(self) -> RoundRecord:
        return RoundRecord(
            task_id=self.task_id,
            round=self.round,
            layout=self.layout,
            updates=self.updates,
            previous=self.previous,
            leaves=self.leaves,
            price=self.price,
            length=self.length,
            public=self.public,
            masked=self.masked is not None,
        )


class _CheckedFiles(Mapping[str, bytes]):
    """The files that a manifest names; each is read, and its hash checked, when it is asked for."""

    def __init__(self, files: BundleFiles, sums: Mapping[str, str]) -> None:
        self._files, self._sums = files, sums

    def __getitem__(self, name: str) -> bytes:
        return checked_file(self._files, name, sha256=self._sums[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)


def write_header(folder: Path, header: Header, *, signatures: list[bytes]) -> None:
    """Put the header and its evaluators' signatures beside the manifest that it names, whole or not at all.

    Args:
        folder: The bundle.
        header: Of the round.
        signatures: Of the evaluators, 65 bytes each.
    """
    write_whole(folder / HEADER, header_file(header, signatures))


def read_header(source: Path | BundleFiles) -> tuple[Header, list[bytes]]:
    """The header and signatures of a bundle. Raises: BrokenBundle."""
    files = files_of(source)
    text = files.read(HEADER)
    try:
        return signed_header_of(text)
    except NOT_THIS as error:
        raise BrokenBundle(folder=files.where, problem=f"{HEADER} cannot be read ({error})") from error


def read_leaves(source: Path | BundleFiles) -> tuple[Leaf, ...]:
    """A round's leaves, from a bundle that may lack everything but header, manifest and round.json.

    That much every client is given; what it has is checked against the header. Raises: BrokenBundle.
    """
    files = files_of(source)
    header, _ = read_header(files)
    manifest, text = files.read(MANIFEST), files.read(ROUND)
    if hashlib.sha256(manifest).digest() != header.bundle:
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} is not the one that the header names")
    if hashlib.sha256(text).hexdigest() != read_manifest(manifest, files).get(ROUND):
        raise BrokenBundle(folder=files.where, problem=f"{ROUND} is not the one that the manifest names")
    return leaves_of(text, where=files.where)
