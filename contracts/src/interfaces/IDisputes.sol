// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "./ITask.sol";

/// @title Proofs of fraud, and what they cost whom
/// @notice Part of the Fairshare contract: same address, same tasks. Anyone who holds a round's published folder can
/// prove what is wrong in it, as long as the round is not final. That voids the round and all after it, and halts the task.
/// The coordinator loses its whole bond: a bounty of one `minStake` goes to the first prover, everything else to the clients
/// (see ILifecycle). There is no bounty for what only the coordinator could have made, a receipt or an unanswered request:
/// convicting itself is never cheaper for it than falling silent. What earlier rounds promised stays claimable.
/// What these proofs cannot reach is the direction itself: that rests on the evaluators who signed. In a task whose
/// terms say `attested`, so do the scores: they come from a rule that is no inner product of update and direction
/// (coordinate-wise robust rules, Shapley values), which no block can refute. All else stays provable there.
interface IDisputes {
    /* TYPES */

    /// @notice An update's signed commitment: EIP-712
    /// Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)
    struct SignedUpdate {
        bytes32 baseModel;
        bytes32 updateRoot;
        ITask.Signature signature;
    }

    /// @notice An open challenge of one score. The contract keeps its hash only; the event has it in full.
    struct Challenge {
        bytes32 taskId;
        uint32 round;
        address account; // whose score
        address challenger;
        bytes32 updateRoot; // of the leaf
        bytes32 directionRoot; // of the header
        uint64 blocks; // of the update, and so of the direction
        bytes32 sumsRoot; // tree of the challenger's sums, see SumTree.sol
        uint40 openedAt;
    }

    /// @notice How a challenge stands or, once it is settled, how it ended.
    struct Standing {
        bool open;
        uint40 deadline; // refuted until then, upheld from then; 0 if it was never opened
        uint32 demands; // sums that the challenger still has to break down
        bool upheld; // settled, and it was right
        uint128 bond; // the challenger's
    }

    /* EVENTS */

    /// @notice Fraud was proven; `fraud` is the selector of the function that did it.
    event Halted(bytes32 indexed taskId, uint32 indexed round, address indexed prover, bytes4 fraud, uint256 reward);
    /// @notice This round and all after it count no more.
    event Voided(bytes32 indexed taskId, uint32 indexed fromRound);
    /// @notice Whoever signed this round could have seen that it is wrong: their stakes can be taken, see IEvaluators.
    event SignersAtFault(bytes32 indexed taskId, uint32 indexed round);
    /// @notice A client signed two updates for one round and lost its stake.
    event Slashed(bytes32 indexed taskId, address indexed account, address indexed prover, uint256 stake);
    /// @notice Somebody says that a score is wrong; `sums` are the right ones, 16 bytes each.
    event Challenged(bytes32 indexed id, bytes32 indexed taskId, uint32 indexed round, Challenge challenge, bytes sums);
    /// @notice A refuter wants to see the blocks of one sum, and escrowed `bond`.
    event Demanded(bytes32 indexed id, uint64 indexed sum, address indexed demander, uint256 bond);
    /// @notice The blocks of one sum; `partials` are 16 bytes each.
    event Answered(bytes32 indexed id, uint64 indexed sum, bytes partials);
    /// @notice The challenge was wrong.
    event Refuted(bytes32 indexed id, address indexed refuter, uint256 reward);
    /// @notice Nobody refuted the challenge in time: the score is wrong.
    event Upheld(bytes32 indexed id);
    /// @notice A challenge of the round failed, so its window is open once more, for those who stood back for it.
    event Reopened(bytes32 indexed taskId, uint32 indexed round, uint40 until);
    /// @notice A client says that the round's folder is withheld, and wants its leaf on chain.
    event LeafRequested(
        bytes32 indexed taskId, uint32 indexed round, address indexed account, address asker, uint40 deadline
    );
    /// @notice The leaf that was asked for.
    event LeafShown(
        bytes32 indexed taskId, uint32 indexed round, address indexed account, ITask.Leaf leaf, ITask.Proof proof
    );

    /* ERRORS: each says what was seen, then what was expected */

    /// @notice The task cannot be challenged: it is not started or halted.
    error NotDisputable(bytes32 taskId, ITask.Status seen);
    /// @notice The round is final: nothing about it can be proven, challenged or slashed any more.
    error RoundFinal(uint32 round);
    /// @notice The first header has to be of an earlier round than the second or, for a broken chain, of the
    /// one before.
    error NotConsecutive(uint32 first, uint32 second);
    /// @notice The leaves are of different accounts.
    error DifferentAccounts(address first, address second);
    /// @notice What was called fraud is right.
    error NoFraud();
    /// @notice The signature is by somebody else.
    error WrongSigner(address seen, address expected);
    /// @notice The account has no place in this round yet: no leaf to miss, no update to sign twice.
    error NotDue(address account, uint32 firstRound, uint32 round);
    /// @notice The leaves are not the neighbours of the place where the account's leaf would be.
    error NotNeighbours(uint256 firstIndex, uint256 secondIndex);
    /// @notice The task's scores are no inner products that blocks could refute; its evaluators attest them.
    error ScoresAttested(bytes32 taskId);
    /// @notice Too late for this.
    error TooLate(uint256 time, uint256 latest);
    /// @notice The leaf has no update to score.
    error NoUpdate(address account);
    /// @notice An update has 1 to 2^24 blocks.
    error BlocksOutOfRange(uint256 blocks, uint256 most);
    /// @notice The block tree's root is not made of this number of blocks and this top.
    error WrongBlockRoot(bytes32 seen, bytes32 expected);
    /// @notice Sums and partial sums are 16 bytes each, one for every span or block.
    error WrongSumsLength(uint256 seen, uint256 expected);
    /// @notice The challenger's sums make the score that was posted.
    error SameScore(int256 score);
    /// @notice The partial sums do not add up to the sum that they break down.
    error WrongPartials(int256 seen, int256 expected);
    /// @notice There is no such open challenge.
    error NotOpen(bytes32 id);
    /// @notice The challenge was opened before, word for word.
    error ChallengeExists(bytes32 id);
    /// @notice There is no such block or sum.
    error NoSuchBlock(uint256 index, uint256 count);
    /// @notice A block is at least 513 bytes with its siblings, with an exponent from -64 to 0.
    error MalformedBlock(uint256 length, int256 exponent);
    /// @notice The path has too many or too few siblings.
    error WrongPathLength(uint256 seen, uint256 expected);
    /// @notice The path leads to another root.
    error WrongPath(bytes32 seen, bytes32 expected);
    /// @notice The challenger's sum is right: nothing is refuted.
    error SumIsRight(int256 sum);
    /// @notice The sum was demanded before, or there is nothing to break down.
    error NothingToDemand(bytes32 id, uint64 sum);
    /// @notice Only the challenger may break its sums down.
    error NotChallenger(address seen, address expected);
    /// @notice The sum was not demanded, or it was answered, or the demand's bond was paid out.
    error NotDemanded(bytes32 id, uint64 sum);
    /// @notice The sum is not broken down into blocks yet; see `demand`.
    error NotAnswered(bytes32 id, uint64 sum);
    /// @notice Sums that were demanded are not broken down; see `answer` and `dismiss`.
    error DemandsOpen(bytes32 id, uint32 demands);

    /// @notice The leaf was asked for before.
    error AlreadyRequested(address account);
    /// @notice Nobody asks for this leaf.
    error NotRequested(address account);

    /* PROOFS IN ONE TRANSACTION */

    /// @notice Proves that a leaf's total or cumulative does not follow from the round before:
    /// total = total before + score; cumulative = max(cumulative before, floor(price · max(0, total) / 2^64)); or that a
    /// leaf without an update, or of a client that has left, has a weight or a score; or that a leaf is of an account that
    /// has no place in the tree yet.
    /// Against a round further back, since one in between may open to nobody: that the account's cumulative fell, or grew
    /// by more than the total of all did.
    /// @dev Requirements: both headers were posted and neither is void, `before` in an earlier round; both leaves are of
    /// one account; something does not follow. For an account whose first round this is, `before`, its leaf and its proof
    /// are not read.
    function proveTransition(
        ITask.Header calldata before,
        ITask.Leaf calldata leafBefore,
        ITask.Proof calldata proofBefore,
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        ITask.Proof calldata proof
    ) external;

    /// @notice Proves that a header does not follow from the one before: another base model, another previous hash.
    /// @dev Requirements: both were posted, one after the other; something does not follow.
    function proveBrokenChain(ITask.Header calldata before, ITask.Header calldata header) external;

    /// @notice Proves that the coordinator signed a receipt for an update that is not in the client's leaf.
    /// @dev Requirements: the receipt is the coordinator's, EIP-712
    /// Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot); the leaf has another root.
    function proveOmission(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        ITask.Proof calldata proof,
        bytes32 updateRoot,
        ITask.Signature calldata receipt
    ) external;

    /// @notice Proves that a tree is not sorted, or has two leaves of one account.
    /// @dev Requirements: the second leaf stands right of the first, and its account is not above the first's.
    function proveDisorder(
        ITask.Header calldata header,
        ITask.Leaf calldata first,
        ITask.Proof calldata firstProof,
        ITask.Leaf calldata second,
        ITask.Proof calldata secondProof
    ) external;

    /// @notice Proves that an enrolled account has no leaf, by the neighbours between which it would stand.
    /// @dev Requirements: the account's first round is not after this one; the leaves are neighbours around it, or one
    /// leaf at the tree's end beyond which it would stand.
    function proveMissing(
        ITask.Header calldata header,
        address account,
        ITask.Leaf[] calldata neighbours,
        ITask.Proof[] calldata proofs
    ) external;

    /// @notice Proves that a leaf does not add to the tree's sum what it should. No claim of it can be proven.
    /// @dev `said` is the sum that the leaf's parent (or the header, for a single leaf) has for it; its node is not
    /// read. Requirements: the path leads from the leaf, with this sum, to the header's root; its own is another.
    function proveBadLeaf(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        ITask.Sibling calldata said,
        ITask.Proof calldata proof
    ) external;

    /// @notice Proves that an inner node is not what its parent (or the header, for the root) says: its sum is another,
    /// or it stands where a leaf should. No claim below such a node can be proven.
    /// @dev Requirements: the path leads from the node, with the sum that is said of it, to the header's root; its own
    /// sum is another, or it is on level 0.
    /// @param level 0 where leaves stand; `proof.index` counts the nodes of this level.
    function proveBadNode(
        ITask.Header calldata header,
        uint8 level,
        ITask.Sibling calldata left,
        ITask.Sibling calldata right,
        ITask.Sibling calldata said,
        ITask.Proof calldata proof
    ) external;

    /// @notice Proves that a client signed two different updates for one round. Half of its stake, but at most `minStake`,
    /// goes to the prover, the rest is burned.
    /// @dev Requirements: the stake is here; the round is under way or not final; the client has a place in it; both
    /// signatures are the client's; the updates differ.
    function proveEquivocation(
        bytes32 taskId,
        uint32 round,
        address client,
        SignedUpdate calldata first,
        SignedUpdate calldata second
    ) external;

    /* CHALLENGE OF A SCORE */

    /// @notice Says that a leaf's score is wrong, and publishes the right partial sums: one for each block or, beyond
    /// 4,096 blocks, one for each `span` of blocks (the smallest power of two that gives at most 4,096 sums). Escrows
    /// `challengeBond` from the challenger: what it costs to be wrong grows with what could be won.
    /// @dev Since the sums are in the call, nobody can challenge with sums that a refuter does not get to see.
    /// The round and all after it are not final before the challenge is settled. One that fails opens the round's window
    /// once more, if it was the first: the next one may be right.
    /// Requirements: the task is started or halted; its scores are not `attested`; the round was posted and is neither void
    /// nor final; its window is open, for the first time or once more, since challenges could follow each other for ever if
    /// one were enough to open another; the leaf has an update, which has `blocks` blocks; the sums give another score.
    /// @param blocks Number of blocks, and `top` the top of the block tree: updateRoot = sha256(0x02 ‖ blocks ‖ top).
    /// @param sums int128 each, big-endian, 16 bytes.
    /// @return id Hash of the challenge.
    function challengeScore(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        ITask.Proof calldata proof,
        uint64 blocks,
        bytes32 top,
        bytes calldata sums
    ) external returns (bytes32 id);

    /// @notice Shows one block whose partial sum is not the challenger's, which ends the challenge: half of its bond
    /// goes to the caller, half is burned.
    /// @dev Requirements: the challenge is open and its deadline has not passed; both blocks are in their trees;
    /// `partialSum` is in the challenger's; it is wrong.
    /// @param update The update's block of 513 bytes, then its siblings in the block tree, bottom-up, 32 bytes each; and
    /// `direction` the same of the direction's.
    function refute(
        Challenge calldata challenge,
        uint64 index,
        bytes calldata update,
        bytes calldata direction,
        int128 partialSum,
        bytes32[] calldata path
    ) external;

    /// @notice Asks the challenger to break one sum down into its blocks. Escrows `minStake` for the caller's first demand in
    /// a challenge, twice that for its second, n times for its n-th: one is enough to refute what is false, whatever others
    /// have demanded, and many are meant to be more than the challenger can answer. The bond stays until the challenge is settled, see `dismiss`.
    /// @dev Requirements: the challenge is open, sums span many blocks, this one was not demanded before, and the
    /// response window since the challenge is not over.
    function demand(Challenge calldata challenge, uint64 sum) external;

    /// @notice Breaks a demanded sum down into the partial sums of its blocks.
    /// @dev Since `refute` judges the challenger by them, nobody else may give them: wrong parts add up to a right sum too.
    /// Requirements: the caller is the challenger; the sum was demanded and not answered; it is in the challenger's tree;
    /// the partial sums add up to it.
    function answer(
        Challenge calldata challenge,
        uint64 sum,
        int128 value,
        bytes32[] calldata path,
        bytes calldata partials
    ) external;

    /// @notice Ends a challenge one of whose demands was not answered in time: its bond is shared as by `refute`, with
    /// the demander in the refuter's place.
    /// Once a challenge has ended, pays out the bond of one demand, answered or not: back to the demander if the challenge
    /// was wrong, to the challenger if it was upheld. Anyone may call.
    /// @dev Requirements: the sum was demanded and its bond is here; the challenge has ended, or the sum was not answered
    /// and the response window since the demand is over.
    function dismiss(Challenge calldata challenge, uint64 sum) external;

    /// @notice Ends a challenge that nobody refuted: the score is wrong. The challenger gets its bond back, and what
    /// a prover of fraud gets.
    /// @dev Requirements: the challenge is open, its deadline is over, all demands were answered.
    function uphold(Challenge calldata challenge, ITask.Header calldata header) external;

    /* REQUEST OF A LEAF */

    /// @notice Asks for a leaf of a posted round whose folder is withheld. Escrows `minStake`, which pays whoever shows it.
    /// The round and all after it are not final before that.
    /// @dev Requirements: the round was posted and is neither void nor final, and its window is open, as for `challengeScore`;
    /// the account has a place in it; its leaf was not asked for before.
    function requestLeaf(ITask.Header calldata header, address account) external;

    /// @notice Shows a leaf that was asked for. Anyone may call, and gets the asker's bond.
    /// @dev Requirements: it was asked for; the proof is right.
    function showLeaf(ITask.Header calldata header, ITask.Leaf calldata leaf, ITask.Proof calldata proof) external;

    /// @notice Ends a request that nobody answered: the round is void like any that was proven wrong. The asker gets its
    /// bond back. Anyone may call.
    /// @dev Requirements: it was asked for; the response window since then is over.
    function upholdRequest(ITask.Header calldata header, address account) external;

    /// @notice Credits what was burned in a task's round to 0x…dEaD, from where `withdrawFor` sends it. Anyone may call.
    /// @dev Requirements: something was burned in it since the last call.
    function burn(bytes32 taskId, uint32 round) external returns (uint256 amount);
    /// @notice What was forfeited in a task's round to nobody, and `burn` can move, wei.
    function burnedIn(bytes32 taskId, uint32 round) external view returns (uint256);

    /// @notice What a challenge of a score in this task costs if it is wrong: a sixteenth of the coordinator's bond, or
    /// minStake if that is more.
    function challengeBond(bytes32 taskId) external view returns (uint256);

    /// @notice How a challenge stands or ended; all zero if it was never opened.
    function standingOf(bytes32 id) external view returns (Standing memory);
}
