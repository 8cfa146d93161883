"""What a client says in a masked round, step by step, and what of it is signed.

    commit    a key for each neighbour, and the length of its update
    share     seals for each neighbour the shares of its seeds, and commits to them
    mask      its words                                      (signed as every update is: Update(task, round, client, base, root))
    agree     whose words are in
    unmask    the seed of its own mask; shares of the pair secrets of those whose words are not in
    tell      for each pair, what the mask comes to along direction and projections
    open      its keys of the pairs that were drawn

Each is signed with the client's wallet as MaskedStep(taskId, round, client, step, content), content being the sha256 of its canonical
JSON, so that whatever contradicts it shows who lied.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fl.chain.typed_data import Domain, InvalidSignature, MaskedStep, signer_of
from fl.codec.address import is_checksummed
from fl.codec.tree import siblings_of
from fl.foreign.json_text import BadJson, decimal_of, hex_of, list_of, object_of, text_of, whole_of
from fl.privacy.graph import by_number
from fl.privacy.seeds import BadSeed, Round
from fl.privacy.words import Words

COMMIT, SHARE, AGREE, TELL = 1, 2, 3, 4
_MOST_SEALED, _MOST_TOLD = 400, 16 << 10


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """A client's keys of a round, and the length of what it trained."""

    account: str
    length: int  # of its update, units of 2^−64
    keys: dict[str, tuple[bytes, bytes]]  # neighbour -> public key of the pair's mask, and of the pair's channel
    signature: bytes = b""

    def content(self) -> bytes:
        """What is signed, 32 bytes."""
        return _committed(self.length, keys_root(self.keys))

    @cached_property
    def paths(self) -> dict[str, tuple[bytes, ...]]:
        """By neighbour, ascending, the siblings from its keys up to their root."""
        levels = _key_levels(self.keys)
        return {account: tuple(siblings_of(levels, index=place)) for place, account in enumerate(by_number(self.keys))}

    def to_json(self) -> dict[str, Any]:
        """As it travels and is published."""
        return {
            "account": self.account,
            "length": str(self.length),
            "keys": _hex_map(self.keys),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, raw: object) -> Commitment:
        """Raises: BadJson or KeyError."""
        told = object_of(raw)
        return cls(
            account=account_of(told["account"]),
            length=decimal_of(told["length"], bits=128),
            keys={
                account_of(address): _hexes(values, sizes=(32, 32))
                for address, values in object_of(told["keys"]).items()
            },
            signature=hex_of(told["signature"], size=65),
        )


@dataclass(frozen=True, kw_only=True)
class PeerKeys:
    """What one neighbour is shown of a commitment: its own keys in it, and that they are signed."""

    account: str  # whose commitment it is
    length: int
    mask: bytes
    channel: bytes
    path: tuple[bytes, ...]
    place: int
    count: int
    signature: bytes

    @classmethod
    def of(cls, said: Commitment, *, reader: str) -> PeerKeys:
        """The part of a commitment that is for `reader`."""
        return cls(
            account=said.account,
            length=said.length,
            mask=said.keys[reader][0],
            channel=said.keys[reader][1],
            path=said.paths[reader],
            place=list(said.paths).index(reader),
            count=len(said.keys),
            signature=said.signature,
        )

    def check(self, *, reader: str, of: Round, domain: Domain) -> None:
        """Check the signature.

        Args:
            reader: Account that they are for.
            of: The round.
            domain: Of the contract.
        Raises: BadSeed unless the account signed these keys for the reader.
        """
        node, index, width, path = _key_leaf(reader, (self.mask, self.channel)), self.place, self.count, list(self.path)
        while width > 1 and path:
            if index ^ 1 < width:
                sibling = path.pop(0)
                node = _key_node(sibling, node) if index & 1 else _key_node(node, sibling)
            index, width = index >> 1, (width + 1) >> 1
        content = _committed(self.length, _key_root(node, count=self.count))
        check_signed(content, self.signature, account=self.account, step=COMMIT, of=of, domain=domain)

    def to_json(self) -> list[Any]:
        """As it travels."""
        path = b"".join(self.path).hex()
        return [
            self.account,
            str(self.length),
            self.mask.hex(),
            self.channel.hex(),
            path,
            self.place,
            self.count,
            self.signature.hex(),
        ]

    @classmethod
    def from_json(cls, raw: object) -> PeerKeys:
        """Raises: BadJson."""
        parts = list_of(raw)
        if len(parts) != 8:
            raise BadJson(problem=f"a neighbour's keys have {len(parts)} parts where 8 are expected")
        path = text_of(parts[4], most=64 * 32)
        joined = hex_of(path, size=len(path) // 2)
        return cls(
            account=account_of(parts[0]),
            length=decimal_of(parts[1], bits=128),
            mask=hex_of(parts[2], size=32),
            channel=hex_of(parts[3], size=32),
            path=tuple(joined[start : start + 32] for start in range(0, len(joined), 32)),
            place=whole_of(parts[5], least=0, most=1 << 20),
            count=whole_of(parts[6], least=1, most=1 << 20),
            signature=hex_of(parts[7], size=65),
        )


def keys_root(keys: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """Root of the tree over a client's keys, by neighbour, 32 bytes: a neighbour is shown its own and a path."""
    return _key_root(_key_levels(keys)[-1][0], count=len(keys)) if keys else bytes(32)


def _key_levels(keys: Mapping[str, tuple[bytes, bytes]]) -> list[list[bytes]]:
    level = [_key_leaf(account, keys[account]) for account in by_number(keys)]
    levels = [level]
    while len(level) > 1:
        paired = [_key_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
        levels.append(level)
    return levels


def _key_leaf(neighbour: str, keys: tuple[bytes, bytes]) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(neighbour[2:]) + keys[0] + keys[1]).digest()


def _key_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _key_root(top: bytes, *, count: int) -> bytes:
    return hashlib.sha256(b"\x02" + count.to_bytes(8, "big") + top).digest()


def _committed(length: int, root: bytes) -> bytes:
    return digest({"length": str(length), "keys": root.hex()})


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What binds a client to its seeds and to the shares that it gave."""

    account: str
    pairs: bytes  # `commitment` of the secret of its pair keys
    own: bytes  # of the secret of its own mask
    shares: dict[str, tuple[bytes, bytes, bytes]]  # holder -> commitments to its two shares; sha256 of what was sealed
    signature: bytes = b""

    def content(self) -> bytes:
        """What is signed, 32 bytes."""
        return digest({"pairs": self.pairs.hex(), "own": self.own.hex(), "shares": _hex_map(self.shares)})

    def to_json(self) -> dict[str, Any]:
        """As it travels and is published."""
        return {
            "account": self.account,
            "pairs": self.pairs.hex(),
            "own": self.own.hex(),
            "shares": _hex_map(self.shares),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, raw: object) -> Sharing:
        """Raises: BadJson or KeyError."""
        told = object_of(raw)
        return cls(
            account=account_of(told["account"]),
            pairs=hex_of(told["pairs"], size=32),
            own=hex_of(told["own"], size=32),
            shares={
                account_of(address): _hexes(values, sizes=(32, 32, 32))
                for address, values in object_of(told["shares"]).items()
            },
            signature=hex_of(told["signature"], size=65),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Telling:
    """What the masks of a client's pairs come to along the direction and the projections, modulo 2^64."""

    account: str
    values: dict[str, Words] = field(default_factory=dict)  # partner -> shape (1 + projections,)
    signature: bytes = b""

    def content(self, question: bytes) -> bytes:
        """What is signed, 32 bytes: also what was asked, the direction and the projections."""
        told = b"".join(
            bytes.fromhex(account[2:]) + self.values[account].astype("<u8").tobytes()
            for account in by_number(self.values)
        )
        return hashlib.sha256(question + told).digest()

    def to_json(self) -> dict[str, Any]:
        """As it travels and is published."""
        values = {
            account: b64encode(self.values[account].astype("<u8").tobytes()).decode()
            for account in by_number(self.values)
        }
        return {"account": self.account, "values": values, "signature": self.signature.hex()}

    @classmethod
    def from_json(cls, raw: object) -> Telling:
        """Raises: BadJson or KeyError."""
        told = object_of(raw)
        return cls(
            account=account_of(told["account"]),
            values={account_of(address): _words(value) for address, value in object_of(told["values"]).items()},
            signature=hex_of(told["signature"], size=65),
        )


def agreement(accounts: Sequence[str]) -> bytes:
    """What a client signs when it is told whose words are in, 32 bytes."""
    return digest({"in": by_number(accounts)})


def check_signed(content: bytes, signature: bytes, *, account: str, step: int, of: Round, domain: Domain) -> None:
    """Check a signature under a step.

    Args:
        content: That was signed.
        signature: 65 bytes.
        account: Who has to have signed.
        step: Its name.
        of: The round.
        domain: Of the contract.
    Raises: BadSeed unless the account signed this for this step of this round.
    """
    message = MaskedStep(task_id=of.task_id, round=of.number, client=account, step=step, content=content)
    try:
        signer = signer_of(message, domain=domain, signature=signature)
    except InvalidSignature as error:
        raise BadSeed(account=account, problem=str(error)) from error
    if signer != account:
        raise BadSeed(
            account=account, problem=f"its step {step} is signed by {signer}; sign with the account's own key"
        )


def words_root(words: Words, *, roster: bytes, partners: Sequence[str]) -> bytes:
    """What a client signs for its words: sha256(0x04 ‖ roster ‖ uint64 partners ‖ their accounts ‖ uint64 P ‖ words), 32 bytes.

    Args:
        words: Shape (P,).
        roster: `roster_hash`: with it goes the length and the share that the words were made for.
        partners: Whose pair masks are in them, ascending.
    """
    head = (
        b"\x04"
        + roster
        + len(partners).to_bytes(8, "big")
        + b"".join(bytes.fromhex(partner[2:]) for partner in partners)
    )
    return hashlib.sha256(head + len(words).to_bytes(8, "big") + words.astype("<u8").tobytes()).digest()


def roster_hash(roster: Mapping[str, int]) -> bytes:
    """Of who committed, and to which lengths; 32 bytes."""
    return digest({account: str(roster[account]) for account in by_number(roster)})


def digest(told: object) -> bytes:
    """sha256 of canonical JSON, 32 bytes."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).digest()


def account_of(raw: object) -> str:
    """An account in its checksum form. Raises: BadJson."""
    account = text_of(raw, most=42)
    if not is_checksummed(account):
        raise BadJson(problem="it has something else where a checksum address should be")
    return account


def _hex_map(values: Mapping[str, Sequence[bytes]]) -> dict[str, list[str]]:
    return {account: [part.hex() for part in values[account]] for account in by_number(values)}


def _hexes(raw: object, *, sizes: Sequence[int]) -> Any:
    parts = list_of(raw)
    if len(parts) != len(sizes):
        raise BadJson(problem=f"it has {len(parts)} parts where {len(sizes)} are expected")
    return tuple(hex_of(part, size=size) for part, size in zip(parts, sizes, strict=True))


def _words(raw: object) -> Words:
    try:
        data = b64decode(text_of(raw, most=_MOST_TOLD), validate=True)
        return np.frombuffer(data, dtype="<u8").astype(np.uint64)
    except (NotBase64, ValueError) as error:
        raise BadJson(problem=f"it has words that are none ({error})") from error


def sealed_to_text(content: bytes) -> str:
    """Sealed shares as they travel."""
    return b64encode(content).decode()


def sealed_of(raw: object) -> bytes:
    """Raises: BadJson."""
    try:
        return b64decode(text_of(raw, most=_MOST_SEALED), validate=True)
    except (NotBase64, ValueError) as error:
        raise BadJson(problem=f"it has sealed shares that are none ({error})") from error
