// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../interfaces/ITask.sol";

/// @notice What `post` changes in a task, in one word: from the lowest bit, cumulative (96 bits, wei), posted (24, the
/// last round that counts), counted (24, clients with a leaf in the next round), arriving (24, clients whose first round
/// is the one after), status (8), last (80, the leading bits of the last posted header's hash).
/// @dev A word by hand and not a struct, which costs `post` 1,500 gas more. `last` saves it another 2,100; 80 bits are
/// enough there, since the evaluators sign the full hash of the round before, and proofs compare 216 bits of it.
type Progress is uint256;

using {
    cumulative,
    posted,
    counted,
    arriving,
    status,
    last,
    requireStatus,
    requireLive,
    withStatus,
    withRound,
    withVoid,
    withClient
} for Progress global;

function cumulative(Progress p) pure returns (uint256) {
    return uint96(Progress.unwrap(p));
}

function posted(Progress p) pure returns (uint32) {
    return uint24(Progress.unwrap(p) >> 96);
}

function counted(Progress p) pure returns (uint32) {
    return uint24(Progress.unwrap(p) >> 120);
}

function arriving(Progress p) pure returns (uint32) {
    return uint24(Progress.unwrap(p) >> 144);
}

function status(Progress p) pure returns (ITask.Status) {
    return ITask.Status(uint8(Progress.unwrap(p) >> 168));
}

function last(Progress p) pure returns (bytes10) {
    return bytes10(bytes32(Progress.unwrap(p)));
}

/// @notice Reverts unless the task is in status `expected`.
function requireStatus(Progress p, bytes32 taskId, ITask.Status expected) pure {
    ITask.Status seen = status(p);
    if (seen != expected) revert ITask.WrongStatus(taskId, seen, expected);
}

/// @notice Reverts unless the task is open or started.
function requireLive(Progress p, bytes32 taskId) pure {
    if (status(p) != ITask.Status.Open) requireStatus(p, taskId, ITask.Status.Started);
}

function withStatus(Progress p, ITask.Status next) pure returns (Progress) {
    uint256 rest = Progress.unwrap(p) & ~(uint256(type(uint8).max) << 168);
    return Progress.wrap(rest | uint256(next) << 168);
}

/// @notice One round later: the total grows by `pay`, who arrived is counted from now on, `digest` is the last.
/// @dev No field carries into the next: the total stays within the budget, below 2^96; rounds and clients below 2^24.
function withRound(Progress p, uint256 pay, bytes32 digest) pure returns (Progress) {
    unchecked {
        uint256 word = uint176(Progress.unwrap(p));
        uint256 came = uint24(word >> 144);
        word = word + pay + (1 << 96) + (came << 120) - (came << 144);
        return Progress.wrap(word | uint256(bytes32(bytes10(digest))));
    }
}

/// @notice Ended before `round`, with `total` promised.
/// @dev `round` was posted, and `total` is at most the total before: both fit.
function withVoid(Progress p, uint32 round, uint256 total) pure returns (Progress) {
    uint256 word = Progress.unwrap(p) >> 120 << 120;
    return Progress.wrap(word | uint256(round - 1) << 96 | total);
}

/// @notice One client more: counted at once while the task is open, arriving once it has started.
/// @dev The sum of both is checked, so that neither count can carry when arrivals are counted.
function withClient(Progress p) pure returns (Progress) {
    uint32 clients = counted(p) + arriving(p);
    if (clients == type(uint24).max) revert ITask.TooManyClients(clients, type(uint24).max);
    return Progress.wrap(Progress.unwrap(p) + (status(p) == ITask.Status.Open ? 1 << 120 : 1 << 144));
}
