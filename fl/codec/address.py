"""Account addresses as people read them, with the checksum in their case (EIP-55, https://eips.ethereum.org/EIPS/eip-55).

The same few accounts come back in every leaf of every round, so they are remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fl.codec.keccak import keccak

_REMEMBERED = 1 << 15
_HEX = re.compile(r"0x[0-9a-fA-F]{40}")


@lru_cache(maxsize=_REMEMBERED)
def checksummed(raw: bytes) -> str:
    """The address of 20 bytes, 0x and 40 digits."""
    digits = raw.hex()
    upper = keccak(digits.encode()).hex()
    return "0x" + "".join(digit.upper() if mark > "7" else digit for digit, mark in zip(digits, upper, strict=False))


@lru_cache(maxsize=_REMEMBERED)
def raw_address(text: str) -> bytes:
    """The 20 bytes of an address in any case. Raises: ValueError for what is not an address."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is not an address")
    return bytes.fromhex(text[2:])


def given_address(text: str) -> str | None:
    """The checksum address that somebody typed: with its checksum, or all digits in one case; None for anything else.

    A wrong checksum is a slip of the pen: tokens that go to such an address are lost.
    """
    if not _HEX.fullmatch(text):
        return None
    found = checksummed(raw_address(text))
    return found if text[2:] in (found[2:], found[2:].lower(), found[2:].upper()) else None


def is_checksummed(text: object) -> bool:
    """Whether this is an address with its checksum."""
    return isinstance(text, str) and bool(_HEX.fullmatch(text)) and checksummed(raw_address(text)) == text
