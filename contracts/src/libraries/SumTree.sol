// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../interfaces/IDisputes.sol";

/// @title The tree over a challenger's sums
/// @notice leaf = keccak256(0x00 ‖ int128 sum), node = keccak256(0x01 ‖ left ‖ right), an odd node is promoted; a single
/// leaf is the root. The contract builds it from the sums in the call, so it is right by construction.
library SumTree {
    /// @notice Root and total of sums of 16 bytes each, big-endian two's complement.
    function build(bytes calldata sums) internal pure returns (bytes32 root, int256 total) {
        uint256 width = sums.length / 16;
        assembly ("memory-safe") {
            // Behind the free memory pointer: what is hashed, then one word a node; each level overwrites the one below.
            let buffer := mload(0x40)
            let nodes := add(buffer, 96)
            mstore8(buffer, 0)
            for { let i := 0 } lt(i, width) { i := add(i, 1) } {
                let word := calldataload(add(sums.offset, shl(4, i)))
                total := add(total, sar(128, word))
                mstore(add(buffer, 1), word)
                mstore(add(nodes, shl(5, i)), keccak256(buffer, 17))
            }
            mstore8(buffer, 1)
            for {} gt(width, 1) { width := shr(1, add(width, 1)) } {
                let pairs := shr(1, width)
                for { let i := 0 } lt(i, pairs) { i := add(i, 1) } {
                    let pair := add(nodes, shl(6, i))
                    mstore(add(buffer, 1), mload(pair))
                    mstore(add(buffer, 33), mload(add(pair, 32)))
                    mstore(add(nodes, shl(5, i)), keccak256(buffer, 65))
                }
                if and(width, 1) { mstore(add(nodes, shl(5, pairs)), mload(add(nodes, shl(6, pairs)))) }
            }
            root := mload(nodes)
        }
    }

    /// @notice Reverts unless `sum` is number `index` of the `width` sums under `root`.
    function check(bytes32 root, uint256 width, uint256 index, int128 sum, bytes32[] calldata path) internal pure {
        bytes32 node = keccak256(abi.encodePacked(bytes1(0x00), sum));
        uint256 expected;
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 65 bytes behind the free memory pointer
            mstore8(buffer, 1)
            for {} gt(width, 1) { width := shr(1, add(width, 1)) } {
                if lt(xor(index, 1), width) {
                    let side := shl(5, and(index, 1)) // 0 for a left child, 32 for a right one
                    mstore(add(buffer, add(1, side)), node)
                    // Behind the end of a path that is too short lies something else, and the caller is refused below.
                    mstore(add(buffer, sub(33, side)), calldataload(add(path.offset, shl(5, expected))))
                    node := keccak256(buffer, 65)
                    expected := add(expected, 1)
                }
                index := shr(1, index)
            }
        }
        if (path.length != expected) revert IDisputes.WrongPathLength(path.length, expected);
        if (node != root) revert IDisputes.WrongPath(node, root);
    }
}
