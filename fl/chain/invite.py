"""The invite: one file that holds all a client needs to find, check and join a task.

Three forms: the file, one line that holds all of it (`to_string`), and a link to the gateway that serves it (`link`), which
`fl.bundle.invite_link` follows.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.errors import ChainError
from fl.chain.json_file import write_json
from fl.chain.rpc_url import without_key
from fl.chain.typed_data import Domain, GatewayNotice, InvalidSignature, sign, signer_of
from fl.codec.address import is_checksummed
from fl.foreign.files import Absent, GivenFolder, Unreadable, expanded, read_file
from fl.foreign.json_text import BadJson, object_of, read_json, shown, text_of, whole_of

_STRING = "fairshare:"  # how the one-line form begins
_MOST_BYTES = 4 << 20  # of a file, or an unpacked line: a few kilobytes are usual, and a wide table's columns take more
_LONGEST_URL, _LONGEST_CERTIFICATE = 2000, 1 << 16
_LARGEST = 2**64 - 1  # of a chain id or a block's number


class BadInvite(ChainError):
    """An invite file is absent, or says something other than an invite."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"invite {self.path} {self.problem}; ask the coordinator for it"


def fingerprint(pem: str) -> str:
    """sha256 of a certificate's DER form, in base64 for URLs: 43 characters. Raises: ValueError for what is no PEM."""
    return urlsafe_b64encode(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()).decode().rstrip("=")


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
    name: str = ""  # of the task, in the coordinator's words, as is the description; neither is on chain
    description: str = ""
    signature: str = ""  # of the coordinator, under gateway, certificate, name and description: 0x hex of 65 bytes

    @property
    def id_bytes(self) -> bytes:
        """The task id, 32 bytes."""
        return bytes.fromhex(self.task_id.removeprefix("0x"))

    @property
    def spec_hash(self) -> bytes:
        """sha256 of the spec's text."""
        return hashlib.sha256(self.spec.encode()).digest()

    @property
    def link(self) -> str:
        """The short form: the gateway's address and, after #, whose certificate it has to show; "" without a gateway."""
        if not self.gateway:
            return ""
        return f"{self.gateway}/" + (f"#{fingerprint(self.ca)}" if self.ca else "")

    def served_at(
        self, gateway: str, *, ca: str, coordinator: LocalAccount, name: str = "", description: str = ""
    ) -> Invite:
        """The invite of a task on real machines, with the coordinator's signature under where it is reached.

        Args:
            gateway: https://host:port.
            ca: PEM of the certificate that the gateway's own is signed with, "" for the system's.
            coordinator: Of the task.
            name: Of the task.
            description: Of the task.
        """
        told = replace(self, gateway=gateway, ca=ca, name=name, description=description)
        return replace(told, signature="0x" + sign(told._notice, domain=self._domain, account=coordinator).hex())

    @property
    def gateway_signer(self) -> str | None:
        """Whose signature stands under gateway, certificate, name and description; None for nobody's."""
        try:
            return signer_of(
                self._notice, domain=self._domain, signature=bytes.fromhex(self.signature.removeprefix("0x"))
            )
        except InvalidSignature:
            return None

    @property
    def _domain(self) -> Domain:
        return Domain(chain_id=self.chain_id, contract=self.contract)

    @property
    def _notice(self) -> GatewayNotice:
        return GatewayNotice(
            task_id=self.id_bytes,
            gateway=self.gateway,
            authority=self.ca,
            name=self.name,
            description=self.description,
        )

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
        return cls.from_line(text) if text.startswith(_STRING) else cls.read(expanded(text))

    @classmethod
    def from_line(cls, text: str) -> Invite:
        """From the one-line form. Raises: BadInvite."""
        begins = f"{text[:24]}…"
        if not text.startswith(_STRING):
            raise BadInvite(path=begins, problem=f"is not one (it does not begin with {_STRING})")
        if len(text) > _MOST_BYTES:
            raise BadInvite(path=begins, problem="is not one (it is too long)")
        unpacker = zlib.decompressobj()
        try:
            raw = unpacker.decompress(urlsafe_b64decode(text.removeprefix(_STRING).strip()), _MOST_BYTES)
            whole = unpacker.eof
        except (zlib.error, ValueError):  # of base64, too
            whole = False
        if not whole:
            raise BadInvite(path=begins, problem="is damaged or cut short; copy the whole line")
        try:
            return cls._of(read_json(raw), where=begins)
        except ValueError as error:
            raise BadInvite(path=begins, problem=f"is not one ({error})") from error

    @classmethod
    def read(cls, path: Path | str, *, inside: GivenFolder | None = None) -> Invite:
        """Read the file.

        Args:
            inside: The folder that somebody gave, for a file in it; nothing is reached through its links.
        Raises: BadInvite if it is not there, or a value in it has another form.
        """
        try:
            text = inside.read(str(path), most=_MOST_BYTES) if inside else read_file(Path(path), most=_MOST_BYTES)
        except Absent:
            raise BadInvite(path=str(path), problem="is not there") from None
        except Unreadable as error:
            raise BadInvite(path=str(path), problem=f"is not one ({error.problem})") from error
        return cls.from_bytes(text, where=str(path))

    @classmethod
    def from_bytes(cls, text: bytes, *, where: str) -> Invite:
        """From a file's content. Raises: BadInvite."""
        try:
            raw = read_json(text)
        except BadJson as error:
            cut = text.lstrip().startswith(b"{") and not text.rstrip().endswith(b"}")
            problem = "is cut short; copy the whole file" if cut else f"is not one ({error.problem})"
            raise BadInvite(path=where, problem=problem) from error
        return cls._of(raw, where=where)

    @classmethod
    def _of(cls, raw: object, *, where: str) -> Invite:
        try:
            optional = ("gateway", "ca", "name", "description", "signature")
            told = object_of(raw)
            invite = cls(
                **{
                    field.name: told[field.name]
                    for field in fields(cls)
                    if field.name not in optional or field.name in told
                }
            )
            # Somebody else wrote it, and everything behind trusts the object.
            for name, least in (("chain_id", 1), ("block", 0)):
                whole_of(getattr(invite, name), least=least, most=_LARGEST, what=name)
            for name, most in (
                ("url", _LONGEST_URL),
                ("gateway", _LONGEST_URL),
                ("ca", _LONGEST_CERTIFICATE),
                ("spec", _MOST_BYTES),
                ("name", _LONGEST_URL),
                ("description", _LONGEST_CERTIFICATE),
            ):
                text_of(getattr(invite, name), most=most, what=name)
        except KeyError as error:
            raise BadInvite(path=where, problem=f"is not one (it has no {error})") from error
        except BadJson as error:
            raise BadInvite(path=where, problem=f"is not one ({error.problem})") from error
        checks: dict[str, Callable[[str], object]] = {
            **dict.fromkeys(("contract", "token", "coordinator"), is_checksummed),
            "task_id": re.compile(r"0x[0-9a-f]{64}").fullmatch,
            # Nothing but TLS: what goes through it is signed, but who asks for it is nobody else's business.
            "gateway": re.compile(r"(https://[!-.0-~]+)?").fullmatch,
            "signature": re.compile(r"(0x[0-9a-f]{130})?").fullmatch,
        }
        for name, fits in checks.items():
            value = getattr(invite, name)
            if not isinstance(value, str) or not fits(value):
                raise BadInvite(path=where, problem=f"is not one ({name} is {shown(value)})")
        return invite
