"""Parameter vector ⇄ blocks ⇄ roots. Pure bytes: no network, no file, no clock.

The parameters that a task trains are flattened to one **vector** (`layout`), the vector is quantised to
**blocks** of 256 values with a shared exponent (`blocks`), and the blocks are the leaves of a sha256 **tree**
(`tree`). What is signed is these bytes, what is sent is these bytes, and what is scored is these integers.
"""

from fl.codec.blocks import BLOCK_BYTES, BLOCK_VALUES, Blocks, Decoded, MalformedBlocks, UnencodableVector
from fl.codec.layout import Layout, LayoutMismatch, in_order, is_list, matched, model_hash
from fl.codec.tree import block_path, block_root, verify_block_path
from fl.codec.vector import Vector, Wire, parts_of, ranges, whole

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_VALUES",
    "Blocks",
    "Decoded",
    "Layout",
    "LayoutMismatch",
    "MalformedBlocks",
    "UnencodableVector",
    "Vector",
    "Wire",
    "block_path",
    "block_root",
    "in_order",
    "is_list",
    "matched",
    "model_hash",
    "parts_of",
    "ranges",
    "verify_block_path",
    "whole",
]
