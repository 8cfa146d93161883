// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../interfaces/IDisputes.sol";

/// @title The integer arithmetic of a score
/// @notice dot_j = Σ u_jk · g_jk; partial_j = floor(dot_j · 2^(eu_j + eg_j + 40)); raw = Σ_j partial_j;
///         score = floor(raw · weight / 2^32)
/// A block is int8 exponent ‖ 256 × int16, big-endian.
library ScoreMath {
    uint256 private constant SIGNS = 0x8000800080008000800080008000800080008000800080008000800080008000;
    uint256 private constant EVERY_OTHER = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant EVERY_FOURTH = 0x000000000000ffff000000000000ffff000000000000ffff000000000000ffff;
    uint256 private constant EVERY_OTHER_64 = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;

    /// @notice The partial sum of the blocks with which two openings begin, in units of 2^-40 of loss, rounded down.
    /// @dev |dot| is at most 2^38 and the shift at most 40 to the left, so nothing overflows.
    ///
    /// A word has 16 values. With U = u + 2^15 and G = g + 2^15, which are the 16 bits with the sign bit flipped,
    ///     Σ u·g = Σ U·G - 2^15 Σ (U + G) + 256 · 2^30.
    /// Four of the U, 64 bits apart, are the digits of a number to the base 2^64; with those of the G in reverse order, the
    /// product's digit 3 is the sum of the four products of what belongs together, below 2^34, and no lower digit reaches it:
    /// so one multiplication makes four products. Value by value costs 4,000 gas a block more.
    function partialSum(bytes calldata update, bytes calldata direction) internal pure returns (int256) {
        int256 shift = 40 + _exponent(update) + _exponent(direction);
        int256 dot;
        assembly ("memory-safe") {
            let products := 0
            let sums := 0 // eight of 32 bits
            for { let i := 1 } lt(i, 513) { i := add(i, 32) } {
                let u := xor(calldataload(add(update.offset, i)), SIGNS)
                let g := xor(calldataload(add(direction.offset, i)), SIGNS)
                // Below 2^22 after 16 words.
                sums := add(sums, and(u, EVERY_OTHER))
                sums := add(sums, and(shr(16, u), EVERY_OTHER))
                sums := add(sums, and(g, EVERY_OTHER))
                sums := add(sums, and(shr(16, g), EVERY_OTHER))
                // The four quarters of g in reverse order: halves first, then the quarters of each.
                g := or(shl(128, g), shr(128, g))
                g := or(shl(64, and(g, EVERY_OTHER_64)), and(shr(64, g), EVERY_OTHER_64))
                products := add(products, shr(192, mul(and(u, EVERY_FOURTH), and(g, EVERY_FOURTH))))
                u := shr(16, u)
                g := shr(16, g)
                products := add(products, shr(192, mul(and(u, EVERY_FOURTH), and(g, EVERY_FOURTH))))
                u := shr(16, u)
                g := shr(16, g)
                products := add(products, shr(192, mul(and(u, EVERY_FOURTH), and(g, EVERY_FOURTH))))
                u := shr(16, u)
                g := shr(16, g)
                products := add(products, shr(192, mul(and(u, EVERY_FOURTH), and(g, EVERY_FOURTH))))
            }
            // The eight sums together: modulo 2^32 - 1 each digit to the base 2^32 counts as itself.
            dot := sub(add(products, shl(38, 1)), shl(15, mod(sums, 0xffffffff)))
        }
        return shift >= 0 ? dot << uint256(shift) : dot >> uint256(-shift); // an arithmetic shift rounds down
    }

    /// @notice The score of a raw sum, rounded down.
    /// @dev raw is a sum of at most 4,096 int128s and weight below 2^64, so nothing overflows.
    function score(int256 raw, uint64 weight) internal pure returns (int256) {
        return raw * int256(uint256(weight)) >> 32;
    }

    function _exponent(bytes calldata opening) private pure returns (int256 exponent) {
        exponent = int8(uint8(opening[0]));
        if (exponent < -64 || exponent > 0) revert IDisputes.MalformedBlock(opening.length, exponent);
    }
}
