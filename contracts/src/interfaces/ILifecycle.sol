// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "./ITask.sol";

/// @title Opening, steering and ending a task
/// @notice Part of the Fairshare contract: same address, same tasks. What the sponsor and the coordinator do around the
/// rounds, and how every task ends.
/// **The coordinator's bond is its own money.** It gets it back when all rounds were posted, and loses all of it if it falls
/// silent or fraud is proven. Then the sponsor gets back min(rest - void pay, bond - bounty), where rest is the budget that no
/// valid round promised, and everything else, the bond and what is left of the rest, is a pool for the clients, shared by what
/// they earned up to the last valid round or, if nobody earned anything, by stake. So sponsor and prover never get more than
/// the coordinator lost.
interface ILifecycle is ITask {
    /// @notice Escrows the budget from the caller, the sponsor.
    /// @dev Requirements: every term in its range; evaluators strictly ascending and not zero; the salt is new to this
    /// sponsor; the token delivers exactly `budget`.
    /// @return taskId keccak256(abi.encode(sponsor, salt))
    function open(Terms calldata terms) external returns (bytes32 taskId);

    /// @notice Escrows the coordinator's bond from the caller, and closes the enrolment for round 1.
    /// @dev Requirements: the caller is the coordinator; the task is open; somebody joined; the bond is delivered exactly.
    function start(bytes32 taskId) external;

    /// @notice Makes the round under way the last one. It pays the whole budget by the totals then, and what
    /// was added to it, so that stopping saves the sponsor nothing. The coordinator has a whole `roundTimeout` from here, since
    /// a header that was signed before pays too little now.
    /// @dev Requirements: the caller is the sponsor, and the terms allow it; the task has started; rounds are missing.
    function stop(bytes32 taskId) external;

    /// @notice Closes the joining, or opens it again.
    /// @dev Requirements: the caller is the sponsor, and the terms allow it; the task is open or started.
    function setJoining(bytes32 taskId, bool closed) external;

    /// @notice Adds to the budget. It counts from the round after the one under way, so that no header that was made is
    /// refused for it.
    /// @dev Requirements: the task is open or started, and has such a round; the amount is at least `minStake`; budget and
    /// bond stay below 2^95; the token delivers exactly the amount.
    function addBudget(bytes32 taskId, uint128 amount) external;

    /// @notice Names the account that may take the coordinator's place, 0 for none.
    /// @dev Requirements: the caller is the coordinator; the task is open or started.
    function offerCoordinator(bytes32 taskId, address next) external;

    /// @notice Takes the coordinator's place, and its bond with it. Receipts that the one before signed for the rounds up to
    /// the one under way still count; before the start there is none.
    /// @dev Requirements: the coordinator named the caller; the task is open or started.
    function takeCoordinator(bytes32 taskId) external;

    /// @notice Ends a task whose coordinator fell silent, at the last posted round. A task that never started gives
    /// everything back to the sponsor: nobody has worked, and there is no bond. Anyone may call.
    /// @dev Requirements: rounds are missing; `roundTimeout` has passed since the opening, the start, the stop, the last post
    /// and the last time that a round was held; no challenge is open.
    function expire(bytes32 taskId) external;

    /// @notice Ends a task that is complete. The sponsor is credited with what is not promised, the coordinator with its
    /// bond. Anyone may call.
    /// @dev Requirements: all rounds were posted; the last is final; no challenge is open.
    function close(bytes32 taskId) external;

    /// @notice Ends a task that is halted. Anyone may call.
    /// @param last Header of the last valid round; if there is none, only its taskId is read.
    /// @dev Requirements: the last valid round is final; no challenge is open.
    function closeHalted(Header calldata last) external;

    /// @notice Credits the sponsor with what nobody claimed. Anyone may call.
    /// @dev Requirements: the task is closed since `claimPeriod`; it was not swept.
    function sweep(bytes32 taskId) external;

    /// @notice The task's terms and where it stands; all zero if there is none.
    function task(bytes32 taskId) external view returns (Terms memory terms, State memory state);
}
