"""The invite: one file that holds all a client needs to find, check and join a task."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from eth_utils import is_checksum_address

from fl.chain.errors import ChainError
from fl.chain.json_file import write_json
from fl.chain.rpc_url import without_key

_STRING = "fairshare:"  # how the one-line form begins
_MOST_BYTES = 1 << 20  # of an unpacked one-line invite: a few kilobytes are usual


class BadInvite(ChainError):
    """An invite file is absent, or says something else than an invite."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"invite {self.path} {self.problem}; ask the coordinator for it"


@dataclass(frozen=True, kw_only=True)
class Invite:
    """Where a task is and what it trains. The owner of a node accepts a task by naming its invite."""

    chain_id: int
    url: str  # of the RPC node
    contract: str
    token: str
    block: int
    task_id: str  # 0x hex
    coordinator: str  # whose receipts count
    spec: str  # canonical JSON; its sha256 is the contract's specHash
    gateway: str = ""  # https://host:port of the coordinator's gateway; none where everything runs on one machine
    ca: str = ""  # PEM of the certificate that the gateway's own is signed with; none for the system's

    @property
    def id_bytes(self) -> bytes:
        """The task id, 32 bytes."""
        return bytes.fromhex(self.task_id.removeprefix("0x"))

    @property
    def spec_hash(self) -> bytes:
        """sha256 of the spec's text."""
        return hashlib.sha256(self.spec.encode()).digest()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self._public())

    def to_string(self) -> str:
        """The one-line form, to paste into a chat or a terminal."""
        packed = zlib.compress(json.dumps(self._public(), separators=(",", ":")).encode(), level=9)
        return _STRING + urlsafe_b64encode(packed).decode()

    def _public(self) -> dict[str, object]:
        # An invite is given away: the key of the RPC node is not.
        return {**asdict(self), "url": without_key(self.url)}

    @classmethod
    def load(cls, text: str) -> Invite:
        """From a file's name or the one-line form. Raises: BadInvite."""
        if not text.startswith(_STRING):
            return cls.read(Path(text).expanduser())
        shown = f"{text[:24]}…"
        try:
            unpacker = zlib.decompressobj()
            raw = unpacker.decompress(urlsafe_b64decode(text.removeprefix(_STRING).strip()), _MOST_BYTES)
            if not unpacker.eof:
                raise ValueError("it is cut short, or too long")
            return cls._of(json.loads(raw), where=shown)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise BadInvite(path=shown, problem=f"is not one ({error})") from error

    @classmethod
    def read(cls, path: Path) -> Invite:
        """Read the file. Raises: BadInvite if it is not there, or a value in it has another form."""
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            raise BadInvite(path=str(path), problem="is not there") from None
        except (OSError, ValueError) as error:
            raise BadInvite(path=str(path), problem=f"is not one ({type(error).__name__}: {error})") from error
        return cls._of(raw, where=str(path))

    @classmethod
    def _of(cls, raw: object, *, where: str) -> Invite:
        try:
            optional = ("gateway", "ca")
            invite = cls(
                **{one.name: raw[one.name] for one in fields(cls) if one.name not in optional or one.name in raw}
            )
        except (KeyError, TypeError) as error:
            raise BadInvite(path=where, problem=f"is not one ({type(error).__name__}: {error})") from error
        # Somebody else wrote it, and everything behind trusts the object.
        for name, fits in {
            **dict.fromkeys(("chain_id", "block"), lambda value: type(value) is int),
            **dict.fromkeys(("url", "spec", "ca"), lambda value: isinstance(value, str)),
            **dict.fromkeys(("contract", "token", "coordinator"), is_checksum_address),
            "task_id": lambda value: isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]{64}", value),
            # Nothing but TLS: what goes through it is signed, but who asks for it is nobody else's business.
            "gateway": lambda value: isinstance(value, str) and re.fullmatch(r"(https://[!-.0-~]+)?", value),
        }.items():
            if not fits(value := getattr(invite, name)):
                raise BadInvite(path=where, problem=f"is not one ({name} is {value!r})")
        return invite
