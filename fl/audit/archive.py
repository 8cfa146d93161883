"""A task in one file that outlives everybody: what an audit needs beside a chain, signed by the coordinator.

    archive.json                            version, task, and sha256 of each file below
    signature.json                          who signed archive.json, and the signature (EIP-191)
    invite.json                             where the task is, and its spec
    rounds/round-0001/header.json, manifest.json, round.json    leaves, γ and λ among them
    rounds/round-0001/direction.blocks      once it is revealed
    receipts/0x….json                       the coordinator's word for each update that it took

The file is a ZIP. Its signature says who vouches for it; what it says is held against the chain all the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct
from eth_account.signers.local import LocalAccount
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from fl.bundle.files import DIRECTION, HEADER, MANIFEST, ROUND, BrokenBundle, BundleFiles, most_bytes, round_folder
from fl.bundle.store import BundleSource, Withheld
from fl.chain.invite import BadInvite, Invite
from fl.chain.whole_file import write_whole
from fl.errors import FairshareError
from fl.foreign.json_text import object_of, read_json
from fl.plain_text import printable

log = logging.getLogger(__name__)

ARCHIVE = "archive.zip"  # in a coordinator's folder
VERSION = 1
_BEGINS = b"PK\x03\x04"
_ALWAYS = (HEADER, MANIFEST, ROUND)
_LIST, _SIGNATURE, _INVITE = "archive.json", "signature.json", "invite.json"
_MOST_LIST = 64 << 20  # bytes of the list of files
_MOST_RECEIPTS = 256 << 20  # bytes in all: of 10,000 clients in 100 rounds each
_MOST_DIRECTORY = 16 << 20  # bytes of the ZIP's own list: of 150,000 files
_AT_ONCE = 1 << 20  # bytes


class BadArchive(FairshareError):
    """A file is not an archive, or was changed since it was signed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"archive {self.path} {self.problem}; get it again from its author"


def write_archive(
    path: Path,
    *,
    invite: Invite,
    bundles: BundleSource,
    rounds: Iterable[int],
    receipts: Path,
    revealed: bool,
    account: LocalAccount,
) -> int:
    """Write the archive of a task, whole or not at all; returns its size in bytes.

    Args:
        bundles: Where the rounds are.
        rounds: Those to keep.
        receipts: Folder of the coordinator's receipts, by account.
        revealed: Whether the directions are everybody's to see.
        account: Signs.
    Raises: BrokenBundle for a round whose header, manifest or leaves are not there.
    """
    files: dict[str, bytes] = {_INVITE: (invite_text(invite)).encode()}
    for number in rounds:
        bundle = bundles.bundle(number)
        for name in _ALWAYS:
            files[f"rounds/{round_folder(number)}/{name}"] = bundle.read(name)
        if revealed:
            try:
                files[f"rounds/{round_folder(number)}/{DIRECTION}"] = bundle.read(DIRECTION)
            except BrokenBundle as error:  # dropped since, as `coordinator.keep` wants it
                log.info("round %d: the archive has no direction: %s", number, error)
    for receipt in sorted(receipts.glob("0x*.json")):
        files[f"receipts/{receipt.name}"] = receipt.read_bytes()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    listed = {"version": VERSION, "task": invite.task_id, "chain_id": invite.chain_id, "contract": invite.contract}
    text = json.dumps({**listed, "files": sums}, sort_keys=True, indent=1).encode() + b"\n"
    signature = account.sign_message(_message(text)).signature
    signed = {"signer": account.address, "signature": "0x" + signature.hex().removeprefix("0x")}
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, data in {_LIST: text, _SIGNATURE: json.dumps(signed, indent=1).encode() + b"\n", **files}.items():
            # One time for all: the same task makes the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=zipfile.ZIP_DEFLATED)
    write_whole(path, packed.getvalue())
    return packed.tell()


def invite_text(invite: Invite) -> str:
    """An invite as its file has it."""
    return json.dumps(vars(invite), indent=1) + "\n"


# What a text of somebody's is refused with: JSON of another shape, or bytes that are no signature.
_NO_LIST = (LookupError, TypeError, ValueError, AttributeError)
_NO_SIGNATURE = (BadSignature, ValidationError)


def is_archive(path: Path) -> bool:
    """Whether a path is a file that may be an archive."""
    return path.is_file() and (zipfile.is_zipfile(path) or _begins_so(path))


def _begins_so(path: Path) -> bool:
    """Whether a file begins as an archive does: of one that is cut short, the end is gone, by which `zipfile` knows it."""
    try:
        with path.open("rb") as file:
            return file.read(len(_BEGINS)) == _BEGINS
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive that was opened, its files and its signature checked: a `BundleSource` of a task that may be long over."""

    path: Path
    invite: Invite
    signer: str  # whoever signed it; whether that is the task's coordinator, the chain says
    sums: Mapping[str, str]  # sha256 in hex by name

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Raises: BadArchive if the file is none, is of another version, or is not what was signed."""
        try:
            with path.open("rb") as file:
                _check_directory(file, path=path)
            with zipfile.ZipFile(path) as archive:
                text = _read(archive, _LIST, path=path)
                listed = object_of(read_json(text, most=_MOST_LIST))
                signed = object_of(read_json(_read(archive, _SIGNATURE, path=path)))
                if (version := listed.get("version")) != VERSION:
                    problem = f"is of version {printable(version, most=20)}, and this Fairshare reads version {VERSION}"
                    raise BadArchive(path=str(path), problem=problem)
                signature = bytes.fromhex(signed["signature"].removeprefix("0x"))
                if (signer := Account.recover_message(_message(text), signature=signature)) != signed["signer"]:
                    problem = f"says that {printable(signed['signer'], most=50)} signed it, the signature is {signer}'s"
                    raise BadArchive(path=str(path), problem=problem)
                sums = {str(name): str(sha256) for name, sha256 in listed["files"].items()}
                invite = Invite.from_bytes(_checked(archive, _INVITE, sums, path=path), where=f"{path}/{_INVITE}")
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            cut = " and may be cut short" if isinstance(error, zipfile.BadZipFile) and _begins_so(path) else ""
            raise BadArchive(path=str(path), problem=f"cannot be read ({type(error).__name__}){cut}") from error
        except (BadArchive, BadInvite):
            raise
        except (*_NO_LIST, *_NO_SIGNATURE) as error:
            raise BadArchive(path=str(path), problem=f"is not an archive of a task ({type(error).__name__})") from error
        if (listed["task"], listed["contract"]) != (invite.task_id, invite.contract):
            raise BadArchive(path=str(path), problem="holds the invite of another task")
        return cls(path=path, invite=invite, signer=signer, sums=sums)

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def bundle(self, number: int) -> BundleFiles:
        """The files of a round."""
        return _ArchivedBundle(self, number)

    def receipts(self) -> dict[str, bytes]:
        """By account, the content of the coordinator's file of receipts. Raises: BadArchive."""
        found: dict[str, bytes] = {}
        left = _MOST_RECEIPTS  # each is within its bounds, and what is packed small may be many of them
        with zipfile.ZipFile(self.path) as archive:
            for name in (one for one in self.sums if one.startswith("receipts/")):
                data = _checked(archive, name, self.sums, path=self.path)
                if (left := left - len(data)) < 0:
                    raise BadArchive(path=str(self.path), problem=f"has receipts of more than {_MOST_RECEIPTS:,} bytes")
                found[name.removeprefix("receipts/").removesuffix(".json")] = data
        return found


@dataclass(frozen=True)
class _ArchivedBundle:
    archive: Archive
    number: int

    @property
    def where(self) -> str:
        """The archive and the round."""
        return f"{self.archive.path}/{round_folder(self.number)}"

    def read(self, name: str) -> bytes:
        """One file. Raises: BrokenBundle; Withheld for updates and models, which no archive has."""
        full = f"rounds/{round_folder(self.number)}/{name}"
        if full not in self.archive.sums:
            kind = BrokenBundle if name in _ALWAYS else Withheld
            raise kind(folder=self.where, problem=f"{name} is not in the archive")
        try:
            with zipfile.ZipFile(self.archive.path) as archive:
                return _checked(archive, full, self.archive.sums, path=self.archive.path)
        except (BadArchive, OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise BrokenBundle(folder=self.where, problem=f"{name} cannot be read ({error})") from error


def _message(text: bytes) -> SignableMessage:
    return encode_defunct(text=f"Fairshare archive, sha256 of its list of files: {hashlib.sha256(text).hexdigest()}")


def _checked(archive: zipfile.ZipFile, name: str, sums: Mapping[str, str], *, path: Path) -> bytes:
    data = _read(archive, name, path=path)
    if hashlib.sha256(data).hexdigest() != sums.get(name):
        raise BadArchive(path=str(path), problem=f"was changed: {printable(name, most=100)} is not what was signed")
    return data


def _read(archive: zipfile.ZipFile, name: str, *, path: Path) -> bytes:
    told, most = printable(name, most=100), _MOST_LIST if name == _LIST else most_bytes(name)
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BadArchive(path=str(path), problem=f"has no {told}") from None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadArchive(path=str(path), problem=f"has {told} packed in a way that none is")
    if info.file_size > most:
        raise BadArchive(path=str(path), problem=f"has a {told} of {info.file_size} bytes")
    parts = []
    # In pieces: `read` to the end unpacks all there is, whatever size the archive says that it has.
    try:
        with archive.open(info) as file:
            while part := file.read(_AT_ONCE):
                parts.append(part)
    except (zlib.error, EOFError) as error:
        raise BadArchive(path=str(path), problem=f"holds {told}, which cannot be unpacked ({error})") from error
    return b"".join(parts)


def _check_directory(file: IO[bytes], *, path: Path) -> None:
    """Look at how long the list of names at the end of a ZIP file is: all of it becomes objects once the file is opened."""
    ends: Any = zipfile  # its own reader of the end of a file has no public name
    found = ends._EndRecData(file)
    if found is not None and found[ends._ECD_SIZE] > _MOST_DIRECTORY:
        raise BadArchive(path=str(path), problem="has too many files")
