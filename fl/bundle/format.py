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
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fl.chain.typed_data import Header
from fl.chain.whole_file import write_whole
from fl.codec import Blocks, Layout
from fl.codec.address import is_checksummed
from fl.errors import FairshareError
from fl.foreign.files import Absent, GivenFolder, Outside, Unreadable
from fl.foreign.json_text import (
    MOST_BYTES,
    BadJson,
    decimal_of,
    hex_of,
    list_of,
    object_of,
    read_json,
    shown,
    text_of,
    whole_of,
)
from fl.plain_text import printable
from fl.privacy.transcript import Transcript
from fl.privacy.wire import transcript_from_json, transcript_to_json
from fl.rewards import Leaf, RoundTree
from fl.scoring.public_vectors import PublicStep
from fl.task.bounds import MOST_MODEL

MANIFEST, HEADER, ROUND = "manifest.json", "header.json", "round.json"
VERSION = 3  # of round.json; another one is refused by its number
AGGREGATE = "aggregate.safetensors"
MASKED = "masked.json"
_MOST_MASKED = 1 << 28  # bytes of it: what 1,000 clients tell of 80 pairs each is 60 MB
_ARRAYS = ("base.safetensors", "next.safetensors", "direction.blocks")
_FRAME_BYTES = 1 << 20  # of a file of arrays beside their values: names, shapes, scales
_HEADER_BYTES = 1 << 20
_ARRAY_FILES = (".safetensors", ".blocks", "validation")
_LONGEST_NAME, _MOST_ARRAYS, _MOST_DIMENSIONS = 500, 1 << 16, 8
# Coefficients of a public step: two for each array of the model (this round's step and direction), two for each of at most
# 15 rounds before, and three (see `fl.scoring.public_vectors`).
_COEFFICIENTS_EACH, _FURTHER_COEFFICIENTS = 2, 33
_MOST_SIGNATURES, _LONGEST_SIGNATURE = 255, 1000
# What somebody else's text does to a reader that expects another one.
_NOT_THIS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, FairshareError)


class BrokenBundle(FairshareError):
    """A bundle's files are not what its manifest, or its header, says."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder, self.problem = folder, problem

    def __str__(self) -> str:
        return f"bundle {self.folder}: {self.problem}; fetch it again, and ask the coordinator if it stays so"


class OtherVersion(FairshareError):
    """A round was written by another version of Fairshare."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen

    def __str__(self) -> str:
        return f"it is of version {self.seen}, and this Fairshare reads version {VERSION}; read it with the Fairshare that wrote it"


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
        return _MOST_MASKED
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


@dataclass(frozen=True, kw_only=True)
class ListedUpdate:
    """What round.json says of an accepted update, without its blocks."""

    account: str
    stake: int  # wei
    weight: int  # units of 2^−32
    selected: bool
    root: bytes
    signature: bytes  # 65 bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class BundledUpdate(ListedUpdate):
    """One accepted update as it was signed."""

    wire: bytes  # blocks


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
        contents = {
            "base.safetensors": save_safetensors(self.layout.unflatten(self.base)),
            "next.safetensors": save_safetensors(self.layout.unflatten(self.next)),
            **({} if self.aggregate is None else {AGGREGATE: save_safetensors(self.layout.unflatten(self.aggregate))}),
            "direction.blocks": self.direction.to_bytes(),
            ROUND: _canonical(self._round()),
            **({} if self.masked is None else {MASKED: _canonical(transcript_to_json(self.masked))}),
            **{f"updates/{update.account}.blocks": update.wire for update in self.updates},
        }
        sums = {}
        for name, data in contents.items():
            (folder / name).write_bytes(data)
            sums[name] = hashlib.sha256(data).hexdigest()
        manifest = _canonical(sums)
        (folder / MANIFEST).write_bytes(manifest)
        return hashlib.sha256(manifest).digest()

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
        contents = {name: checked_file(files, name, sha256=sums[name]) for name in names}
        return cls.parse({ROUND: text, **contents}, where=files.where), hashlib.sha256(manifest).digest()

    @classmethod
    def parse(cls, contents: Mapping[str, bytes], *, where: str) -> Bundle:
        """A bundle from the contents of its files by name. Raises: BrokenBundle for what is no bundle."""
        try:
            return cls._parse(contents)
        except (*_NOT_THIS, SafetensorError) as error:
            raise BrokenBundle(folder=where, problem=f"cannot be read ({type(error).__name__}: {error})") from error

    @classmethod
    def _parse(cls, contents: Mapping[str, bytes]) -> Bundle:
        record = read_round(contents[ROUND], where="")
        return cls(
            task_id=record.task_id,
            round=record.round,
            layout=record.layout,
            base=record.layout.flatten(load_safetensors(contents["base.safetensors"])),
            next=record.layout.flatten(load_safetensors(contents["next.safetensors"])),
            updates=tuple(
                BundledUpdate(**vars(update), wire=contents[f"updates/{update.account}.blocks"])
                for update in record.updates
            ),
            direction=Blocks.from_bytes(contents["direction.blocks"], size=record.layout.size),
            previous=record.previous,
            leaves=record.leaves,
            price=record.price,
            length=record.length,
            aggregate=record.layout.flatten(load_safetensors(contents[AGGREGATE])) if record.public else None,
            public=record.public,
            masked=transcript_from_json(read_json(contents[MASKED], most=_MOST_MASKED)) if record.masked else None,
        )

    def _round(self) -> dict[str, object]:
        return {
            "version": VERSION,
            "taskId": self.task_id.hex(),
            "round": self.round,
            "names": self.layout.names,
            "shapes": self.layout.shapes,
            "updates": [
                {
                    "account": update.account,
                    "stake": str(update.stake),
                    "weight": str(update.weight),
                    "selected": update.selected,
                    "root": update.root.hex(),
                    "signature": update.signature.hex(),
                }
                for update in self.updates
            ],
            "previous": [leaf_to_json(leaf) for leaf in self.previous],
            "leaves": [leaf_to_json(leaf) for leaf in self.leaves],
            "price": str(self.price),
            "length": str(self.length),
            # Floats in hex: a decimal would have to be read back to the same bits.
            "public": self.public
            and {
                "coefficients": [coefficient.hex() for coefficient in self.public.coefficients],
                "rate": self.public.rate.hex(),
            },
            **({} if self.masked is None else {"masked": True}),  # an open round says nothing of it
        }


def hash_of(folder: Path) -> bytes:
    """The hash that names a written bundle in its header: sha256 of its manifest, 32 bytes. Raises: BrokenBundle."""
    return hashlib.sha256(BundleFolder(folder).read(MANIFEST)).digest()


def write_header(folder: Path, header: Header, *, signatures: list[bytes]) -> None:
    """Put the header and its evaluators' signatures beside the manifest that it names, whole or not at all."""
    text = _canonical({"header": header_to_json(header), "signatures": [signature.hex() for signature in signatures]})
    write_whole(folder / HEADER, text)


def read_header(source: Path | BundleFiles) -> tuple[Header, list[bytes]]:
    """The header and signatures of a bundle. Raises: BrokenBundle."""
    files = files_of(source)
    text = files.read(HEADER)
    try:
        raw = object_of(read_json(text))
        signatures = list_of(raw["signatures"])
        if len(signatures) > _MOST_SIGNATURES:
            raise BadJson(
                problem=f"it has {len(signatures)} signatures, and a task at most {_MOST_SIGNATURES} evaluators"
            )
        return header_from_json(raw["header"]), [_signature(signature) for signature in signatures]
    except _NOT_THIS as error:
        raise BrokenBundle(folder=files.where, problem=f"{HEADER} cannot be read ({error})") from error


def header_to_json(header: Header) -> dict[str, str]:
    """A header with its amounts as decimal strings and its hashes in hex."""
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in asdict(header).items()}


def header_from_json(raw: object) -> Header:
    """What `header_to_json` wrote. Raises: BadJson or KeyError for anything else."""
    told = object_of(raw)
    return Header(
        task_id=hex_of(told["task_id"], size=32),
        round=decimal_of(told["round"], bits=32),
        previous=hex_of(told["previous"], size=32),
        base_model=hex_of(told["base_model"], size=32),
        next_model=hex_of(told["next_model"], size=32),
        validation=hex_of(told["validation"], size=32),
        direction_root=hex_of(told["direction_root"], size=32),
        tree_root=hex_of(told["tree_root"], size=32),
        leaf_count=decimal_of(told["leaf_count"], bits=32),
        enrolment=hex_of(told["enrolment"], size=32),
        cumulative=decimal_of(told["cumulative"], bits=128),
        price=decimal_of(told["price"], bits=128),
        bundle=hex_of(told["bundle"], size=32),
    )


def _signature(raw: object) -> bytes:
    # Of any length: who reads it says what is wrong with it.
    return bytes.fromhex(text_of(raw, most=_LONGEST_SIGNATURE))


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


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """round.json: what everybody is given of a round beside its header."""

    task_id: bytes
    round: int
    layout: Layout
    updates: tuple[ListedUpdate, ...]
    previous: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]
    price: int  # units of 2^−64 wei per 2^−40 of loss
    length: int  # units of 2^−64
    public: PublicStep | None
    masked: bool = False


def files_named_by(record: RoundRecord) -> list[str]:
    """The files of a bundle beside round.json and the manifest."""
    updates = [f"updates/{update.account}.blocks" for update in record.updates]
    return [*_ARRAYS, *([AGGREGATE] if record.public else []), *([MASKED] if record.masked else []), *updates]


def leaves_of(text: bytes, *, where: str) -> tuple[Leaf, ...]:
    """The leaves in the content of round.json, whatever else it holds: no nonsense beside them keeps a fraud from being proven.

    Raises: BrokenBundle.
    """
    try:
        leaves = tuple(map(leaf_from_json, list_of(object_of(read_json(text))["leaves"])))
        RoundTree(leaves, published=True)  # which is where sums that are too large show
        return leaves
    except _NOT_THIS as error:
        raise BrokenBundle(folder=where, problem=f"{ROUND} cannot be read ({type(error).__name__}: {error})") from error


def read_round(text: bytes, *, where: str) -> RoundRecord:
    """Read the content of round.json. Raises: BrokenBundle."""
    try:
        raw = object_of(read_json(text))
        if (version := raw.get("version", 1)) != VERSION or type(version) is not int:
            raise OtherVersion(seen=printable(shown(version)))
        # Somebody else wrote it, and everything behind trusts the object.
        layout = _layout(raw["names"], raw["shapes"])
        record = RoundRecord(
            task_id=hex_of(raw["taskId"], size=32),
            round=whole_of(raw["round"], least=1, most=2**32 - 1),
            layout=layout,
            updates=tuple(map(_listed, list_of(raw["updates"]))),
            previous=tuple(map(leaf_from_json, list_of(raw["previous"]))),
            leaves=tuple(map(leaf_from_json, list_of(raw["leaves"]))),
            price=decimal_of(raw["price"], bits=128),
            length=decimal_of(raw["length"], bits=128),
            public=_public(raw["public"], arrays=len(layout.names)),
            masked="masked" in raw,
        )
        if raw.get("masked", True) is not True:
            raise BadJson(problem=f"masked is {shown(raw['masked'])}; it is true, or not there")
        for leaves in (record.leaves, record.previous or record.leaves):
            RoundTree(leaves, published=True)
        return record
    except _NOT_THIS as error:
        raise BrokenBundle(folder=where, problem=f"{ROUND} cannot be read ({type(error).__name__}: {error})") from error


def _layout(names: object, shapes: object) -> Layout:
    told = tuple(text_of(name, most=_LONGEST_NAME) for name in list_of(names))
    sizes = tuple(
        tuple(whole_of(size, least=0, most=MOST_MODEL) for size in list_of(shape)) for shape in list_of(shapes)
    )
    if len(set(told)) != len(told) or len(sizes) != len(told) or len(told) > _MOST_ARRAYS:
        raise BadJson(
            problem=f"{len(told)} names of arrays, of which {len(set(told))} differ, have {len(sizes)} shapes"
        )
    if any(len(shape) > _MOST_DIMENSIONS for shape in sizes) or sum(map(math.prod, sizes)) > MOST_MODEL:
        raise BadJson(problem=f"its arrays have more than {_MOST_DIMENSIONS} dimensions, or {MOST_MODEL} values in all")
    return Layout(names=told, shapes=sizes)


def _public(raw: object, *, arrays: int) -> PublicStep | None:
    if raw is None:
        return None
    told = object_of(raw)
    coefficients = list_of(told["coefficients"])
    most = _COEFFICIENTS_EACH * arrays + _FURTHER_COEFFICIENTS
    if len(coefficients) > most:
        raise BadJson(
            problem=f"the public step has {len(coefficients)} coefficients, {most} are the most for {arrays} arrays"
        )
    return PublicStep(coefficients=tuple(map(_hex_float, coefficients)), rate=_hex_float(told["rate"]))


def _hex_float(raw: object) -> float:
    value = float.fromhex(text_of(raw, most=40))
    if not math.isfinite(value):
        raise BadJson(problem=f"the public step has {shown(raw)}, which is no number")
    return value


def _listed(raw: object) -> ListedUpdate:
    told = object_of(raw)
    if not isinstance(told["selected"], bool):
        raise BadJson(problem=f"selected is {shown(told['selected'])}, true or false is expected")
    return ListedUpdate(
        account=_account(told["account"]),
        stake=decimal_of(told["stake"], bits=128),
        weight=decimal_of(told["weight"], bits=64),
        selected=told["selected"],
        root=hex_of(told["root"], size=32),
        signature=hex_of(told["signature"], size=65),
    )


def _account(raw: object) -> str:
    account = text_of(raw, most=42)
    if not is_checksummed(account):
        raise BadJson(problem=f"{shown(account)} is no checksum address")
    return account


def read_manifest(text: bytes, files: BundleFiles) -> dict[str, str]:
    """sha256 in hex by file name. Raises: BrokenBundle for a text that is no manifest."""
    try:
        sums = read_json(text)
    except BadJson as error:
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} cannot be read ({error})") from error
    if not isinstance(sums, dict) or not all(isinstance(checksum, str) for checksum in sums.values()):
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} cannot be read (it is no list of sha256 sums)")
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


def leaf_to_json(leaf: Leaf) -> dict[str, str]:
    """A leaf with its amounts as decimal strings."""
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in asdict(leaf).items()}


def leaf_from_json(raw: object) -> Leaf:
    """What `leaf_to_json` wrote. Raises: BadJson or KeyError for what no tree can hold."""
    told = object_of(raw)
    return Leaf(
        account=_account(told["account"]),
        update_root=hex_of(told["update_root"], size=32),
        weight=decimal_of(told["weight"], bits=64),
        score=decimal_of(told["score"], bits=128, signed=True),
        total=decimal_of(told["total"], bits=128, signed=True),
        cumulative=decimal_of(told["cumulative"], bits=128),
    )


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
