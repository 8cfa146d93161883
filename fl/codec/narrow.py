"""Blocks of 8 bits on the wire: half of 16, a quarter of float32.

Quanta that are multiples of 256 have a low byte of 0, which is left out: ``int8 exponent e ‖ 256 × int8 q``, value = q·2^(e + 8). What is
signed, hashed, scored and proved on chain is the 16-bit block that this stands for.
"""

from __future__ import annotations

import numpy as np

from fl.codec.blocks import BLOCK_BYTES, BLOCK_VALUES, MalformedBlocks
from fl.codec.vector import Wire, whole

NARROW_BYTES = 1 + BLOCK_VALUES

_WIDE = np.dtype([("exponent", "u1"), ("quanta", "u1", (BLOCK_VALUES, 2))])  # the high byte of a quantum comes first
_NARROW = np.dtype([("exponent", "u1"), ("quanta", "u1", (BLOCK_VALUES,))])


def narrowed(blocks: bytes) -> bytes:
    """257 bytes a block for 513. Raises: MalformedBlocks if a low byte is not 0, or it is not a whole number of blocks."""
    if not blocks or len(blocks) % BLOCK_BYTES:
        raise MalformedBlocks(reason=f"{len(blocks)} bytes are not a whole number of {BLOCK_BYTES}-byte blocks")
    wide = np.frombuffer(blocks, dtype=_WIDE)
    if wide["quanta"][:, :, 1].any():
        raise MalformedBlocks(reason="it has quanta of 16 bits where 8 were agreed on")
    narrow = np.empty(len(wide), dtype=_NARROW)
    narrow["exponent"], narrow["quanta"] = wide["exponent"], wide["quanta"][:, :, 0]
    return narrow.tobytes()


def widened(data: Wire, *, size: int) -> bytes:
    """The blocks that came as `narrowed` sends them, in bytes.

    Args:
        data: What came.
        size: P, the number of values.
    Raises: MalformedBlocks for another length; the blocks themselves are for `Blocks.from_bytes` to check.
    """
    count = -(-size // BLOCK_VALUES)
    if size < 1 or len(data) != count * NARROW_BYTES:
        raise MalformedBlocks(
            reason=f"{len(data)} bytes were given for {size} values of 8 bits, {count * NARROW_BYTES} are expected"
        )
    narrow = np.frombuffer(whole(data), dtype=_NARROW)
    wide = np.zeros(count, dtype=_WIDE)
    wide["exponent"], wide["quanta"][:, :, 0] = narrow["exponent"], narrow["quanta"]
    return wide.tobytes()
