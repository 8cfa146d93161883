// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFairshare} from "../interfaces/IFairshare.sol";

/// @notice What `post` changes in a task, in one word: from the lowest bit, cumulative (96 bits, wei), posted (32, the
/// last round that counts), counted (32, clients with a leaf in the next round), arriving (32, clients whose first round
/// is the one after), staked (32, clients whose stake is here), challenges (16, open ones), status (8).
/// @dev A word by hand, since posting a round is then one addition; as a struct it costs 1,500 gas more.
type Progress is uint256;

using {
    cumulative,
    posted,
    counted,
    arriving,
    staked,
    challenges,
    status,
    requireStatus,
    requireLive,
    withStatus,
    withRound,
    withClient,
    withoutStake
} for Progress global;

function cumulative(Progress p) pure returns (uint256) {
    return uint96(Progress.unwrap(p));
}

function posted(Progress p) pure returns (uint32) {
    return uint32(Progress.unwrap(p) >> 96);
}

function counted(Progress p) pure returns (uint32) {
    return uint32(Progress.unwrap(p) >> 128);
}

function arriving(Progress p) pure returns (uint32) {
    return uint32(Progress.unwrap(p) >> 160);
}

function staked(Progress p) pure returns (uint32) {
    return uint32(Progress.unwrap(p) >> 192);
}

function challenges(Progress p) pure returns (uint16) {
    return uint16(Progress.unwrap(p) >> 224);
}

function status(Progress p) pure returns (IFairshare.Status) {
    return IFairshare.Status(Progress.unwrap(p) >> 240);
}

/// @notice Reverts unless the task is in status `expected`.
function requireStatus(Progress p, bytes32 taskId, IFairshare.Status expected) pure {
    IFairshare.Status seen = status(p);
    if (seen != expected) revert IFairshare.WrongStatus(taskId, seen, expected);
}

/// @notice Reverts unless the task is open or started.
function requireLive(Progress p, bytes32 taskId) pure {
    if (status(p) != IFairshare.Status.Open) requireStatus(p, taskId, IFairshare.Status.Started);
}

function withStatus(Progress p, IFairshare.Status next) pure returns (Progress) {
    return Progress.wrap(uint240(Progress.unwrap(p)) | uint256(next) << 240);
}

/// @notice One round later: the total grows by `pay`, and who arrived is counted from now on.
/// @dev No field carries into the next: the total stays within the budget, below 2^96; rounds and clients within 2^32.
function withRound(Progress p, uint256 pay) pure returns (Progress) {
    unchecked {
        uint256 came = arriving(p);
        return Progress.wrap(Progress.unwrap(p) + pay + (1 << 96) + (came << 128) - (came << 160));
    }
}

/// @notice One client more: counted at once while the task is open, arriving once it has started.
/// @dev The sum of both is checked, so that neither count can carry when arrivals are counted.
function withClient(Progress p) pure returns (Progress) {
    uint32 clients = counted(p) + arriving(p) + 1; // reverts beyond 2^32 - 1 clients
    assert(clients != 0);
    uint256 one = status(p) == IFairshare.Status.Open ? 1 << 128 : 1 << 160;
    return Progress.wrap(Progress.unwrap(p) + one + (1 << 192));
}

/// @notice One stake less.
function withoutStake(Progress p) pure returns (Progress) {
    return Progress.wrap(Progress.unwrap(p) - (1 << 192)); // the caller just read a stake that is counted
}
