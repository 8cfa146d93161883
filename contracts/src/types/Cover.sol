// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice What `post` has to know to hold the pay that is not final below the bond, in one word: from the lowest bit, the
/// total that is known to be final (96 bits, wei), the total of a later round (96) and when that was posted (32), when the
/// last round was posted (32).
/// The contract keeps its hash only, in the progress word; the poster brings it back from the last Posted event. The later
/// round is one of those that were not final when it was noted: once it is final, the next one is noted. So the total that
/// is known to be final is at most two windows behind.
type Cover is bytes32;

using {settled, noted, notedAt, lastAt, advance} for Cover global;

function settled(Cover c) pure returns (uint256) {
    return uint96(uint256(Cover.unwrap(c)));
}

function noted(Cover c) pure returns (uint256) {
    return uint96(uint256(Cover.unwrap(c)) >> 96);
}

/// @notice Seconds; 0 if none is noted.
function notedAt(Cover c) pure returns (uint256) {
    return uint32(uint256(Cover.unwrap(c)) >> 192);
}

function lastAt(Cover c) pure returns (uint256) {
    return uint256(Cover.unwrap(c)) >> 224;
}

/// @notice The cover after a round is posted.
/// @param before The total of the last round, `total` that of this one.
/// @param window Seconds until a round is final, unless it is held.
/// @param held Whether any round is held: nothing counts as final then.
/// @return next The cover that the next post has to bring.
/// @return open Pay that is not final, 0 if only this round's is: each round may pay, one after the other.
/// @dev Totals are below 2^95; times fit 32 bits until 2106.
function advance(Cover c, uint256 before, uint256 total, uint256 window, bool held)
    view
    returns (Cover next, uint256 open)
{
    uint256 time = block.timestamp;
    (uint256 base, uint256 later, uint256 since) = (settled(c), noted(c), notedAt(c));
    unchecked {
        // Times and windows have 32 bits; and the total that is known to be final is at most that of the last round, which
        // is at most this one's.
        if (!held) {
            if (time >= lastAt(c) + window) (base, since) = (before, 0);
            else if (since != 0 && time >= since + window) (base, since) = (later, 0);
        }
        if (since == 0) (later, since) = (total, time);
        if (base != before) open = total - base;
    }
    next = Cover.wrap(bytes32(base | later << 96 | uint256(uint32(since)) << 192 | time << 224));
}
