"""The round tree: a keccak Merkle-SUM tree over every enrolled client's leaf, sorted by account.

leaf = keccak(0x00 ‖ account ‖ updateRoot ‖ uint64 weight ‖ int128 score ‖ int128 total ‖ uint128 cumulative)
node = keccak(0x01 ‖ left ‖ right ‖ C_l ‖ C_r)                     sums uint128; an odd node is promoted

Cumulatives C are summed upwards inside the hashes, so a tree cannot promise more than the total that its header
states. Source: Merkle sum trees, Maxwell's proof of liabilities (2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fl.codec.address import checksummed, raw_address
from fl.codec.keccak import keccak
from fl.codec.tree import siblings_of

NO_UPDATE = bytes(32)  # update root of a client that took no part in the round
SIBLING_BYTES = 48


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """What a round says of one client."""

    account: str  # 0x address, any case
    update_root: bytes  # 32 bytes; zeros where no update was accepted
    weight: int  # units of 2^−32
    score: int  # units of 2^−40 of loss
    total: int  # units of 2^−40 of loss: all scores since it joined
    cumulative: int  # wei

    def as_tuple(self) -> tuple[object, ...]:
        """As the contract takes it."""
        return (
            checksummed(raw_address(self.account)),
            self.update_root,
            self.weight,
            self.score,
            self.total,
            self.cumulative,
        )

    def hash(self) -> bytes:
        """The leaf's 32 bytes in the tree."""
        return keccak(
            b"\x00"
            + raw_address(self.account)
            + self.update_root
            + self.weight.to_bytes(8, "big")
            + self.score.to_bytes(16, "big", signed=True)
            + self.total.to_bytes(16, "big", signed=True)
            + self.cumulative.to_bytes(16, "big")
        )


class Sibling(NamedTuple):
    """One step of a proof: the neighbour's hash and sum."""

    node: bytes
    cumulative: int  # wei


def packed(siblings: Sequence[Sibling]) -> bytes:
    """Siblings as the contract takes them: 48 bytes each, hash ‖ uint128 sum."""
    return b"".join(sibling.node + sibling.cumulative.to_bytes(16, "big") for sibling in siblings)


def unpacked(data: bytes) -> tuple[Sibling, ...]:
    """The siblings that `packed` made these bytes of."""
    starts = range(0, len(data), SIBLING_BYTES)
    return tuple(
        Sibling(data[at : at + 32], int.from_bytes(data[at + 32 : at + SIBLING_BYTES], "big")) for at in starts
    )


class RoundTree:
    """The tree over a round's leaves, sorted by account.

    Args:
        leaves: One a client.
        published: Keep the order and repeated accounts of somebody else's leaves, to prove what is wrong with them.
    Raises: ValueError for no leaves or, unless `published`, two leaves of one account.
    """

    def __init__(self, leaves: Sequence[Leaf], *, published: bool = False) -> None:
        self.leaves = tuple(leaves if published else sorted(leaves, key=lambda leaf: int(leaf.account, 16)))
        accounts = [int(leaf.account, 16) for leaf in self.leaves]
        if not accounts:
            raise ValueError("a round tree needs at least one leaf; a task starts once a client has joined")
        if len(set(accounts)) != len(accounts) and not published:
            raise ValueError("two leaves have the same account")
        level = [Sibling(leaf.hash(), leaf.cumulative) for leaf in self.leaves]
        self._levels = [level]
        while len(level) > 1:
            paired = [join(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = paired + level[len(paired) * 2 :]
            self._levels.append(level)
        self._index = {account: index for index, account in enumerate(accounts)}

    @property
    def root(self) -> bytes:
        """Hash of the top node, 32 bytes."""
        return self._levels[-1][0].node

    @property
    def cumulative(self) -> int:
        """C: sum of all cumulatives, wei."""
        return self._levels[-1][0].cumulative

    @property
    def levels(self) -> list[list[Sibling]]:
        """All nodes, leaves' level first, the top alone in the last."""
        return self._levels

    def __len__(self) -> int:
        return len(self.leaves)

    def index(self, account: str) -> int:
        """Place of an account's leaf. Raises: KeyError if it has none."""
        return self._index[int(account, 16)]

    def proof(self, index: int) -> list[Sibling]:
        """Siblings of a leaf, bottom up; a level where the node is promoted adds none."""
        return siblings_of(self._levels, index=index)

    def range_proof(self, start: int, count: int) -> list[Sibling]:
        """What is missing on the way up from `count` neighbouring leaves, level by level, left before right."""
        missing, first, last = [], start, start + count - 1
        for level in self._levels[:-1]:
            if first & 1:
                missing.append(level[first - 1])
            if not last & 1 and last + 1 < len(level):
                missing.append(level[last + 1])
            first, last = first >> 1, last >> 1
        return missing


def leaf_of(leaves: Iterable[Leaf], account: str) -> Leaf | None:
    """The leaf of an account among those of a round, None if it has none."""
    return next((leaf for leaf in leaves if leaf.account == account), None)


def verify_leaf(leaf: Leaf, *, index: int, count: int, proof: Sequence[Sibling], root: bytes, cumulative: int) -> bool:
    """Whether `leaf` is number `index` of `count` under a root with this sum: the contract's check, in Python.

    Args:
        leaf: To verify.
        index: Of the leaf.
        count: Of all leaves.
        proof: Its siblings, from the leaf up.
        root: 32 bytes.
        cumulative: The sum of the tree, wei.
    """
    if not 0 <= index < count:
        return False
    node, left = Sibling(leaf.hash(), leaf.cumulative), list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not left:
                return False
            sibling = left.pop(0)
            node = join(sibling, node) if index & 1 else join(node, sibling)
        index, count = index >> 1, (count + 1) >> 1
    return not left and node == Sibling(root, cumulative)


def join(left: Sibling, right: Sibling) -> Sibling:
    """The node over two nodes, with their sum."""
    sums = left.cumulative.to_bytes(16, "big") + right.cumulative.to_bytes(16, "big")
    return Sibling(keccak(b"\x01" + left.node + right.node + sums), left.cumulative + right.cumulative)
