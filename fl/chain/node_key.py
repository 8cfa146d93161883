"""The key by which a client's Flower node is known: `join` puts its public half on chain, and the coordinator registers exactly those.

On chain it is a compressed point of the curve P-384 (X9.62), 49 bytes: a quarter of Flower's own form in calldata.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fl.chain.enrolment import Enrolment
from fl.chain.errors import ChainError
from fl.chain.whole_file import write_new
from fl.foreign.files import Unreadable, read_file

NODE_KEY_BYTES = 49
_MOST_BYTES = 1 << 16  # of a key file
# What the library says to other bytes than a key's; TypeError: it has a password.
_NO_KEY = (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm)
_REMEMBERED = 1 << 16  # keys in both their forms: all of a task's are looked at each second


class BadNodeKey(ChainError):
    """A node's key is absent, unreadable by its owner alone, or no key of the curve."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"node key {self.where} {self.problem}"


def create_node_key(path: Path) -> bytes:
    """Make a key file (OpenSSH form, mode 0600, as `flower-supernode` takes it) and return its on-chain form.

    Raises: BadNodeKey if the file is there already, so that no identity is ever overwritten.
    """
    private = ec.generate_private_key(ec.SECP384R1())
    text = private.private_bytes(
        encoding=serialization.Encoding.PEM,
        format=serialization.PrivateFormat.OpenSSH,
        encryption_algorithm=serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        write_new(path, text, mode=0o600)
    except FileExistsError:
        raise BadNodeKey(where=str(path), problem="is there already; open it, or name another file") from None
    return _on_chain(private.public_key())


def open_node_key(path: Path) -> bytes:
    """The on-chain form of a key file. Raises: BadNodeKey."""
    try:
        text = read_file(path, most=_MOST_BYTES)
    except Unreadable as error:
        problem = f"{error.problem}; name the file that the node joined with"
        raise BadNodeKey(where=str(path), problem=problem) from None
    if path.stat().st_mode & 0o077:
        raise BadNodeKey(where=str(path), problem=f"can be read by others; run chmod 600 {path}")
    try:
        private = serialization.load_ssh_private_key(text, None)
    except _NO_KEY:
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP384R1):
        raise BadNodeKey(
            where=str(path), problem="is not a P-384 key in OpenSSH form; name the file that the node joined with"
        )
    if not _is_of(private.public_key(), text):
        raise BadNodeKey(
            where=str(path), problem="is damaged: its two halves are of different keys; restore it from a copy"
        )
    return _on_chain(private.public_key())


def _is_of(public: ec.EllipticCurvePublicKey, text: bytes) -> bool:
    """Whether a key file names the public key that its private half has: the library believes the private one alone."""
    told = public.public_bytes(encoding=serialization.Encoding.OpenSSH, format=serialization.PublicFormat.OpenSSH)
    lines = [line for line in text.split(b"\n") if line and not line.startswith(b"-----")]
    return base64.b64decode(told.split()[1]) in base64.b64decode(b"".join(lines))


@lru_cache(maxsize=_REMEMBERED)
def flower_public_key(node_key: bytes) -> bytes:
    """A node key from the chain as Flower writes public keys (PEM). Raises: BadNodeKey for bytes that are no point."""
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), node_key)
        if len(node_key) != NODE_KEY_BYTES:
            raise ValueError
    except ValueError:
        problem = f"is not a compressed point of P-384 ({len(node_key)} bytes); the client has to join with `fl client`"
        raise BadNodeKey(where=f"0x{node_key.hex()[:16]}…", problem=problem) from None
    return public.public_bytes(
        encoding=serialization.Encoding.PEM, format=serialization.PublicFormat.SubjectPublicKeyInfo
    )


@lru_cache(maxsize=_REMEMBERED)
def node_key_of(flower_key: bytes) -> bytes:
    """The on-chain form of a public key as Flower writes it. Raises: BadNodeKey."""
    try:
        public = serialization.load_pem_public_key(flower_key)
    except _NO_KEY:
        public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP384R1):
        raise BadNodeKey(where="of a Flower node", problem="is not a P-384 public key; start the node with `fl client`")
    return _on_chain(public)


def _on_chain(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(encoding=serialization.Encoding.X962, format=serialization.PublicFormat.CompressedPoint)


def accounts_by_key(members: Iterable[Enrolment]) -> dict[bytes, tuple[str, ...]]:
    """The accounts that named each node key, in the order in which they joined.

    Keys are public, and anybody may put somebody else's on chain, before or after its owner. So a key may speak for each
    account that named it: which one an update is for, the signature of that account's wallet tells.
    """
    accounts: dict[bytes, list[str]] = {}
    for member in members:
        accounts.setdefault(member.node_key, []).append(member.account)
    return {key: tuple(named) for key, named in accounts.items()}
