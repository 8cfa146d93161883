// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "./ITask.sol";

/// @title Fairshare: budgets escrowed for learning together, paid out by rounds that anyone can check
/// @notice One contract holds every task. A sponsor escrows a budget, clients stake, the coordinator posts one header
/// per round with the signatures of a quorum of evaluators, and everybody is paid from the Merkle-sum tree under it.
/// Nobody owns this contract: there is no admin, no upgrade and no pause.
/// The functions of IDisputes are at the same address.
/// @dev Amounts are wei of the task's token, times are seconds. Amounts of one task are below 2^96.
/// The token has to be a plain ERC-20: one that takes a fee is refused, one whose balances change by themselves is at
/// the risk of the tasks that use it, and of no other.
interface IFairshare is ITask {
    /* ACTIONS, in the order of a task's life */

    /// @notice Escrows the budget and the coordinator's bond from the caller, the sponsor.
    /// @dev Requirements: every term in its range; evaluators strictly ascending and not zero; the salt is new to this
    /// sponsor; the token delivers exactly `budget + bond`.
    /// @return taskId keccak256(abi.encode(sponsor, salt))
    function open(Terms calldata terms) external returns (bytes32 taskId);

    /// @notice Stakes for the caller and binds its wallet to its node key and its data.
    /// @dev Requirements: the task is open, or has started and has a round left that the client can count in; it could
    /// not be expired yet; the caller never joined before; the stake is in range and delivered exactly.
    /// @param stake What the client's weight stands on, wei.
    /// @param nodeKey The Flower node's public key, published by the event in full.
    /// @param dataset Commitment to the client's data.
    /// @return firstRound 1 before the start, then two after the last posted one: a round that is under way keeps its
    /// clients, so that nobody's joining can make an honest coordinator's tree incomplete.
    function join(bytes32 taskId, uint128 stake, bytes calldata nodeKey, bytes32 dataset)
        external
        returns (uint32 firstRound);

    /// @notice Enrols an account that has signed for it, so that it needs no ETH. Pays the caller the fee.
    /// @dev Requirements: as for `join`; the order is in time and signed by the account, which has the stake and the fee
    /// and allows this contract to take them, by `permit` or before.
    function joinFor(bytes32 taskId, Enrolment calldata enrolment, Permit calldata permit)
        external
        returns (uint32 firstRound);

    /// @notice Closes the enrolment for round 1.
    /// @dev Requirements: the caller is the coordinator; the task is open; somebody joined.
    function start(bytes32 taskId) external;

    /// @notice Posts the next round.
    /// @dev Requirements: the caller is the coordinator; the task has started; the header follows from the terms and
    /// the round before (order, previous hash, base model of round 1, validation, leaf count, pot, total); a quorum of
    /// evaluators signed it, in ascending order of their addresses.
    function post(Header calldata header, Signature[] calldata signatures) external;

    /// @notice Pays an account what it earned up to the header's round and was not paid yet. Anyone may call.
    /// @dev Requirements: the round is final; the proof is right; something is left to pay.
    /// @return amount Paid, wei.
    function claim(Header calldata header, Leaf calldata leaf, Proof calldata proof) external returns (uint256 amount);

    /// @notice Claims for many accounts from one round. Skips those with nothing to claim, so that claiming for one of
    /// them first does not spoil the batch.
    /// @dev Requirements: as for `claim`, but for the last.
    /// @return total Paid to all of them, wei.
    function claimBatch(Header calldata header, Leaf[] calldata leaves, Proof[] calldata proofs)
        external
        returns (uint256 total);

    /// @notice Claims for neighbours in the tree with one proof for all of them, the cheapest way to pay everybody. Skips
    /// those with nothing to claim.
    /// @dev Requirements: as for `claimBatch`.
    /// @param from Index of the first leaf; the others follow it in the tree.
    /// @param siblings What is missing on the way up, level by level from the bottom, left before right.
    /// @return total Paid to all of them, wei.
    function claimRange(Header calldata header, uint32 from, Leaf[] calldata leaves, Sibling[] calldata siblings)
        external
        returns (uint256 total);

    /// @notice Claims to where the account has signed for, less a fee for the caller; an account needs no ETH for it.
    /// @dev Requirements: as for `claim`; the order is in time, signed by the account for this round, and the fee is at
    /// most what is paid.
    /// @return amount Paid, fee included, wei.
    function claimTo(Header calldata header, Leaf calldata leaf, Proof calldata proof, Redirect calldata redirect)
        external
        returns (uint256 amount);

    /// @notice Ends the caller's part in the task. The round that is under way still counts.
    /// @dev Requirements: the caller joined and did not leave; the task is open or started.
    /// @return leftRound The first round the client has no weight in.
    function leave(bytes32 taskId) external returns (uint32 leftRound);

    /// @notice Credits a client with its stake, and with its share of the bond if the task expired. Anyone may call.
    /// @dev Requirements: the stake is here; the task is closed, or the client left and its last round is final.
    function release(bytes32 taskId, address account) external;

    /// @notice Ends a task whose coordinator fell silent, at the last posted round. The staked clients that had a place
    /// in the round under way share the bond equally; what rounding leaves, and the budget that is not promised, is
    /// credited to the sponsor. So is all of the bond if the task never started: nobody has worked, and everybody was
    /// free to leave. Anyone may call.
    /// @dev Requirements: rounds are missing; `roundTimeout` has passed since the opening, the start or the last post;
    /// that post is final; no challenge is open.
    function expire(bytes32 taskId) external;

    /// @notice Ends a task that is complete or halted. The sponsor is credited with the budget that is not promised and,
    /// unless it was slashed, the bond. Anyone may call.
    /// @dev Requirements: all rounds were posted, or the task is halted; the last valid round is final; no challenge is
    /// open.
    function close(bytes32 taskId) external;

    /// @notice Credits the sponsor with what nobody claimed. Anyone may call.
    /// @dev Requirements: the task is closed since `claimPeriod`; it was not swept.
    function sweep(bytes32 taskId) external;

    /// @notice Pays the caller what it is credited with.
    /// @dev Requirements: something is credited.
    /// @return amount Paid, wei.
    function withdraw(address token) external returns (uint256 amount);

    /// @notice Pays an account what it is credited with. Anyone may call.
    /// @dev Requirements: something is credited.
    /// @return amount Paid, wei.
    function withdrawFor(address token, address account) external returns (uint256 amount);

    /* VIEWS */

    /// @notice The task's terms and where it stands; all zero if there is none.
    function task(bytes32 taskId) external view returns (Terms memory terms, State memory state);
    /// @notice What the contract knows of a client.
    function clientOf(bytes32 taskId, address account) external view returns (Client memory);
    /// @notice Clients that joined so far, leavers included.
    function clientCount(bytes32 taskId) external view returns (uint32);
    /// @notice The leading 27 bytes of a round's header hash and when it was posted; zero if it was not.
    function roundOf(bytes32 taskId, uint32 round) external view returns (bytes27 headerHash, uint40 postedAt);
    /// @notice Whether the round can be claimed from.
    function isFinal(bytes32 taskId, uint32 round) external view returns (bool);
    /// @notice What `account` can withdraw of `token`, wei.
    function creditOf(address token, address account) external view returns (uint256);
    /// @notice The EIP-712 digest of a header: what evaluators sign and what `previous` names.
    function headerDigest(Header calldata header) external view returns (bytes32);
}
