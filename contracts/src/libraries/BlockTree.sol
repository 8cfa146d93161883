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

    function _climb(bytes32 node, uint256 index, uint256 width, bytes32[] calldata path)
        private
        view
        returns (bytes32)
    {
        uint256 used;
        for (; width > 1; width = (width + 1) >> 1) {
            if (index ^ 1 < width) {
                if (used == path.length) revert IDisputes.WrongPathLength(path.length, used + 1);
                node = index & 1 == 0 ? _hash(node, path[used]) : _hash(path[used], node);
                used++;
            }
            index >>= 1;
        }
        if (used != path.length) revert IDisputes.WrongPathLength(path.length, used);
        return node;
    }

    /// @dev sha256(0x01 ‖ left ‖ right), in the scratch space behind the free memory pointer.
    function _hash(bytes32 left, bytes32 right) private view returns (bytes32 node) {
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            mstore8(buffer, 1)
            mstore(add(buffer, 1), left)
            mstore(add(buffer, 33), right)
            // The precompile at address 2 fails for want of gas only.
            if iszero(staticcall(gas(), 2, buffer, 65, buffer, 32)) { revert(0, 0) }
            node := mload(buffer)
        }
    }
}
