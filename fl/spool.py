"""Long vectors in unnamed files, read part by part.

A round of a large model is gigabytes of updates, past models and public vectors, of which every step needs a part at a time. What is
short stays in memory.
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fl.codec import Vector, Wire, ranges

log = logging.getLogger(__name__)

_HELD = 16 << 20  # bytes that stay in memory
_LEAST = 1 << 16  # bytes of a vector that is not worth a read of its own
_BYTES_AT_ONCE = 4 << 20


class Spool:
    """Keeps vectors: the first few megabytes in memory, what comes then in an unnamed file, which is gone with the last of them.

    The file lies in the system's folder for temporary files. What it does not take, since it is full, stays in memory.

    Args:
        held: Bytes that stay in memory.
    """

    def __init__(self, *, held: int = _HELD) -> None:
        self._left = held
        self._file: IO[bytes] | None = None
        self._end = 0

    def keep(self, vector: Vector, *, dtype: DTypeLike) -> Vector:
        """A vector whose values are known from now on, whatever it was made from.

        Args:
            vector: Shape (P,); an array that stays in memory is not copied, so nobody may write to it.
            dtype: Of its values.
        """
        kind = np.dtype(dtype)
        size = kind.itemsize * len(vector)
        if size >= _LEAST and size > self._left and hasattr(os, "preadv"):
            try:
                return self._written(vector, kind)
            except OSError as error:
                log.warning("%.0f MB stay in memory: no temporary file takes them (%s)", size / 1e6, error)
        self._left -= size
        if isinstance(vector, np.ndarray) and vector.dtype == kind:
            return vector
        found = np.empty(len(vector), dtype=kind)
        for part in ranges(len(vector)):
            found[part] = vector[part]
        return found

    def keep_bytes(self, data: bytes) -> Wire:
        """The same of bytes."""
        kept = self.keep(np.frombuffer(data, dtype=np.uint8), dtype=np.uint8)
        return kept if isinstance(kept, Spooled) else data

    def read(self, offset: int, into: NDArray[Any]) -> None:
        """Fill a contiguous array with what was written at an offset, in bytes. Raises: OSError."""
        assert self._file is not None
        left = into.view(np.uint8).data
        while left:
            count = os.preadv(self._file.fileno(), [left], offset)
            if not count:
                raise OSError("a temporary file is shorter than it was")
            left, offset = left[count:], offset + count

    def _written(self, vector: Vector, kind: np.dtype[Any]) -> Spooled:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with the spool)
        start = at = self._end
        for part in ranges(len(vector), each=_BYTES_AT_ONCE // kind.itemsize):
            data = np.ascontiguousarray(vector[part], dtype=kind).view(np.uint8).data
            while data:
                count = os.pwrite(self._file.fileno(), data, at)
                data, at = data[count:], at + count
        self._end = at
        return Spooled(spool=self, offset=start, count=len(vector), dtype=kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class Spooled:
    """A vector in a spool. A slice of it is an array of its own. Raises: OSError if the file cannot be read; ValueError for a step."""

    spool: Spool
    offset: int  # bytes
    count: int
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice, /) -> NDArray[Any]:
        start, stop, step = part.indices(self.count)
        if step != 1:
            raise ValueError(f"a vector is read in order, and the step is {step}")
        found = np.empty(max(0, stop - start), dtype=self.dtype)
        self.spool.read(self.offset + start * self.dtype.itemsize, found)
        return found
