// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "./ITask.sol";

/// @title What stands behind an evaluator's signature
/// @notice Part of the Fairshare contract: same address, same tasks. Where the terms name an `evaluatorStake`, an evaluator's
/// signature counts once it has staked, so that one who stays away stops nobody as long as a quorum is there.
/// **An evaluator answers for what it could have seen**, and for nothing else: a wrong transition from the round before, a
/// missing, repeated or misplaced account, a wrong leaf or node, a broken chain, a wrong score that a challenge brought down.
/// Receipts and withheld folders it cannot know. Whoever signed a round that was proven wrong in such a way loses the stake.
/// **Nobody gets it**: it is burned, so that no coordinator gains by evaluators whom it made to sign, and no evaluator's
/// accomplice gets a part of it back.
/// An evaluator may be a contract (ERC-1271): it approves each header before its post.
interface IEvaluators {
    /// @notice What stands behind an evaluator.
    struct Backer {
        address payer; // staked for it, and gets the stake back; 0 if nobody did
        uint128 stake; // held now, wei: 0 after it went home or was taken
    }

    /// @notice `payer` staked for an evaluator, and speaks for it if that is a contract.
    event EvaluatorStaked(bytes32 indexed taskId, address indexed evaluator, address indexed payer, uint256 stake);
    /// @notice An evaluator's stake went home to who paid it.
    event EvaluatorReleased(bytes32 indexed taskId, address indexed evaluator, address indexed payer, uint256 stake);
    /// @notice An evaluator signed a round that it could have seen to be wrong; its stake is burned.
    event EvaluatorSlashed(bytes32 indexed taskId, address indexed evaluator, uint32 indexed round, uint256 stake);
    /// @notice An evaluator that is a contract took the header of a round for right.
    event HeaderApproved(bytes32 indexed taskId, address indexed evaluator, uint32 indexed round, bytes32 digest);

    /// @notice Fewer evaluators have staked than the quorum.
    error EvaluatorsMissing(bytes32 taskId, uint256 seen, uint256 expected);
    /// @notice Somebody staked for this evaluator before; an evaluator stakes once.
    error AlreadyBacked(bytes32 taskId, address evaluator, address payer);
    /// @notice Nothing that this round's evaluators could have seen was proven wrong.
    error SignersNotAtFault(bytes32 taskId, uint32 round);
    /// @notice None of the signatures is of an evaluator whose stake is here.
    error NobodyToSlash(bytes32 taskId, uint32 round);

    /// @notice Stakes for an evaluator; its signatures count from now on. The caller gets the stake back.
    /// @dev Requirements: the task is open or started; the terms name the evaluator; nobody staked for it before; the caller
    /// is the evaluator or has its signature over EIP-712 Back(bytes32 taskId,address evaluator,address payer), with the
    /// caller for the payer, which stops strangers from making an absent evaluator look present; the stake is delivered
    /// exactly. Where the terms name no stake, this only says who speaks for a contract.
    /// @param signature The evaluator's, or what its ERC-1271 contract takes; not read if the evaluator calls.
    function stakeEvaluator(bytes32 taskId, address evaluator, bytes calldata signature) external;

    /// @notice Credits an evaluator's stake to who paid it.
    /// @dev Requirements: the stake is here. Before the start: the caller is the evaluator or its payer, and neither comes
    /// back. After it: the task is closed and, if rounds were proven wrong, a challenge window has passed since, in which
    /// anyone can show who signed them.
    function releaseEvaluator(bytes32 taskId, address evaluator) external;

    /// @notice Notes that an evaluator that is a contract signed the next round's header, by ERC-1271; `post` takes its
    /// address for its signature then. What it says later changes nothing. Anyone may call.
    /// @dev Requirements: the task has started; the header is of the next round; the evaluator's signature counts; its
    /// contract answers with exactly the 32 bytes of the magic value, within 500,000 gas.
    function approveHeader(ITask.Header calldata header, address evaluator, bytes calldata signature) external;

    /// @notice Burns the stakes of those who signed a round that they could have seen to be wrong; skips everybody else. Anyone
    /// may call, also after the close, as long as the stakes are here.
    /// @param header The posted one.
    /// @param signatures Over it, such as those that its post brought; a contract's as there.
    /// @dev Requirements: something evident about the round was proven wrong; one of the signers has a stake here.
    function slashEvaluators(ITask.Header calldata header, ITask.Signature[] calldata signatures) external;

    /// @notice What stands behind an evaluator.
    function backerOf(bytes32 taskId, address evaluator) external view returns (Backer memory);
    /// @notice Whether an evaluator that is a contract approved the header of this EIP-712 digest.
    function isApproved(bytes32 digest, address evaluator) external view returns (bool);
}
