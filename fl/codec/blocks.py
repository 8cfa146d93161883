"""Float vector ⇄ int16 blocks with one exponent each: half of float32 on the wire, exact integers in the score.

A block is 256 values: ``int8 exponent e ‖ 256 × int16 big-endian q``, value = q·2^e. e is the smallest exponent in
[−64, 0] with max|v| ≤ 32767·2^e and q rounds half to even, so a vector has exactly one encoding. An all-zero
block has e = −64 and the last block is padded with zeros.

With 8 bits the quanta are multiples of 256, so that a block is one of these in every way: it is hashed, signed, scored and proved as
they are, and travels without the low byte of each quantum (`fl.codec.narrow`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fl.codec.vector import Vector, Wire, ranges
from fl.errors import FairshareError

BLOCK_VALUES = 256
BLOCK_BYTES = 1 + 2 * BLOCK_VALUES
MIN_EXPONENT = -64
MAX_EXPONENT = 0
_BLOCKS_AT_ONCE = 1024  # of which the floats are 2 MiB; of a large model at once they would be 8 bytes a value
MAX_QUANTUM = 32767  # −32768 is never produced, so that a block and its negation are both in form

_WIRE = np.dtype([("exponent", "i1"), ("quanta", ">i2", (BLOCK_VALUES,))])


class UnencodableVector(FairshareError):
    """A vector holds a value that no block can carry."""

    def __init__(self, index: int, value: float) -> None:
        super().__init__(index, value)
        self.index, self.value = index, value

    def __str__(self) -> str:
        return (
            f"value {self.index} of the vector is {self.value}; blocks carry finite values up to 32767, "
            "so lower the learning rate or look for a division by zero in the loss"
        )


class MalformedBlocks(FairshareError):
    """Bytes that are not blocks in their one form."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a block vector: {self.reason}; encode it with fl.codec.Blocks.encode"


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A quantised vector of P values in B = ceil(P / 256) blocks.

    `exponents` has shape (B,), int8; `quanta` has shape (B, 256), 16-bit integers, to be read in slices; `size` is P. Past P, quanta are 0.
    Blocks that were read are a view of their bytes, so that a round of many updates is in memory once, or on disk.
    """

    exponents: NDArray[np.int8]
    quanta: Vector
    size: int

    def __len__(self) -> int:
        return len(self.exponents)

    @classmethod
    def encode(cls, vector: NDArray[np.floating], *, bits: int = 16) -> Blocks:
        """Quantise a vector of shape (P,), P ≥ 1.

        Args:
            vector: The values.
            bits: 16, or 8: a value's quantum is then one of −127 to 127, times 256.
        Raises: UnencodableVector for NaN, infinity or a value whose magnitude is above 32767 (8 bits: 32512).
        """
        step = 1 << (16 - bits)
        most = MAX_QUANTUM // step * step
        if vector.ndim != 1 or vector.size == 0:
            raise MalformedBlocks(reason=f"a vector of shape {vector.shape} was given, (P,) with P ≥ 1 is expected")
        count = -(-vector.size // BLOCK_VALUES)
        exponents, quanta = np.empty(count, dtype=np.int8), np.empty((count, BLOCK_VALUES), dtype=np.int16)
        # float64: |v|·2^64 of a float32 stays exact
        room = np.empty(min(count, _BLOCKS_AT_ONCE) * BLOCK_VALUES, dtype=np.float64)
        for start in range(0, count, _BLOCKS_AT_ONCE):
            part = vector[start * BLOCK_VALUES : (start + _BLOCKS_AT_ONCE) * BLOCK_VALUES]
            blocks = slice(start, start - (-part.size // BLOCK_VALUES))
            flat = room[: (blocks.stop - start) * BLOCK_VALUES]
            flat[: part.size], flat[part.size :] = part, 0.0
            values = flat.reshape(-1, BLOCK_VALUES)
            peaks = np.maximum(values.max(axis=1), -values.min(axis=1))
            if not (peaks <= most).all():  # written so that NaN counts as bad
                index = int(np.argmax(~(np.abs(vector) <= most)))
                raise UnencodableVector(index=index, value=float(vector[index]))
            exponents[blocks] = _smallest_exponents(peaks, most=most)
            # A scaling by a power of two is exact, and np.rint rounds half to even.
            values *= np.ldexp(1.0 / step, -exponents[blocks].astype(np.int32))[:, None]
            quanta[blocks] = np.rint(values, out=values)
        if step > 1:
            quanta *= step
        # A block whose values all round to 0 is the all-zero block, which already has e = −64 here.
        return cls(exponents=exponents, quanta=quanta, size=int(vector.size))

    def decode(self) -> NDArray[np.float32]:
        """The values as float32, shape (P,). Exact: 15 bits of quantum fit a float32's 24."""
        values = np.empty((len(self), BLOCK_VALUES), dtype=np.float32)
        for part in self._parts():
            np.ldexp(
                self.quanta[part].astype(np.float32), self.exponents[part, None].astype(np.int32), out=values[part]
            )
        return values.ravel()[: self.size]

    def decode_part(self, start: int, stop: int) -> NDArray[np.float32]:
        """Values `start` to `stop` of `decode`, shape (stop − start,)."""
        first, last = start // BLOCK_VALUES, -(-stop // BLOCK_VALUES)
        exponents = self.exponents[first:last, None].astype(np.int32)
        values = np.ldexp(self.quanta[first:last].astype(np.float32), exponents).ravel()
        return values[start - first * BLOCK_VALUES : stop - first * BLOCK_VALUES]

    @cached_property
    def squared_q128(self) -> int:
        """The squared Euclidean norm, exact, in units of 2^−128; asked for by length, weight and clip of one round."""
        squares = [_squares(self.quanta[part]) for part in self._parts()]
        return _summed(np.concatenate(squares), self.exponents)

    def to_bytes(self) -> bytes:
        """513 bytes a block, in order."""
        wire = np.empty(len(self), dtype=_WIRE)
        wire["exponent"] = self.exponents
        for part in self._parts():
            wire["quanta"][part] = self.quanta[part]
        return wire.tobytes()

    def _parts(self) -> Iterator[slice]:
        return ranges(len(self), each=_BLOCKS_AT_ONCE)

    @classmethod
    def from_bytes(cls, data: Wire, *, size: int) -> Blocks:
        """Read the blocks of a vector of `size` values, refusing bytes that `to_bytes` would not write.

        Raises: MalformedBlocks for a wrong length, an exponent out of [−64, 0], a quantum of −32768, an exponent
        that is not the smallest possible, or padding that is not zero. One vector thus has one root.
        """
        count = -(-size // BLOCK_VALUES)
        if size < 1 or len(data) != count * BLOCK_BYTES:
            raise MalformedBlocks(
                reason=f"{len(data)} bytes were given for {size} values, {count * BLOCK_BYTES} are expected"
            )
        if isinstance(data, bytes):
            quanta: Vector = np.frombuffer(data, dtype=_WIRE)["quanta"]
        else:
            quanta = _ReadQuanta(wire=data)
        exponents, squares = np.empty(count, dtype=np.int8), np.empty(count, dtype=np.int64)
        for part in ranges(count, each=_BLOCKS_AT_ONCE):
            start = part.start
            wire = np.frombuffer(data[start * BLOCK_BYTES : part.stop * BLOCK_BYTES], dtype=_WIRE)
            exponents[part] = wire["exponent"]
            held = wire["quanta"].astype(np.int16)  # in the machine's own order
            _check(exponents[part], held, start=start, padded=size - start * BLOCK_VALUES)
            squares[part] = _squares(held)
        found = cls(exponents=exponents, quanta=quanta, size=size)
        found.__dict__["squared_q128"] = _summed(squares, exponents)  # while they are here
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _ReadQuanta:
    """The quanta of blocks whose bytes are read in parts."""

    wire: Vector

    def __len__(self) -> int:
        return len(self.wire) // BLOCK_BYTES

    def __getitem__(self, part: slice, /) -> NDArray[np.int16]:
        start, stop, _ = part.indices(len(self))
        return self.wire[start * BLOCK_BYTES : stop * BLOCK_BYTES].view(_WIRE)["quanta"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The values of blocks as a vector that is read in parts, float32."""

    blocks: Blocks

    def __len__(self) -> int:
        return self.blocks.size

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        start, stop, _ = part.indices(len(self))
        return self.blocks.decode_part(start, stop)


def _check(exponents: NDArray[np.int8], quanta: NDArray[np.int16], *, start: int, padded: int) -> None:
    """Raises: MalformedBlocks for blocks that are not in form, of which the first is number `start` and has values up to `padded`."""
    if (bad := (exponents < MIN_EXPONENT) | (exponents > MAX_EXPONENT)).any():
        block = int(np.argmax(bad))
        raise MalformedBlocks(reason=f"block {start + block} has exponent {exponents[block]}, outside [-64, 0]")
    peak = np.maximum(quanta.max(axis=1).astype(np.int32), -quanta.min(axis=1).astype(np.int32))
    if (bad := peak > MAX_QUANTUM).any():
        raise MalformedBlocks(reason=f"block {start + int(np.argmax(bad))} holds -32768, outside [-32767, 32767]")
    # A smaller exponent would double the quanta. One that did not fit had a maximum above 16383.5, which
    # rounded to 16384 at least, so what encode writes always passes.
    if (bad := (exponents > MIN_EXPONENT) & (2 * peak <= MAX_QUANTUM)).any():
        block = int(np.argmax(bad))
        raise MalformedBlocks(reason=f"block {start + block} has exponent {exponents[block]} where a smaller one fits")
    if quanta.ravel()[padded:].any():
        raise MalformedBlocks(reason=f"the padding after value {start * BLOCK_VALUES + padded} is not zero")


def _squares(quanta: NDArray[np.int16]) -> NDArray[np.int64]:
    """Σ q² of each block, shape (B,)."""
    # A block's sum is at most 2^38: float64 products of 15-bit integers, and their sums, are exact in any order.
    values = quanta.astype(np.float32).astype(np.float64)
    return np.einsum("ij,ij->i", values, values).astype(np.int64)


def _summed(squares: NDArray[np.int64], exponents: NDArray[np.int8]) -> int:
    """Σ over blocks in units of 2^−128."""
    # q² · 2^(2e) in units of 2^−128 is q² << 2(e + 64), and e ≥ −64 keeps the shift whole.
    return sum(
        int(squares[exponents == exponent].sum()) << (2 * (int(exponent) + 64)) for exponent in np.unique(exponents)
    )


def _smallest_exponents(peaks: NDArray[np.float64], *, most: int) -> NDArray[np.int8]:
    """Smallest e in [−64, 0] with peak ≤ most·2^e, for each peak ≥ 0; shape (B,)."""
    # frexp gives peak = m·2^x with m in [0.5, 1); most·2^(x−15) is just below 2^x, so e is x−15, or one more
    # where m exceeds most/32768.
    mantissa, power = np.frexp(peaks)
    exponents = power - 15 + (mantissa > most / 32768)
    exponents = np.where(peaks == 0, MIN_EXPONENT, exponents)
    return np.clip(exponents, MIN_EXPONENT, MAX_EXPONENT).astype(np.int8)
