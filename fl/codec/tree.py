"""The block tree: a sha256 Merkle tree over the blocks of one vector.

leaf = sha256(0x00 ‖ block), node = sha256(0x01 ‖ left ‖ right), an odd node is promoted, and
root = sha256(0x02 ‖ uint64 number of blocks ‖ top). The count in the root fixes the tree's shape, so a leaf can be
proved under one index only. sha256 because hashlib and the EVM's precompile are both fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from fl.codec.blocks import BLOCK_BYTES, MalformedBlocks
from fl.codec.vector import Wire, parts_of

T = TypeVar("T")
_BLOCKS_AT_ONCE = 4096


def block_root(data: Wire) -> bytes:
    """Root (32 bytes) of the tree over `data`, whole blocks of 513 bytes, at least one."""
    levels = _levels(data)
    return _root(levels[-1][0], count=len(levels[0]))


def block_top(data: Wire) -> bytes:
    """Top node (32 bytes) below the root, which shows how many blocks a root stands for."""
    return _levels(data)[-1][0]


def block_path(data: Wire, *, index: int) -> list[bytes]:
    """Siblings of block `index`, bottom up; a level where the node is promoted adds none."""
    return siblings_of(_levels(data), index=index)


def siblings_of(levels: Sequence[Sequence[T]], *, index: int) -> list[T]:
    """Siblings on the way up from node `index` of the first of these levels, where odd nodes are promoted."""
    path = []
    for level in levels[:-1]:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling])
        index >>= 1
    return path


def verify_block_path(block: bytes, *, index: int, count: int, path: list[bytes], root: bytes) -> bool:
    """Whether `block` is number `index` of the `count` blocks under `root`.

    Args:
        block: Its bytes.
        index: Of the block.
        count: Of all blocks.
        path: Its siblings, from the leaf up.
        root: 32 bytes.
    """
    if not 0 <= index < count or len(block) != BLOCK_BYTES:
        return False
    node, width, left = hashlib.sha256(b"\x00" + block).digest(), count, list(path)
    while width > 1:
        if index ^ 1 < width:
            if not left:
                return False
            sibling = left.pop(0)
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index, width = index >> 1, (width + 1) >> 1
    return not left and _root(node, count=count) == root


def _levels(data: Wire) -> list[list[bytes]]:
    if not data or len(data) % BLOCK_BYTES:
        raise MalformedBlocks(reason=f"{len(data)} bytes are not a whole number of {BLOCK_BYTES}-byte blocks")
    level = [
        hashlib.sha256(b"\x00" + part[start : start + BLOCK_BYTES]).digest()
        for part in parts_of(data, size=_BLOCKS_AT_ONCE * BLOCK_BYTES)
        for start in range(0, len(part), BLOCK_BYTES)
    ]
    levels = [level]
    while len(level) > 1:
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
        levels.append(level)
    return levels


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(top: bytes, *, count: int) -> bytes:
    return hashlib.sha256(b"\x02" + count.to_bytes(8, "big") + top).digest()
