// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../interfaces/IDisputes.sol";

/// @title The integer arithmetic of a score
/// @notice dot_j = Σ u_jk · g_jk; partial_j = floor(dot_j · 2^(eu_j + eg_j + 40)); raw = Σ_j partial_j;
///         score = floor(raw · weight / 2^32)
/// A block is int8 exponent ‖ 256 × int16, big-endian.
library ScoreMath {
    uint256 internal constant BLOCK_BYTES = 513;

    /// @notice The partial sum of two blocks, in units of 2^-40 of loss, rounded down.
    /// @dev |dot| is at most 2^38 and the shift at most 40 to the left, so nothing overflows.
    function partialSum(bytes calldata update, bytes calldata direction) internal pure returns (int256) {
        int256 shift = 40 + _exponent(update) + _exponent(direction);
        int256 dot;
        assembly ("memory-safe") {
            for { let i := 1 } lt(i, 513) { i := add(i, 32) } {
                let u := calldataload(add(update.offset, i))
                let g := calldataload(add(direction.offset, i))
                // 16 values a word; written out, since a loop here costs 6,000 gas a block.
                dot := add(dot, mul(signextend(1, u), signextend(1, g)))
                dot := add(dot, mul(signextend(1, shr(16, u)), signextend(1, shr(16, g))))
                dot := add(dot, mul(signextend(1, shr(32, u)), signextend(1, shr(32, g))))
                dot := add(dot, mul(signextend(1, shr(48, u)), signextend(1, shr(48, g))))
                dot := add(dot, mul(signextend(1, shr(64, u)), signextend(1, shr(64, g))))
                dot := add(dot, mul(signextend(1, shr(80, u)), signextend(1, shr(80, g))))
                dot := add(dot, mul(signextend(1, shr(96, u)), signextend(1, shr(96, g))))
                dot := add(dot, mul(signextend(1, shr(112, u)), signextend(1, shr(112, g))))
                dot := add(dot, mul(signextend(1, shr(128, u)), signextend(1, shr(128, g))))
                dot := add(dot, mul(signextend(1, shr(144, u)), signextend(1, shr(144, g))))
                dot := add(dot, mul(signextend(1, shr(160, u)), signextend(1, shr(160, g))))
                dot := add(dot, mul(signextend(1, shr(176, u)), signextend(1, shr(176, g))))
                dot := add(dot, mul(signextend(1, shr(192, u)), signextend(1, shr(192, g))))
                dot := add(dot, mul(signextend(1, shr(208, u)), signextend(1, shr(208, g))))
                dot := add(dot, mul(signextend(1, shr(224, u)), signextend(1, shr(224, g))))
                dot := add(dot, mul(signextend(1, shr(240, u)), signextend(1, shr(240, g))))
            }
        }
        return shift >= 0 ? dot << uint256(shift) : dot >> uint256(-shift); // an arithmetic shift rounds down
    }

    /// @notice The score of a raw sum, rounded down.
    /// @dev raw is a sum of at most 4,096 int128s and weight below 2^64, so nothing overflows.
    function score(int256 raw, uint64 weight) internal pure returns (int256) {
        return raw * int256(uint256(weight)) >> 32;
    }

    function _exponent(bytes calldata data) private pure returns (int256 exponent) {
        if (data.length != BLOCK_BYTES) revert IDisputes.MalformedBlock(data.length, 0);
        exponent = int8(uint8(data[0]));
        if (exponent < -64 || exponent > 0) revert IDisputes.MalformedBlock(data.length, exponent);
    }
}
