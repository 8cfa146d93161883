// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice Blocks, block trees, sum trees and partial sums written a second time, value by value and from the top down.
library Blocks {
    /// @dev A block of 256 pseudo-random values.
    function random(uint256 seed, int8 exponent) internal pure returns (bytes memory data) {
        data = abi.encodePacked(exponent);
        for (uint256 i; i < 16; i++) {
            data = bytes.concat(data, keccak256(abi.encode(seed, i)));
        }
    }

    function partialSum(bytes memory update, bytes memory direction) internal pure returns (int256) {
        int256 dot;
        for (uint256 k; k < 256; k++) {
            dot += int256(_value(update, k)) * int256(_value(direction, k));
        }
        int256 shift = int256(int8(uint8(update[0]))) + int8(uint8(direction[0])) + 40;
        if (shift >= 0) return dot * int256(2 ** uint256(shift));
        int256 by = int256(2 ** uint256(-shift));
        int256 quotient = dot / by;
        return dot < 0 && dot % by != 0 ? quotient - 1 : quotient;
    }

    function _value(bytes memory data, uint256 k) private pure returns (int16) {
        return int16(uint16(uint8(data[1 + 2 * k])) << 8 | uint16(uint8(data[2 + 2 * k])));
    }

    function leaf(bytes memory data) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", data));
    }

    function sumLeaf(int128 sum) internal pure returns (bytes32) {
        return keccak256(bytes.concat(hex"00", bytes16(uint128(sum))));
    }

    function root(uint256 blocks, bytes32 top_) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"02", bytes8(uint64(blocks)), top_));
    }

    /// @dev The top of a tree over `leaves`, hashed with sha256 or keccak256.
    function top(bytes32[] memory leaves, bool sha) internal pure returns (bytes32) {
        return _range(leaves, 0, leaves.length, sha);
    }

    function path(bytes32[] memory leaves, uint256 index, bool sha) internal pure returns (bytes32[] memory up) {
        bytes32[] memory down = new bytes32[](64);
        uint256 depth;
        (uint256 from, uint256 to) = (0, leaves.length);
        while (to - from > 1) {
            uint256 middle = from + _split(to - from);
            down[depth++] = index < middle ? _range(leaves, middle, to, sha) : _range(leaves, from, middle, sha);
            if (index < middle) to = middle;
            else from = middle;
        }
        up = new bytes32[](depth);
        for (uint256 i; i < depth; i++) {
            up[i] = down[depth - 1 - i];
        }
    }

    function _range(bytes32[] memory leaves, uint256 from, uint256 to, bool sha) private pure returns (bytes32) {
        if (to - from == 1) return leaves[from];
        uint256 middle = from + _split(to - from);
        bytes memory both =
            bytes.concat(hex"01", _range(leaves, from, middle, sha), _range(leaves, middle, to, sha));
        return sha ? sha256(both) : keccak256(both);
    }

    function _split(uint256 count) private pure returns (uint256 half) {
        half = 1;
        while (half * 2 < count) half *= 2;
    }
}
