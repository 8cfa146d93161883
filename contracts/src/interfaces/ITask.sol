// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title What a task consists of, what happens to it, and what is refused
/// @notice Types, events and errors of IFairshare.
interface ITask {
    /* TYPES */

    /// @notice Open: clients join, nothing has been posted. Started: rounds are posted. Halted: fraud was proven, no
    /// round follows. Closed: the total is final and the claim period runs.
    enum Status {
        None,
        Open,
        Started,
        Halted,
        Closed
    }

    /// @notice All that a sponsor promises, frozen by `open`.
    struct Terms {
        address token; // budget, bond, stakes and pay are all in this one
        address coordinator; // posts the rounds; an externally owned account, since it signs receipts
        address[] evaluators; // strictly ascending; they recompute the rounds and sign the headers; contracts too
        uint8 quorum; // how many of them have to sign, 1 to all
        bool revealEachRound; // whether a direction is published with its round (true) or when the task ends (false)
        bool attested; // whether scores rest on the evaluators' word alone (true) or can be challenged too (false)
        bool mayStop; // whether the sponsor may make the next round the last one, which then pays the whole budget
        bool mayCloseJoining; // whether the sponsor may close the joining, and open it again
        uint32 rounds; // 1 to 2^24 - 3
        uint32 challengeWindow; // seconds from posting a round until it is final, at least 10
        uint32 responseWindow; // seconds to refute a challenge of a score, at least 10
        uint32 roundTimeout; // seconds of silence after which anyone may expire the task, at least two challenge windows
        uint32 claimPeriod; // seconds from the close of the task until what nobody claimed goes back, at least an hour
        uint128 budget; // what all rounds together pay, 1 to 2^95 - 1
        uint128 bond; // the coordinator's own, lost by silence and by proven fraud; minStake to 2^95 - 1 - budget
        uint128 minStake; // of one client, at least 1
        uint128 maxStake; // of one client, minStake to 2^95 - 1
        uint128 evaluatorStake; // of one evaluator, without which its signature does not count; 0 to 2^95 - 1
        bytes32 members; // who may join: 0 for anyone, or the root of a Merkle tree of accounts (OpenZeppelin's)
        bytes32 specHash; // of the training specification
        bytes32 validationHash; // of the validation set that rounds are scored on
        bytes32 baseModel; // hash of the model that round 1 starts from
        bytes32 salt; // lets one sponsor open many tasks
    }

    /// @notice Where a task stands.
    struct State {
        address sponsor; // opened the task, gets back what is not paid
        Status status;
        bool swept; // the claim period is over and the rest went back to the sponsor
        bool stopping; // the sponsor stopped the task: `rounds` is sooner than the terms say
        bool joiningClosed;
        uint32 rounds; // the last round
        uint32 posted; // rounds that count: the last one posted or, in a halted task, the last valid one
        uint32 voidFrom; // this round and all after it were proven wrong, 0 if none
        uint32 heldFrom; // this round and all after it wait for a challenge, 0 if none
        uint32 clients; // with a leaf in the next round or the one after
        uint32 openChallenges; // of scores, and requests for a leaf
        uint40 since; // when the task was opened, started, stopped, halted or closed, whichever was last
        uint128 budget; // that the schedule pays out
        uint128 added; // to the budget, from the round after the one under way
        uint128 bond; // held now
        uint128 cumulative; // what all rounds up to `posted` promise together; in a halted task not settled before it is closed
        uint128 paid; // of that and of the pool
        uint128 pool; // shared by the clients because the task ended otherwise than planned
        uint128 poolBase; // what the pool is shared by: cumulative or, if that is 0, the stakes
        bytes32 enrolment; // what the next header has to carry
    }

    /// @notice One client of one task.
    struct Client {
        uint128 stake; // held now: 0 before joining, after the release and after being slashed
        uint128 claimed; // paid to it so far
        uint32 firstRound; // the first round it has a leaf in, 0 if it never joined or left before the start
        uint32 leftRound; // the first round it has no weight in any more, 0 while it takes part
        address recipient; // its standing payee, 0 for itself
    }

    /// @notice What the coordinator posts for a round and the evaluators sign: EIP-712 Header(bytes32 taskId,uint32 round,
    /// bytes32 treeRoot,uint32 leafCount,uint128 cumulative,Rest rest), where Rest has the fields from `previous` on.
    struct Header {
        bytes32 taskId;
        uint32 round; // from 1
        bytes32 treeRoot; // round tree, see RoundTree.sol
        uint32 leafCount; // clients with a leaf
        uint128 cumulative; // sum of the leaves' cumulatives, wei
        bytes32 previous; // struct hash of the round before, 0 in round 1
        bytes32 validation; // the task's validationHash
        bytes32 baseModel; // hash of the model that clients trained on
        bytes32 nextModel; // hash of the model after this round
        bytes32 directionRoot; // block tree of the direction
        bytes32 enrolment; // rolling hash of all joins and leaves up to the post before
        uint128 price; // 2^-64 wei per 2^-40 of loss
        bytes32 bundle; // hash of the published folder
    }

    /// @notice What a claim brings of a header: the fields that pay, and the struct hash of the others, so that it need not
    /// bring those.
    struct Payroll {
        bytes32 taskId;
        uint32 round;
        bytes32 treeRoot;
        uint32 leafCount;
        uint128 cumulative;
        bytes32 rest; // EIP-712 struct hash of the header's Rest
    }

    /// @notice A compact signature (EIP-2098). For an evaluator that is a contract and approved the header (see IEvaluators):
    /// its address in r, and 0 in vs.
    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    /// @notice One client in one round. `updateRoot` is 0 if no update of its was accepted; weight and score are 0 then.
    struct Leaf {
        address account;
        bytes32 updateRoot;
        uint64 weight; // units of 2^-32
        int128 score; // units of 2^-40 of loss
        int128 total; // the same: all scores since it joined
        uint128 cumulative; // wei earned in this task up to and including this round
    }

    /// @notice A node of the round tree, as its parent names it.
    struct Sibling {
        bytes32 node;
        uint128 cumulative;
    }

    /// @notice A leaf's place in the round tree.
    /// @dev Siblings go from the bottom up; where an odd node is promoted there is none.
    struct Proof {
        uint32 index; // of the leaf, from 0
        bytes siblings; // 48 bytes each: the node's hash ‖ uint128 of its sum
    }

    /// @notice An account's order to pay one round's claim elsewhere, or that of its standing payee if it has one: EIP-712
    /// Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline). It is used up once
    /// the account was paid what its leaf of that round promises, and whoever claimed it: a share of a pool that comes after
    /// that is not its.
    struct Redirect {
        address recipient;
        uint128 fee; // of the amount, for the caller, wei
        uint40 deadline; // last second it is good for
        bytes signature; // the account's or its payee's, or what its ERC-1271 contract takes
    }

    /// @notice An account's order to enrol it: EIP-712 Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,
    /// bytes32 dataset,uint128 fee,uint40 deadline). It is used up by the joining: an account that left before the start can
    /// join again by itself only.
    struct Enrolment {
        address account;
        uint128 stake;
        bytes nodeKey;
        bytes32 dataset;
        uint128 fee; // from the account to the caller on top of the stake, wei
        uint40 deadline; // last second it is good for
        bytes signature; // the account's, or what its ERC-1271 contract takes
    }

    /// @notice An ERC-2612 permit of the account for this contract; one that fails is ignored, since anyone may have
    /// used it before, and then the allowance is there.
    struct Permit {
        uint256 value;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /* EVENTS */

    /// @notice A task was opened and its budget is escrowed.
    event Opened(bytes32 indexed taskId, address indexed sponsor, address indexed token, Terms terms);
    /// @notice A client staked; from `firstRound` on it counts.
    event Joined(
        bytes32 indexed taskId,
        address indexed account,
        uint32 firstRound,
        uint256 stake,
        bytes nodeKey,
        bytes32 dataset
    );
    /// @notice Round 1 is under way with `clients` clients, and the coordinator's bond is escrowed.
    event Started(bytes32 indexed taskId, uint32 clients);
    /// @notice A round was posted; it is final after the challenge window unless proven wrong. Of its header, all but what
    /// follows: `previous` is the hash of the header before, `validation` the task's. `cover` is what the next post has to
    /// give back.
    event Posted(
        bytes32 indexed taskId,
        uint32 indexed round,
        bytes32 treeRoot,
        uint32 leafCount,
        uint128 cumulative,
        bytes32 baseModel,
        bytes32 nextModel,
        bytes32 directionRoot,
        bytes32 enrolment,
        uint128 price,
        bytes32 bundle,
        bytes32 cover
    );
    /// @notice The sponsor stopped the task: `lastRound`, the one under way, pays the whole budget.
    event Stopped(bytes32 indexed taskId, uint32 lastRound);
    /// @notice The sponsor closed the joining or opened it again.
    event JoiningSet(bytes32 indexed taskId, bool closed);
    /// @notice Somebody added to the budget; the round after the one under way counts with `budget`.
    event BudgetAdded(bytes32 indexed taskId, address indexed by, uint256 amount, uint256 budget);
    /// @notice The coordinator named who may take its place.
    event CoordinatorOffered(bytes32 indexed taskId, address indexed from, address indexed to);
    /// @notice Another account posts the rounds from now on.
    event CoordinatorChanged(bytes32 indexed taskId, address indexed from, address indexed to);
    /// @notice From now on what is due to `account` in this task is paid to `recipient`.
    event RecipientSet(bytes32 indexed taskId, address indexed account, address indexed recipient);
    /// @notice `amount` went to `account`, from the tree of `round`.
    event Claimed(bytes32 indexed taskId, uint32 indexed round, address indexed account, uint256 amount);
    /// @notice The claim of `account` went to `recipient`, less the caller's fee.
    event Redirected(
        bytes32 indexed taskId, uint32 indexed round, address indexed account, address recipient, address relayer, uint256 fee
    );
    /// @notice A client has no weight from round `leftRound` on.
    event Left(bytes32 indexed taskId, address indexed account, uint32 leftRound);
    /// @notice A client's stake went home, with its share of the pool if that is shared by stake.
    event Released(bytes32 indexed taskId, address indexed account, uint256 stake, uint256 poolShare);
    /// @notice The task ended in silence after round `lastRound`.
    event Expired(bytes32 indexed taskId, uint32 lastRound);
    /// @notice The total is `cumulative` for good; `refund` was credited to the sponsor, and the clients share `pool`.
    event Closed(bytes32 indexed taskId, uint32 lastRound, uint256 cumulative, uint256 refund, uint256 pool);
    /// @notice Nobody claimed `amount`; it was credited to the sponsor.
    event Swept(bytes32 indexed taskId, uint256 amount);
    /// @notice A credit was paid out.
    event Withdrawn(address indexed token, address indexed account, uint256 amount);

    /* ERRORS: each says what was seen, then what was expected */

    /// @notice A term is outside its range; `term` is its name in ASCII.
    error TermOutOfRange(bytes32 term, uint256 seen, uint256 least, uint256 most);
    /// @notice Evaluators, like signers, come in strictly ascending order; `second` is not above `first`.
    error NotAscending(address first, address second);
    /// @notice This sponsor used this salt before.
    error TaskExists(bytes32 taskId);
    /// @notice The action needs the task in another status.
    error WrongStatus(bytes32 taskId, Status seen, Status expected);
    /// @notice The token moved another amount than it was asked to; it takes a fee.
    error TokenTookFee(address token, uint256 received, uint256 expected);
    /// @notice Only the coordinator may do this.
    error NotCoordinator(address seen, address expected);
    /// @notice An account joins a task once.
    error AlreadyJoined(bytes32 taskId, address account);
    /// @notice The account never joined the task.
    error NotJoined(bytes32 taskId, address account);
    /// @notice The stake is outside the task's range, or with all others' more than the task counts, 2^96 - 1 wei.
    error StakeOutOfRange(uint256 stake, uint256 least, uint256 most);
    /// @notice The first round a client could count in is beyond the task's last.
    error EnrolmentOver(bytes32 taskId, uint32 firstRound, uint32 rounds);
    /// @notice The task is full.
    error TooManyClients(uint256 clients, uint256 most);
    /// @notice The account is not under the root of those who may join.
    error NotMember(bytes32 taskId, address account);
    /// @notice The sponsor closed the joining.
    error JoiningClosed(bytes32 taskId);
    /// @notice The terms do not allow this; `term` is its name in ASCII.
    error NotAllowed(bytes32 term);
    /// @notice Only the sponsor may do this.
    error NotSponsor(address seen, address expected);
    /// @notice The sponsor stopped the task before.
    error AlreadyStopping(bytes32 taskId);
    /// @notice Only the account, or the payee that it named before, may name another.
    error NotRecipient(address seen, address expected);
    /// @notice Nobody has joined.
    error NoClients(bytes32 taskId);
    /// @notice Rounds are posted one after the other, from 1 to `rounds`.
    error RoundOutOfOrder(uint32 seen, uint32 expected, uint32 rounds);
    /// @notice `previous` is not the last header's hash; `expected` are its leading 27 bytes.
    error WrongPrevious(bytes32 seen, bytes27 expected);
    /// @notice The header was made for other joins and leaves than those that count in its round.
    error WrongEnrolment(bytes32 seen, bytes32 expected);
    /// @notice `cover` is not what the last post emitted.
    error WrongCover(bytes32 seen);
    /// @notice The pay that is not final yet would be more than the bond covers; wait until the rounds before are final.
    error NotCovered(uint256 pay, uint256 bond);
    /// @notice Round 1 does not start from the task's model.
    error WrongBaseModel(bytes32 seen, bytes32 expected);
    /// @notice The round was scored on other data than the task's.
    error WrongValidation(bytes32 seen, bytes32 expected);
    /// @notice The tree leaves somebody out or adds somebody.
    error WrongLeafCount(uint32 seen, uint32 expected);
    /// @notice The total is not within what the schedule allows, or is less than `leafCount` wei below it though a higher
    /// price could be paid, or it fell.
    error WrongCumulative(uint256 seen, uint256 least, uint256 most);
    /// @notice Too few evaluators signed.
    error QuorumNotReached(uint256 seen, uint256 expected);
    /// @notice A signature is not by an evaluator of the task, or is over another header.
    error NotEvaluator(address signer);
    /// @notice This header was not posted.
    error UnknownHeader(bytes32 taskId, uint32 round, bytes32 headerHash);
    /// @notice The round was proven wrong, or comes after one that was.
    error RoundVoid(uint32 round, uint32 voidFrom);
    /// @notice The round waits for a challenge of round `heldFrom`.
    error RoundHeld(uint32 round, uint32 heldFrom);
    /// @notice The round's challenge window is still running.
    error RoundNotFinal(uint32 round, uint256 finalAt);
    /// @notice The proof's index is not below the leaf count.
    error IndexOutOfRange(uint256 index, uint256 leafCount);
    /// @notice The proof has too many or too few bytes of siblings for its index and leaf count.
    error WrongProofLength(uint256 seen, uint256 expected);
    /// @notice The proof leads to another root.
    error WrongRoot(bytes32 seen, bytes32 expected);
    /// @notice The proof leads to another sum than the header's.
    error WrongSum(uint256 seen, uint256 expected);
    /// @notice Leaves and proofs come in pairs.
    error LengthMismatch(uint256 leaves, uint256 proofs);
    /// @notice The account was paid all of it before.
    error NothingToClaim(address account, uint256 cumulative, uint256 claimed);
    /// @notice Paying this would pay more than the rounds promise together.
    error PaidBeyondTotal(uint256 paid, uint256 total);
    /// @notice The claim period is over; what was left went back to the sponsor.
    error ClaimPeriodOver(bytes32 taskId);
    /// @notice The order is not good any more.
    error SignatureExpired(uint256 time, uint256 deadline);
    /// @notice The signature is not the account's over this order, or not its payee's.
    error BadSignature(address account, bytes32 digest);
    /// @notice The fee is more than there is to pay.
    error FeeAboveAmount(uint256 fee, uint256 amount);
    /// @notice The account left before.
    error AlreadyLeft(bytes32 taskId, address account, uint32 leftRound);
    /// @notice The account's stake was released or slashed before, or it never joined.
    error NothingStaked(bytes32 taskId, address account);
    /// @notice The stake still stands for rounds that can be proven wrong; the client has to leave, and the round before
    /// `leftRound` (0: it has not left) to be final.
    error StillAtStake(bytes32 taskId, address account, uint32 leftRound);
    /// @notice Too early for this.
    error TooEarly(uint256 time, uint256 earliest);
    /// @notice A halted task's end needs the header of its last valid round.
    error WrongLastRound(uint32 seen, uint32 expected);
    /// @notice Challenges are open; they have to be refuted or upheld first.
    error ChallengesOpen(bytes32 taskId, uint32 count);
    /// @notice All rounds were posted; `close` ends the task.
    error AllPosted(bytes32 taskId, uint32 rounds);
    /// @notice Rounds are missing; only silence ends the task before them, see `expire`.
    error RoundsMissing(bytes32 taskId, uint32 posted, uint32 rounds);
    /// @notice Nothing is credited to the account.
    error NothingCredited(address token, address account);
}
