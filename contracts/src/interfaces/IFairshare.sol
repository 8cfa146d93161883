// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "./ITask.sol";

/// @title Fairshare: budgets escrowed for learning together, paid out by rounds that anyone can check
/// @notice One contract holds every task. A sponsor escrows a budget, clients stake, the coordinator posts one header
/// per round with the signatures of a quorum of evaluators, and everybody is paid from the Merkle-sum tree under it.
/// Nobody owns this contract: there is no admin, no upgrade and no pause.
/// The functions of ILifecycle and IDisputes are at the same address.
/// @dev Amounts are wei of the task's token, times are seconds. Amounts of one task are below 2^95.
/// The token has to be a plain ERC-20: one that takes a fee is refused, one whose balances change by themselves is at
/// the risk of the tasks that use it, and of no other.
interface IFairshare is ITask {
    /* ACTIONS, in the order of a task's life */

    /// @notice Stakes for the caller and binds its wallet to its node key and its data.
    /// @dev Requirements: the task is open, or has started and has a round left that the client can count in; it could
    /// not be expired yet; the joining is not closed; the caller may join and did not before; the stake is in range and
    /// delivered exactly.
    /// @param stake What the client's weight stands on, wei.
    /// @param nodeKey The Flower node's public key, published by the event in full.
    /// @param dataset Commitment to the client's data.
    /// @param membership Siblings in the Merkle tree of those who may join; not read if anyone may.
    /// @return firstRound 1 before the start, then two after the last posted one: a round that is under way keeps its
    /// clients, so that nobody's joining can make an honest coordinator's tree incomplete.
    function join(
        bytes32 taskId,
        uint128 stake,
        bytes calldata nodeKey,
        bytes32 dataset,
        bytes32[] calldata membership
    ) external returns (uint32 firstRound);

    /// @notice Enrols an account that has signed for it, so that it needs no ETH. Pays the caller the fee.
    /// @dev Requirements: as for `join`; the order is in time and signed by the account, which has the stake and the fee
    /// and allows this contract to take them, by `permit` or before.
    function joinFor(
        bytes32 taskId,
        Enrolment calldata enrolment,
        Permit calldata permit_,
        bytes32[] calldata membership
    ) external returns (uint32 firstRound);

    /// @notice Posts the next round.
    /// @dev Requirements: the caller is the coordinator; the task has started; the header follows from the terms and
    /// the round before (order, previous hash, base model of round 1, validation, leaf count, enrolment); a quorum of
    /// evaluators signed it, in ascending order of their addresses.
    /// Its total is what the schedule allows: at most floor(budget · round / rounds), and less than `leafCount` wei below
    /// that unless the price is 2^128 - 1; and it does not fall.
    /// The pay that is not final is at most the bond, or is this round's alone.
    /// @param cover 0 for round 1, then what the last Posted event has for it.
    function post(Header calldata header, Signature[] calldata signatures, bytes32 cover) external;

    /// @notice Pays an account, or its standing payee, what it earned up to the payroll's round and was not paid yet. Anyone
    /// may call. In a task that ended otherwise than planned, the leaf of the last valid round is worth
    /// c + floor(pool · c / C), so what was claimed before the end can be claimed again for the rest.
    /// @dev Requirements: the round is final; the proof is right; something is left to pay.
    /// @return amount Paid, wei.
    function claim(Payroll calldata roll, Leaf calldata leaf, Proof calldata proof) external returns (uint256 amount);

    /// @notice Claims for many accounts from one round. Skips those with nothing to claim, so that claiming for one of
    /// them first does not spoil the batch; credits those whom the token refuses to pay.
    /// @dev Requirements: as for `claim`, but for the last.
    /// @return total Paid to all of them, wei.
    function claimBatch(Payroll calldata roll, Leaf[] calldata leaves, Proof[] calldata proofs)
        external
        returns (uint256 total);

    /// @notice Claims for neighbours in the tree with one proof for all of them, the cheapest way to pay everybody. Skips
    /// those with nothing to claim.
    /// @dev Requirements: as for `claimBatch`.
    /// @param from Index of the first leaf; the others follow it in the tree.
    /// @param siblings What is missing on the way up, level by level from the bottom, left before right, 48 bytes each.
    /// @return total Paid to all of them, wei.
    function claimRange(Payroll calldata roll, uint32 from, Leaf[] calldata leaves, bytes calldata siblings)
        external
        returns (uint256 total);

    /// @notice Claims to where the account has signed for, less a fee for the caller; an account needs no ETH for it.
    /// @dev Requirements: as for `claim`; the order is in time, signed for this round by the account or, if it has one, by its
    /// standing payee, and the fee is at most what is paid.
    /// @return amount Paid, fee included, wei.
    function claimTo(Payroll calldata roll, Leaf calldata leaf, Proof calldata proof, Redirect calldata redirect)
        external
        returns (uint256 amount);

    /// @notice Names who is paid for the caller in this task from now on, whatever it is owed and whoever claims it. Once
    /// named, only that payee can name another: a stolen key cannot take back what was redirected before. It stays the payee
    /// of an account that leaves before the start and comes back.
    /// @dev Requirements: the caller joined and has no standing payee; the recipient is not 0.
    function setRecipient(bytes32 taskId, address recipient) external;

    /// @notice Passes on what the caller is the standing payee for; to the account itself to end it.
    /// @dev Requirements: the caller is the account's standing payee; the recipient is not 0.
    function passRecipient(bytes32 taskId, address account, address recipient) external;

    /// @notice Ends the caller's part in the task. Before the start it never was there: its stake is credited at once, and
    /// it has no leaf. After it, the round that is under way still counts.
    /// @dev Requirements: the caller joined and did not leave; the task is open or started.
    /// @return leftRound The first round the client has no weight in.
    function leave(bytes32 taskId) external returns (uint32 leftRound);

    /// @notice Credits a client, or its standing payee, with its stake, and with its share of the pool if that goes by stake.
    /// Anyone may call.
    /// @dev Requirements: the stake is here; the task is closed, or the client left and its last round is final.
    function release(bytes32 taskId, address account) external;

    /// @notice The same for many, paid out at once; credits those whom the token refuses to pay, and skips those with
    /// nothing staked.
    /// @dev Requirements: as for `release`, but for the first.
    function releaseRange(bytes32 taskId, address[] calldata accounts) external returns (uint256 total);

    /// @notice Pays the caller what it is credited with.
    /// @dev Requirements: something is credited.
    /// @return amount Paid, wei.
    function withdraw(address token) external returns (uint256 amount);

    /// @notice Pays an account what it is credited with. Anyone may call.
    /// @dev Requirements: something is credited.
    /// @return amount Paid, wei.
    function withdrawFor(address token, address account) external returns (uint256 amount);

    /// @notice Uses the caller's ERC-2612 permit for this contract, so that a `multicall` opens, joins, challenges or demands
    /// in one transaction. One that fails is ignored, since anyone may have used it before.
    function permit(address token, Permit calldata permit_) external;

    /* VIEWS */

    /// @notice What the contract knows of a client.
    function clientOf(bytes32 taskId, address account) external view returns (Client memory);
    /// @notice Clients that joined so far, those included that left after the start.
    function clientCount(bytes32 taskId) external view returns (uint32);
    /// @notice The leading 27 bytes of a round's header hash (see `headerHash`) and when it was posted; zero if it was not.
    function roundOf(bytes32 taskId, uint32 round) external view returns (bytes27 hash, uint40 postedAt);
    /// @notice Whether the round can be claimed from.
    function isFinal(bytes32 taskId, uint32 round) external view returns (bool);
    /// @notice What `account` can withdraw of `token`, wei.
    function creditOf(address token, address account) external view returns (uint256);
    /// @notice The EIP-712 struct hash of a header: what `previous` names and the contract keeps. A chain's id is no part of
    /// it, so that rounds survive a change of that.
    function headerHash(Header calldata header) external view returns (bytes32);
    /// @notice The EIP-712 digest of a header: what evaluators sign.
    function headerDigest(Header calldata header) external view returns (bytes32);
}
