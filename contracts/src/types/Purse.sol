// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice What a claim has to know of its task and change in it, in one word: from the lowest bit, the token (160 bits), what
/// was paid (95, wei), unsettled (1).
/// Unsettled is up for good once anything but the time decides what can be claimed: a round was held or proven wrong, a pool
/// came to be shared, or the rest went back to the sponsor. While it is down, a claim reads nothing else of the task.
/// @dev A word by hand and not a struct, since no Solidity type has 95 bits.
type Purse is uint256;

using {token, paid, unsettled, withPaid, withUnsettled} for Purse global;

uint256 constant MOST = (1 << 95) - 1; // wei of one task, budget and bond together

function token(Purse p) pure returns (address) {
    return address(uint160(Purse.unwrap(p)));
}

function paid(Purse p) pure returns (uint256) {
    return Purse.unwrap(p) >> 160 & MOST;
}

function unsettled(Purse p) pure returns (bool) {
    return Purse.unwrap(p) >> 255 != 0;
}

/// @param amount At most MOST.
function withPaid(Purse p, uint256 amount) pure returns (Purse) {
    return Purse.wrap(Purse.unwrap(p) & ~(MOST << 160) | amount << 160);
}

function withUnsettled(Purse p) pure returns (Purse) {
    return Purse.wrap(Purse.unwrap(p) | 1 << 255);
}

function toPurse(address token_) pure returns (Purse) {
    return Purse.wrap(uint160(token_));
}
