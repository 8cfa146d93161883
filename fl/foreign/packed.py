"""Unpacks what calls itself gzip, bzip2 or xz, up to a size: ten kilobytes of it may be ten gigabytes."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from fl.errors import FairshareError

MOST_BYTES = 2 << 30  # of a table or of images, unpacked
_AT_ONCE = 8 << 10  # bytes: what follows the end of a part is copied for each part, of which there may be many
_MOST_DICTIONARY = 256 << 20  # bytes of memory that an xz file may ask for before its first byte is there


class Swells(FairshareError, ValueError):
    """A packed file holds more than there can be. Also a ValueError: who reads a file says which file it is."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most

    def __str__(self) -> str:
        return f"it holds more than {self.most:,} bytes; unpack it, and see what is in it"


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_KINDS: tuple[tuple[bytes, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(memlimit=_MOST_DICTIONARY)),
)


def unpacked(content: bytes, *, most: int = MOST_BYTES) -> bytes:
    """What a file holds, unpacked where its first bytes say that it is packed; parts that follow each other are one.

    Args:
        content: Of the file.
        most: Bytes that what it holds may have.
    Raises: Swells; EOFError, zlib.error, lzma.LZMAError or OSError for what is damaged.
    """
    begin = next((make for mark, make in _KINDS if content.startswith(mark)), None)
    if begin is None:
        return content
    parts: list[bytes] = []
    left, part = most, begin()
    for at in range(0, len(content), _AT_ONCE):
        rest = content[at : at + _AT_ONCE]
        while rest:
            if part.eof:
                if not (rest := rest.lstrip(b"\0")):  # zeros behind the end are padding
                    break
                part = begin()
            piece = part.decompress(rest, left + 1)
            if (left := left - len(piece)) < 0:
                raise Swells(most=most)
            parts.append(piece)
            rest = part.unused_data if part.eof else b""
    if not part.eof:
        raise EOFError("it ends before its end")
    return b"".join(parts)
