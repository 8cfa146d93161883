// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../interfaces/IDisputes.sol";

/// @title The tree over the blocks of an update or a direction
/// @notice leaf = sha256(0x00 ‖ block), node = sha256(0x01 ‖ left ‖ right), an odd node is promoted,
///         root = sha256(0x02 ‖ uint64 number of blocks ‖ top)
library BlockTree {
    /// @notice The root above `top`.
    function root(uint64 blocks, bytes32 top) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x02), blocks, top));
    }

    /// @notice Reverts unless the block is number `index` of the `blocks` under `expected`.
    function check(bytes32 expected, uint64 blocks, uint64 index, IDisputes.Opening calldata opening) internal view {
        bytes32 top = _climb(sha256(bytes.concat(hex"00", opening.data)), index, blocks, opening.path);
        bytes32 seen = root(blocks, top);
        if (seen != expected) revert IDisputes.WrongBlockRoot(seen, expected);
    }

    /// @dev In assembly: 48 levels in the refutation of a challenge of 2^20 blocks, at 250 gas instead of 700.
    function _climb(bytes32 node, uint256 index, uint256 width, bytes32[] calldata path)
        private
        view
        returns (bytes32)
    {
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
                    // The precompile at address 2 is sha256; it fails for want of gas only.
                    if iszero(staticcall(gas(), 2, buffer, 65, 0, 32)) { revert(0, 0) }
                    node := mload(0)
                    expected := add(expected, 1)
                }
                index := shr(1, index)
            }
        }
        if (path.length != expected) revert IDisputes.WrongPathLength(path.length, expected);
        return node;
    }
}
