"""Who calls the node API: the key in a call's head, held against the enrolled ones before anything else of the call is read.

Flower's SuperLink checks the same three headers, after it has read the body, looked into its database and waited for a turn.
"""

from __future__ import annotations

import binascii
import datetime as dt
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

_LONGEST_HEADER = 512  # characters; a P-384 key is 288


class NotEnrolled(Exception):
    """A call bears no key that is enrolled, or nothing that shows that its sender holds it."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A node whose key is registered."""

    node_id: int
    key: str  # in base64, as its calls bear it


def caller_of(headers: Mapping[str, str], *, node_of: Callable[[bytes], int | None], now: dt.datetime) -> Caller:
    """The node that a call is from.

    Args:
        headers: Of the call, by lower-case name.
        node_of: The node id of a registered key in Flower's form, None for any other.
        now: With its time zone.
    Raises: NotEnrolled.
    """
    try:
        key, timestamp, signature = (
            headers[name] for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
        )
        if max(map(len, (key, timestamp, signature))) > _LONGEST_HEADER:
            raise NotEnrolled
        public = b64decode(key, validate=True)
        # First of all: one look into a table, where a signature takes a thousand times as long.
        if (node_id := node_of(public)) is None:
            raise NotEnrolled
        age = (now - dt.datetime.fromisoformat(timestamp)).total_seconds()
        if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            raise NotEnrolled
        if not verify_signature(_opened(public), timestamp.encode("ascii"), b64decode(signature, validate=True)):
            raise NotEnrolled
    except (KeyError, ValueError, TypeError, OverflowError, binascii.Error, UnsupportedAlgorithm):
        raise NotEnrolled from None
    return Caller(node_id=node_id, key=key)


@lru_cache(maxsize=4096)
def _opened(public: bytes) -> ec.EllipticCurvePublicKey:
    return bytes_to_public_key(public)
