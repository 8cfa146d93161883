// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../interfaces/ITask.sol";

/// @title The Merkle-sum tree under a round's header
/// @notice leaf = keccak256(0x00 ‖ account ‖ updateRoot ‖ weight ‖ score ‖ total ‖ cumulative), packed big-endian
///         node = keccak256(0x01 ‖ left ‖ right ‖ C_left ‖ C_right), sums of the cumulatives as uint128
/// Leaves are sorted by account. An odd node is promoted as it is; a single leaf is the root. Since sums are hashed with
/// the nodes, no set of leaves that opens under one header can promise more than its total.
/// @dev In assembly, since a claim climbs ten levels for a thousand clients: 200 gas a level instead of 1,300. The tests
/// compare it with a second implementation in plain Solidity (test/world/Tree.sol) and with the Python one.
library RoundTree {
    /// @dev A node on the way up, with its sum in 256 bits.
    struct Node {
        bytes32 hash;
        uint256 cumulative;
    }

    uint256 internal constant SIBLING = 48; // bytes: a hash and a uint128

    /// @notice Reverts unless `leaf` is the leaf at `proof.index` of the tree under `header`.
    function check(ITask.Header calldata header, ITask.Leaf calldata leaf, ITask.Proof calldata proof) internal pure {
        check(_payroll(header), leaf, proof);
    }

    /// @notice Reverts unless `leaf` is the leaf at `proof.index` of the tree under `roll`.
    function check(ITask.Payroll calldata roll, ITask.Leaf calldata leaf, ITask.Proof calldata proof) internal pure {
        (bytes32 root, uint256 cumulative) = climb(hashLeaf(leaf), leaf.cumulative, roll.leafCount, proof);
        if (root != roll.treeRoot) revert ITask.WrongRoot(root, roll.treeRoot);
        if (cumulative != roll.cumulative) revert ITask.WrongSum(cumulative, roll.cumulative);
    }

    /// @notice Reverts unless `leaves` are the leaves from index `from` on of the tree under `roll`.
    /// @param siblings What is missing on the way up, level by level from the bottom, left before right.
    function checkRange(
        ITask.Payroll calldata roll,
        uint256 from,
        ITask.Leaf[] calldata leaves,
        bytes calldata siblings
    ) internal pure {
        uint256 width = roll.leafCount;
        uint256 count = leaves.length;
        if (count == 0 || from + count > width) revert ITask.IndexOutOfRange(from + count, width);
        // Nodes of one level; sums are kept in 256 bits and checked as in `climb`.
        Node[] memory nodes = new Node[](count);
        for (uint256 i; i < count; i++) {
            nodes[i] = Node(hashLeaf(leaves[i]), leaves[i].cumulative);
        }
        uint256 used;
        for (; width > 1; width = (width + 1) >> 1) {
            uint256 above;
            uint256 i;
            if (from & 1 == 1) {
                _join(_sibling(siblings, used++), nodes[0], nodes[0]);
                (above, i) = (1, 1);
            }
            for (; i < count; (above, i) = (above + 1, i + 2)) {
                Node memory left = nodes[i];
                if (i + 1 < count) _join(left, nodes[i + 1], left);
                else if (from + i + 1 < width) _join(left, _sibling(siblings, used++), left);
                nodes[above] = left;
            }
            from >>= 1;
            count = above;
        }
        if (used * SIBLING != siblings.length) revert ITask.WrongProofLength(siblings.length, used * SIBLING);
        Node memory top = nodes[0];
        if (top.hash != roll.treeRoot) revert ITask.WrongRoot(top.hash, roll.treeRoot);
        if (top.cumulative != roll.cumulative) revert ITask.WrongSum(top.cumulative, roll.cumulative);
    }

    /// @notice The root above a node that stands at `proof.index` of `width` nodes, and its sum.
    function climb(bytes32 node, uint256 cumulative, uint256 width, ITask.Proof calldata proof)
        internal
        pure
        returns (bytes32, uint256)
    {
        if (proof.index >= width) revert ITask.IndexOutOfRange(proof.index, width);
        bytes calldata siblings = proof.siblings;
        uint256 start = _start(siblings);
        uint256 end;
        (node, cumulative, end) = _climb(node, cumulative, proof.index, width, start);
        if (siblings.length != end - start) revert ITask.WrongProofLength(siblings.length, end - start);
        return (node, cumulative);
    }

    /// @notice The hash of a leaf.
    function hashLeaf(ITask.Leaf calldata leaf) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            // 109 bytes behind the free memory pointer, written from the last field to the first: each word is aligned
            // to the end of its field, and the one before it covers what sticks out to the left. Left of the account
            // that is the prefix: the account is a clean address wherever a leaf is used, so it is 0x00.
            let end := add(mload(0x40), 141)
            mstore(sub(end, 32), calldataload(add(leaf, 160))) // cumulative, 16 bytes
            mstore(sub(end, 48), calldataload(add(leaf, 128))) // total, 16 bytes
            mstore(sub(end, 64), calldataload(add(leaf, 96))) // score, 16 bytes
            mstore(sub(end, 80), calldataload(add(leaf, 64))) // weight, 8 bytes
            mstore(sub(end, 88), calldataload(add(leaf, 32))) // updateRoot, 32 bytes
            mstore(sub(end, 120), calldataload(leaf)) // account, 20 bytes
            hash := keccak256(sub(end, 109), 109)
        }
    }

    /// @notice The hash of an inner node.
    function hashNode(ITask.Sibling calldata left, ITask.Sibling calldata right) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(bytes1(0x01), left.node, right.node, left.cumulative, right.cumulative)
        );
    }

    /// @dev A header begins with the fields of a payroll. `rest` is not one of them: nothing here reads it.
    function _payroll(ITask.Header calldata header) private pure returns (ITask.Payroll calldata roll) {
        assembly ("memory-safe") {
            roll := header
        }
    }

    function _sibling(bytes calldata siblings, uint256 i) private pure returns (Node memory) {
        uint256 end = (i + 1) * SIBLING;
        if (end > siblings.length) revert ITask.WrongProofLength(siblings.length, end);
        return Node(bytes32(siblings[end - 48:end - 16]), uint128(bytes16(siblings[end - 16:end])));
    }

    /// @dev Writes the parent of two nodes into `parent`, which may be one of them.
    function _join(Node memory left, Node memory right, Node memory parent) private pure {
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            let leftCumulative := mload(add(left, 32))
            let rightCumulative := mload(add(right, 32))
            mstore8(buffer, 1)
            mstore(add(buffer, 1), mload(left))
            mstore(add(buffer, 33), mload(right))
            mstore(add(buffer, 65), or(shl(128, leftCumulative), rightCumulative))
            mstore(parent, keccak256(buffer, 97))
            mstore(add(parent, 32), add(leftCumulative, rightCumulative))
        }
    }

    /// @dev Where siblings lie in the calldata.
    function _start(bytes calldata siblings) private pure returns (uint256 start) {
        assembly ("memory-safe") {
            start := siblings.offset
        }
    }

    /// @dev The root and the sum above a node, and where the siblings that it takes end: one a level, but where the node
    /// on the way is the odd one and promoted. If there are fewer, the rest was read from whatever follows them in the
    /// calldata; the caller compares and refuses. Sums are kept in 256 bits and only grow (at most 33 terms, each below
    /// 2^128): if they end at a header's uint128 total, none was cut when it was hashed as a uint128.
    function _climb(bytes32 node, uint256 cumulative, uint256 index, uint256 width, uint256 next)
        private
        pure
        returns (bytes32, uint256, uint256)
    {
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 97 bytes behind the free memory pointer
            mstore8(buffer, 1)
            for {} gt(width, 1) { width := shr(1, add(width, 1)) } {
                if lt(xor(index, 1), width) {
                    let c := shr(128, calldataload(add(next, 32)))
                    switch and(index, 1)
                    case 0 {
                        mstore(add(buffer, 1), node)
                        mstore(add(buffer, 33), calldataload(next))
                        mstore(add(buffer, 65), or(shl(128, cumulative), c))
                    }
                    default {
                        mstore(add(buffer, 1), calldataload(next))
                        mstore(add(buffer, 33), node)
                        mstore(add(buffer, 65), or(shl(128, c), cumulative))
                    }
                    node := keccak256(buffer, 97)
                    cumulative := add(cumulative, c)
                    next := add(next, 48)
                }
                index := shr(1, index)
            }
        }
        return (node, cumulative, next);
    }
}
