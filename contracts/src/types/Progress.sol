// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../interfaces/ITask.sol";

/// @notice What `post` changes in a task, in one word: from the lowest bit, cumulative (96 bits, wei), posted (24, the
/// last round that counts), counted (24, clients with a leaf in the next round), arriving (24, clients whose first round
/// is the one after), status (4), flags (4), commitment (80).
/// The commitment binds what the next post has to bring: the last header's hash, the enrolment that its round was made
/// for, and the cover. It saves `post` three cold slots. 80 bits are enough there: the evaluators sign the first two in full
/// and proofs compare 216 bits of the first, and another cover for the same header takes 2^80 tries. Two headers and covers
/// that go for each other take 2^40, and a quorum that signs the wrong one as `previous`: a broken chain, which anyone proves.
/// @dev A word by hand and not a struct, which costs `post` 1,500 gas more.
type Progress is uint256;

using {
    cumulative,
    posted,
    counted,
    arriving,
    status,
    commitment,
    has,
    requireStatus,
    requireLive,
    withStatus,
    withFlag,
    withoutFlag,
    withCommitment,
    withRound,
    withVoid,
    withTotal,
    withClient,
    withoutClient
} for Progress global;

uint256 constant CHANGED = 1 << 172; // somebody joined or left, or added to the budget, since the last post
uint256 constant HELD = 1 << 173; // a round waited for a challenge since the last post that found none held
uint256 constant STOPPING = 1 << 174; // the sponsor stopped the task: the last round is in the task, not in the seats

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
    return ITask.Status(Progress.unwrap(p) >> 168 & 15);
}

function commitment(Progress p) pure returns (bytes10) {
    return bytes10(bytes32(Progress.unwrap(p)));
}

function has(Progress p, uint256 flag) pure returns (bool) {
    return Progress.unwrap(p) & flag != 0;
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
    uint256 rest = Progress.unwrap(p) & ~(uint256(15) << 168);
    return Progress.wrap(rest | uint256(next) << 168);
}

function withFlag(Progress p, uint256 flag) pure returns (Progress) {
    return Progress.wrap(Progress.unwrap(p) | flag);
}

function withoutFlag(Progress p, uint256 flag) pure returns (Progress) {
    return Progress.wrap(Progress.unwrap(p) & ~flag);
}

function withCommitment(Progress p, bytes32 hash) pure returns (Progress) {
    return Progress.wrap(uint176(Progress.unwrap(p)) | uint256(bytes32(bytes10(hash))));
}

/// @notice One round later: `total` is promised, who arrived is counted from now on, and the flag of changes is down.
/// @dev No field carries into the next: the total is within the budget, below 2^95; rounds and clients below 2^24.
function withRound(Progress p, uint256 total) pure returns (Progress) {
    unchecked {
        uint256 word = Progress.unwrap(p) >> 96 << 96 | total;
        uint256 came = uint24(word >> 144);
        word = word + (1 << 96) + (came << 120) - (came << 144);
        return Progress.wrap(word & ~CHANGED);
    }
}

/// @notice Ended before `round`, which was posted. The total is settled when the task is closed.
function withVoid(Progress p, uint32 round) pure returns (Progress) {
    uint256 word = Progress.unwrap(p) & ~(uint256(type(uint24).max) << 96);
    return Progress.wrap(word | uint256(round - 1) << 96);
}

/// @notice With `total` promised, at most what was before.
function withTotal(Progress p, uint256 total) pure returns (Progress) {
    return Progress.wrap(Progress.unwrap(p) >> 96 << 96 | total);
}

/// @notice One client more: counted at once while the task is open, arriving once it has started.
/// @dev The sum of both is checked, so that neither count can carry when arrivals are counted.
function withClient(Progress p) pure returns (Progress) {
    uint32 clients = counted(p) + arriving(p);
    if (clients == type(uint24).max) revert ITask.TooManyClients(clients, type(uint24).max);
    return Progress.wrap(Progress.unwrap(p) + (status(p) == ITask.Status.Open ? 1 << 120 : 1 << 144));
}

/// @notice One of the counted clients less, of a task that is open.
function withoutClient(Progress p) pure returns (Progress) {
    return Progress.wrap(Progress.unwrap(p) - (1 << 120));
}
