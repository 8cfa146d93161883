"""The seeds of a masked round: a client's own, its keys for each pair, and the shares by which the others can bring them back.

Each client draws three secrets a round. `pairs` gives a key of X25519 (RFC 7748) for each neighbour, from which both ends come to
the seed of their mask; `own` is the seed of the mask that it adds alone; `channels` gives the keys that shares travel under.
`pairs` and `own` are shared (Shamir 1979); of one client the holders give back one or the other and never both.
A key of its own for each pair lets one pair be opened, and checked against the keys that both ends signed, without another one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fl.errors import FairshareError

SECRET_BYTES = 16  # as many as the library's field holds
KEY_BYTES = 32
SHARE_BYTES = 1 + 2 + SECRET_BYTES  # which secret, its index, the share


class BadSeed(FairshareError):
    """Somebody's key, share or seed is not what it says."""

    def __init__(self, account: str, problem: str) -> None:
        super().__init__(account, problem)
        self.account, self.problem = account, problem

    def __str__(self) -> str:
        return f"{self.account}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What the seeds of a round are bound to."""

    task_id: bytes
    number: int

    def told(self, *words: str) -> bytes:
        """As key derivations are told of it."""
        return b"fairshare" + self.task_id + self.number.to_bytes(4, "big") + "|".join(words).encode()


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """One client's of one round."""

    pairs: bytes
    own: bytes
    channels: bytes

    @classmethod
    def draw(cls) -> Secrets:
        """New ones, from the system's cryptographic source."""
        return cls(pairs=os.urandom(SECRET_BYTES), own=os.urandom(SECRET_BYTES), channels=os.urandom(SECRET_BYTES))


def derived(secret: bytes, *, info: bytes, size: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869).

    Args:
        secret: To derive from.
        info: What it is for.
        size: Bytes.
    """
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=None, info=info).derive(secret)


def pair_key(secret: bytes, *, of: Round, owner: str, other: str) -> bytes:
    """The private key of `owner` for its pair with `other`, 32 bytes.

    Args:
        secret: Of the owner, 16 bytes.
        of: The round.
        owner: Account.
        other: Account.
    """
    return derived(secret, info=of.told("key", owner, other))


def public_key(private: bytes) -> bytes:
    """32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def check_public(key: bytes, *, owner: str) -> None:
    """Raises: BadSeed for a point of small order, with which every secret is the same."""
    exchanged(b"\x01" * KEY_BYTES, key, owner=owner)


def exchanged(private: bytes, public: bytes, *, owner: str) -> bytes:
    """The secret of a pair, 32 bytes.

    Args:
        private: Key, 32 bytes.
        public: Key, 32 bytes.
        owner: Of the public key, for messages.
    Raises: BadSeed for a public key that is none.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise BadSeed(
            account=owner, problem="its key for a pair is not a point that a secret can be made with"
        ) from error


def mask_seed(private: bytes, public: bytes, *, of: Round, owner: str, other: str) -> bytes:
    """The seed of the mask of a pair, 32 bytes: the same from either end.

    Args:
        private: Key of one end.
        public: Key of the other.
        of: The round.
        owner: Account of one end.
        other: Of the other.
    """
    low, high = sorted((owner, other), key=lambda account: int(account, 16))
    return derived(exchanged(private, public, owner=other), info=of.told("mask", low, high))


def score_seed(private: bytes, public: bytes, *, of: Round, owner: str, other: str) -> bytes:
    """The seed of a pair's noise on the scores of its ends, 32 bytes: the same from either end.

    Args:
        private: Key of one end.
        public: Key of the other.
        of: The round.
        owner: Account of one end.
        other: Of the other.
    """
    low, high = sorted((owner, other), key=lambda account: int(account, 16))
    return derived(exchanged(private, public, owner=other), info=of.told("score", low, high))


def own_mask_seed(secret: bytes, *, of: Round, owner: str) -> bytes:
    """The seed of the mask that a client adds alone, 32 bytes.

    Args:
        secret: 16 bytes.
        of: The round.
        owner: Account.
    """
    return derived(secret, info=of.told("own", owner))


def commitment(secret: bytes) -> bytes:
    """What binds to a secret or a share without showing it, 32 bytes."""
    return hashlib.sha256(b"\x05" + secret).digest()


def split(secret: bytes, *, holders: int, threshold: int) -> list[bytes]:
    """Shares of a secret, of which any `threshold` give it back and fewer tell nothing; 18 bytes each.

    Args:
        secret: 16 bytes.
        holders: How many shares.
        threshold: How many give it back.
    """
    shares = Shamir.split(threshold, holders, secret, ssss=False)
    return [index.to_bytes(2, "big") + share for index, share in shares]


def joined(shares: Sequence[bytes]) -> bytes:
    """The secret that shares come to, 16 bytes; nonsense if one of them is not of it."""
    return Shamir.combine([(int.from_bytes(share[:2], "big"), share[2:]) for share in shares], ssss=False)


def seal(content: bytes, *, private: bytes, public: bytes, of: Round, owner: str, other: str) -> bytes:
    """Shares on their way from `owner` to `other`, through the coordinator: ChaCha20-Poly1305 (RFC 8439).

    Args:
        content: To seal.
        private: Key of the owner.
        public: Key of the other.
        of: The round.
        owner: Account.
        other: Account.
    """
    key = _channel(private, public, of=of, owner=owner, other=other, peer=other)
    return ChaCha20Poly1305(key).encrypt(bytes(12), content, None)


def unseal(content: bytes, *, private: bytes, public: bytes, of: Round, owner: str, other: str) -> bytes:
    """What `owner` sealed for `other`, who opens it.

    Args:
        content: What was sealed.
        private: Key of the other.
        public: Key of the owner.
        of: The round.
        owner: Account.
        other: Account.
    Raises: BadSeed for something else.
    """
    try:
        key = _channel(private, public, of=of, owner=owner, other=other, peer=owner)
        return ChaCha20Poly1305(key).decrypt(bytes(12), content, None)
    except InvalidTag as error:
        raise BadSeed(account=owner, problem="its sealed shares do not open with the key that it signed") from error


def _channel(private: bytes, public: bytes, *, of: Round, owner: str, other: str, peer: str) -> bytes:
    # The direction is in the key, so that one nonce serves: each key seals once.
    return derived(exchanged(private, public, owner=peer), info=of.told("share", owner, other))
