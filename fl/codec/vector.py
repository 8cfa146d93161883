"""Long vectors and their bytes, read part by part: in memory, on disk (`fl.spool`), or made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_BYTES_AT_ONCE = 4 << 20


class Vector(Protocol):
    """What is read in slices: an array, or something that makes each when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[Any]: ...


# A vector's bytes as they travel, or as uint8. A slice of either can be hashed, written, and read by numpy.
Wire = bytes | Vector


def ranges(size: int, *, each: int = 1 << 18) -> Iterator[slice]:
    """A vector's range in parts, of which the floats stay in a core's cache.

    Args:
        size: Of the vector.
        each: Values of a part; a multiple of a block's.
    """
    return (slice(start, min(size, start + each)) for start in range(0, size, each))


def parts_of(wire: Wire, *, size: int = _BYTES_AT_ONCE) -> Iterator[memoryview]:
    """Bytes in order, so many at a time."""
    for part in ranges(len(wire), each=size):
        data = wire[part]
        yield memoryview(data) if isinstance(data, bytes) else np.ascontiguousarray(data).data


def whole(wire: Wire) -> bytes:
    """All of it in memory."""
    return wire if isinstance(wire, bytes) else wire[:].tobytes()
