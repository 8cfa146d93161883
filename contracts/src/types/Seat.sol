// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice What stays the same from round to round and `post` has to know, in the word that it has to read anyway to know
/// a signer: from the lowest bit, budget (96 bits, wei), bond (96, wei), challengeWindow (32, seconds), rounds (24), quorum
/// (8, at least 1, so an empty seat is known by its 0). Its key binds task, coordinator, validation set and evaluator: one
/// read checks all four.
type Seat is uint256;

using {budget, bond, challengeWindow, rounds, quorum} for Seat global;

function budget(Seat s) pure returns (uint256) {
    return uint96(Seat.unwrap(s));
}

function bond(Seat s) pure returns (uint256) {
    return uint96(Seat.unwrap(s) >> 96);
}

function challengeWindow(Seat s) pure returns (uint256) {
    return uint32(Seat.unwrap(s) >> 192);
}

function rounds(Seat s) pure returns (uint256) {
    return uint24(Seat.unwrap(s) >> 224);
}

function quorum(Seat s) pure returns (uint256) {
    return Seat.unwrap(s) >> 248;
}

/// @dev Each argument has the size of its field.
function toSeat(uint96 budget_, uint96 bond_, uint32 window, uint24 rounds_, uint8 quorum_) pure returns (Seat) {
    return Seat.wrap(
        uint256(budget_) | uint256(bond_) << 96 | uint256(window) << 192 | uint256(rounds_) << 224
            | uint256(quorum_) << 248
    );
}
