// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";

/// @notice The round tree written a second time, top down and recursively, so that RoundTree.sol has something to be
/// compared with. An odd number of leaves splits at the largest power of two below it, which is what promoting an odd
/// node bottom-up comes to.
library Tree {
    struct Node {
        bytes32 node;
        uint128 cumulative;
    }

    function root(ITask.Leaf[] memory leaves) internal pure returns (Node memory) {
        return _range(leaves, 0, leaves.length);
    }

    function prove(ITask.Leaf[] memory leaves, uint256 index) internal pure returns (ITask.Proof memory p) {
        Node[] memory down = new Node[](32);
        uint256 depth;
        uint256 from;
        uint256 to = leaves.length;
        while (to - from > 1) {
            uint256 middle = from + _split(to - from);
            Node memory other = index < middle ? _range(leaves, middle, to) : _range(leaves, from, middle);
            down[depth++] = other;
            if (index < middle) to = middle;
            else from = middle;
        }
        p.index = uint32(index);
        while (depth > 0) p.siblings = bytes.concat(p.siblings, pack(down[--depth]));
    }

    /// @dev All levels, bottom-up, for tests that need many proofs of one tree; `prove` is its check.
    function levels(ITask.Leaf[] memory leaves) internal pure returns (Node[][] memory all) {
        all = new Node[][](33);
        Node[] memory level = new Node[](leaves.length);
        for (uint256 i; i < level.length; i++) {
            level[i] = leafNode(leaves[i]);
        }
        for (uint256 depth;; depth++) {
            all[depth] = level;
            if (level.length == 1) return all;
            Node[] memory above = new Node[]((level.length + 1) / 2);
            for (uint256 i; i < above.length; i++) {
                above[i] = 2 * i + 1 < level.length ? join(level[2 * i], level[2 * i + 1]) : level[2 * i];
            }
            level = above;
        }
    }

    function proveIn(Node[][] memory all, uint256 index) internal pure returns (ITask.Proof memory p) {
        p.index = uint32(index);
        for (uint256 depth; all[depth].length > 1; depth++) {
            if (index ^ 1 < all[depth].length) {
                p.siblings = bytes.concat(p.siblings, pack(all[depth][index ^ 1]));
            }
            index /= 2;
        }
    }

    /// @dev The siblings of `count` neighbours from `first` on, level by level, left before right.
    function proveRange(Node[][] memory all, uint256 first, uint256 count)
        internal
        pure
        returns (bytes memory siblings)
    {
        uint256 last = first + count - 1;
        for (uint256 depth; all[depth].length > 1; depth++) {
            Node[] memory level = all[depth];
            if (first % 2 == 1) siblings = bytes.concat(siblings, pack(level[first - 1]));
            if (last % 2 == 0 && last + 1 < level.length) siblings = bytes.concat(siblings, pack(level[last + 1]));
            (first, last) = (first / 2, last / 2);
        }
    }

    /// @dev A node as a proof has it.
    function pack(Node memory node) internal pure returns (bytes memory) {
        return bytes.concat(node.node, bytes16(node.cumulative));
    }

    function leafNode(ITask.Leaf memory leaf) internal pure returns (Node memory) {
        bytes memory packed = bytes.concat(
            hex"00",
            bytes20(leaf.account),
            leaf.updateRoot,
            bytes8(leaf.weight),
            bytes16(uint128(leaf.score)),
            bytes16(uint128(leaf.total)),
            bytes16(leaf.cumulative)
        );
        return Node(keccak256(packed), leaf.cumulative);
    }

    function join(Node memory a, Node memory b) internal pure returns (Node memory) {
        bytes memory sums = bytes.concat(bytes16(a.cumulative), bytes16(b.cumulative));
        return Node({
            node: keccak256(bytes.concat(hex"01", a.node, b.node, sums)),
            cumulative: a.cumulative + b.cumulative
        });
    }

    function _range(ITask.Leaf[] memory leaves, uint256 from, uint256 to) private pure returns (Node memory) {
        if (to - from == 1) return leafNode(leaves[from]);
        uint256 middle = from + _split(to - from);
        return join(_range(leaves, from, middle), _range(leaves, middle, to));
    }

    /// @dev The largest power of two below `count`.
    function _split(uint256 count) private pure returns (uint256 half) {
        half = 1;
        while (half * 2 < count) half *= 2;
    }
}
