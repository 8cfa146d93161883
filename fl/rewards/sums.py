"""The tree over a challenger's partial sums, with the shape of the block tree.

leaf = keccak(0x00 ‖ int128 sum), node = keccak(0x01 ‖ left ‖ right), an odd node is promoted; a single leaf is the root. Up
to 4,096 blocks a sum is one block's; beyond that a sum is that of `span` blocks, the smallest power of two that leaves at
most 4,096 sums, so that a challenge fits into one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.codec.keccak import keccak
from fl.codec.tree import siblings_of

MAX_SUMS = 4096


def span_of(blocks: int) -> int:
    """Blocks that one sum covers."""
    span = 1
    while -(-blocks // span) > MAX_SUMS:
        span *= 2
    return span


def fold(partials: Sequence[int], *, span: int) -> list[int]:
    """Sums of `span` neighbouring partials each; the last one may cover fewer."""
    return [sum(partials[start : start + span]) for start in range(0, len(partials), span)]


def sums_bytes(sums: Sequence[int]) -> bytes:
    """16 bytes each, big-endian two's complement, as the contract takes them."""
    return b"".join(number.to_bytes(16, "big", signed=True) for number in sums)


def sums_root(sums: Sequence[int]) -> bytes:
    """Root of the tree, 32 bytes."""
    return _levels(sums)[-1][0]


def sums_path(sums: Sequence[int], *, index: int) -> list[bytes]:
    """Siblings of sum `index`, bottom up; a level where the node is promoted adds none."""
    return siblings_of(_levels(sums), index=index)


def _levels(sums: Sequence[int]) -> list[list[bytes]]:
    level = [keccak(b"\x00" + number.to_bytes(16, "big", signed=True)) for number in sums]
    levels = [level]
    while len(level) > 1:
        paired = [keccak(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
        levels.append(level)
    return levels
