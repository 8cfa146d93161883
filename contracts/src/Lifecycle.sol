// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ILifecycle} from "./interfaces/ILifecycle.sol";
import {Evaluators} from "./Evaluators.sol";
import {CHANGED, STOPPING, Progress} from "./types/Progress.sol";
import {MOST, toPurse} from "./types/Purse.sol";

/// @title The code behind opening, steering and ending a task
/// @notice Evaluators' stakes are inherited. Runs by delegatecall from Fairshare only, on its storage; called by itself it knows
/// of no task. See ILifecycle for what each action does and requires.
contract Lifecycle is ILifecycle, Evaluators {
    uint256 internal constant MAX_ROUNDS = type(uint24).max - 2; // two more, a late joiner's, still fit their 24 bits
    uint256 internal constant LEAST_WINDOW = 10 seconds; // a block on the slowest chains
    uint256 internal constant LEAST_CLAIM_PERIOD = 1 hours;

    /* ACTIONS, in the order of a task's life */

    /// @inheritdoc ILifecycle
    function open(Terms calldata terms) external returns (bytes32 taskId) {
        taskId = keccak256(abi.encode(msg.sender, terms.salt));
        Task storage t = _tasks[taskId];
        // Check.
        if (t.progress.status() != Status.None) revert TaskExists(taskId);
        _requireRange("coordinator", uint160(terms.coordinator), 1, type(uint160).max);
        _requireRange("quorum", terms.quorum, 1, terms.evaluators.length);
        _requireRange("rounds", terms.rounds, 1, MAX_ROUNDS);
        _requireRange("challengeWindow", terms.challengeWindow, LEAST_WINDOW, type(uint32).max);
        _requireRange("responseWindow", terms.responseWindow, LEAST_WINDOW, type(uint32).max);
        _requireRange("roundTimeout", terms.roundTimeout, 2 * uint256(terms.challengeWindow), type(uint32).max);
        _requireRange("claimPeriod", terms.claimPeriod, LEAST_CLAIM_PERIOD, type(uint32).max);
        _requireRange("budget", terms.budget, 1, MOST);
        _requireRange("maxStake", terms.maxStake, 1, MOST);
        _requireRange("minStake", terms.minStake, 1, terms.maxStake);
        _requireRange("evaluatorStake", terms.evaluatorStake, 0, MOST);
        _requireRange("bond", terms.bond, terms.minStake, MOST - terms.budget);
        // Effect: every amount below fits, it was just compared with MOST.
        t.purse = toPurse(terms.token);
        t.clock.challengeWindow = terms.challengeWindow;
        t.clock.responseWindow = terms.responseWindow;
        t.roundTimeout = terms.roundTimeout;
        t.since = uint40(block.timestamp);
        t.claimPeriod = terms.claimPeriod;
        t.progress = t.progress.withStatus(Status.Open);
        t.sponsor = msg.sender;
        t.bond = uint96(terms.bond);
        t.coordinator = terms.coordinator;
        t.budget = uint96(terms.budget);
        t.minStake = uint96(terms.minStake);
        t.maxStake = uint96(terms.maxStake);
        t.evaluatorStake = uint96(terms.evaluatorStake);
        t.rounds = uint24(terms.rounds);
        t.quorum = terms.quorum;
        t.revealEachRound = terms.revealEachRound;
        t.attested = terms.attested;
        t.guarded = terms.members != 0;
        t.mayStop = terms.mayStop;
        t.mayCloseJoining = terms.mayCloseJoining;
        t.members = terms.members;
        t.specHash = terms.specHash;
        t.validationHash = terms.validationHash;
        t.baseModel = terms.baseModel;
        t.salt = terms.salt;
        t.evaluators = terms.evaluators;
        address last;
        for (uint256 i; i < terms.evaluators.length; i++) {
            address evaluator = terms.evaluators[i];
            if (evaluator <= last) revert NotAscending(last, evaluator);
            last = evaluator;
        }
        _seat(taskId, t, true);
        emit Opened(taskId, msg.sender, terms.token, terms);
        // Interaction.
        _pull(_token(t), msg.sender, terms.budget);
    }

    /// @inheritdoc ILifecycle
    function start(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        // Check.
        _requireCoordinator(t);
        Progress p = t.progress;
        p.requireStatus(taskId, Status.Open);
        uint32 clients = p.counted();
        if (clients == 0) revert NoClients(taskId);
        if (t.evaluatorStake != 0 && t.seated < t.quorum) revert EvaluatorsMissing(taskId, t.seated, t.quorum);
        // Effect: what was added to the budget counts from round 1.
        if (p.has(CHANGED)) _addToBudget(taskId, t);
        uint160 enrolment = t.enrolment;
        t.due = enrolment;
        t.progress = p.withStatus(Status.Started).withoutFlag(CHANGED).withCommitment(
            keccak256(abi.encode(bytes32(0), bytes32(bytes20(enrolment)), bytes32(0)))
        );
        t.since = uint40(block.timestamp);
        emit Started(taskId, clients);
        // Interaction.
        _pull(_token(t), msg.sender, t.bond);
    }

    /// @inheritdoc ILifecycle
    function stop(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        _requireSponsor(t);
        if (!t.mayStop) revert NotAllowed("mayStop");
        p.requireStatus(taskId, Status.Started);
        if (p.has(STOPPING)) revert AlreadyStopping(taskId);
        if (p.posted() == t.rounds) revert AllPosted(taskId, t.rounds);
        // Effect: what was added counts at once, since no later round could pay it.
        _addToBudget(taskId, t);
        uint32 last = p.posted() + 1;
        t.rounds = uint24(last);
        t.progress = p.withFlag(STOPPING);
        // A header that was signed before pays too little now: whoever has to make another has a whole timeout for it.
        t.since = uint40(block.timestamp);
        emit Stopped(taskId, last);
    }

    /// @inheritdoc ILifecycle
    function setJoining(bytes32 taskId, bool closed) external {
        Task storage t = _tasks[taskId];
        // Check.
        _requireSponsor(t);
        if (!t.mayCloseJoining) revert NotAllowed("mayCloseJoining");
        t.progress.requireLive(taskId);
        // Effect.
        t.joiningClosed = closed;
        t.guarded = closed || t.members != 0;
        emit JoiningSet(taskId, closed);
    }

    /// @inheritdoc ILifecycle
    function addBudget(bytes32 taskId, uint128 amount) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        p.requireLive(taskId);
        uint256 first = p.status() == Status.Open ? 1 : p.posted() + 2;
        if (first > t.rounds) revert EnrolmentOver(taskId, uint32(first), t.rounds);
        uint256 budget = uint256(t.budget) + t.added;
        _requireRange("budget", amount, t.minStake, MOST - budget - t.bond);
        // Effect.
        t.added += uint96(amount);
        t.progress = p.withFlag(CHANGED);
        emit BudgetAdded(taskId, msg.sender, amount, budget + amount);
        // Interaction.
        _pull(_token(t), msg.sender, amount);
    }

    /// @inheritdoc ILifecycle
    function offerCoordinator(bytes32 taskId, address next) external {
        Task storage t = _tasks[taskId];
        // Check.
        _requireCoordinator(t);
        t.progress.requireLive(taskId);
        // Effect.
        t.offered = next;
        emit CoordinatorOffered(taskId, msg.sender, next);
    }

    /// @inheritdoc ILifecycle
    function takeCoordinator(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        if (msg.sender != t.offered) revert NotCoordinator(msg.sender, t.offered);
        p.requireLive(taskId);
        // Effect: the seats of the one before are taken away, then its successor's given.
        address former = t.coordinator;
        _seat(taskId, t, false);
        // Before the start no round is under way for which it could have signed a receipt.
        if (p.status() == Status.Started) t.signedUntil[former] = p.posted() + 1;
        t.coordinator = msg.sender;
        t.offered = address(0);
        _seat(taskId, t, true);
        emit CoordinatorChanged(taskId, former, msg.sender);
    }

    /// @inheritdoc ILifecycle
    function expire(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        p.requireLive(taskId);
        if (p.posted() == t.rounds) revert AllPosted(taskId, t.rounds);
        _requireEnd(taskId, t, p);
        // Effect.
        emit Expired(taskId, p.posted());
        if (p.status() == Status.Open) _close(taskId, t, p.cumulative(), _budget(t), 0);
        else _closeUnplanned(taskId, t, p.cumulative(), p.cumulative());
    }

    /// @inheritdoc ILifecycle
    function close(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        p.requireStatus(taskId, Status.Started);
        if (p.posted() != t.rounds) revert RoundsMissing(taskId, p.posted(), t.rounds);
        _requireEnd(taskId, t, p);
        // Effect.
        _credit(_token(t), t.coordinator, t.bond);
        _close(taskId, t, p.cumulative(), _budget(t) - p.cumulative(), 0);
    }

    /// @inheritdoc ILifecycle
    function closeHalted(Header calldata last) external {
        bytes32 taskId = last.taskId;
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        p.requireStatus(taskId, Status.Halted);
        uint256 valid;
        if (p.posted() != 0) {
            if (last.round != p.posted()) revert WrongLastRound(last.round, p.posted());
            _requirePosted(t, last);
            valid = last.cumulative;
        }
        _requireEnd(taskId, t, p);
        // Effect.
        _closeUnplanned(taskId, t, valid, p.cumulative());
    }

    /// @inheritdoc ILifecycle
    function sweep(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        // Check.
        Progress p = t.progress;
        p.requireStatus(taskId, Status.Closed);
        if (t.clock.swept) revert ClaimPeriodOver(taskId);
        uint256 earliest = uint256(t.since) + t.claimPeriod;
        if (block.timestamp < earliest) revert TooEarly(block.timestamp, earliest);
        // Effect.
        uint256 rest = p.cumulative() + t.pool - t.purse.paid();
        t.clock.swept = true;
        t.purse = t.purse.withUnsettled();
        _credit(_token(t), t.sponsor, rest);
        emit Swept(taskId, rest);
    }

    /* VIEWS */

    /// @inheritdoc ILifecycle
    function task(bytes32 taskId) external view returns (Terms memory terms, State memory state) {
        Task storage t = _tasks[taskId];
        Clock memory clock = t.clock;
        terms.token = t.purse.token();
        terms.coordinator = t.coordinator;
        terms.evaluators = t.evaluators;
        terms.quorum = t.quorum;
        terms.revealEachRound = t.revealEachRound;
        terms.attested = t.attested;
        terms.mayStop = t.mayStop;
        terms.mayCloseJoining = t.mayCloseJoining;
        terms.rounds = t.rounds;
        terms.challengeWindow = clock.challengeWindow;
        terms.responseWindow = clock.responseWindow;
        terms.roundTimeout = t.roundTimeout;
        terms.claimPeriod = t.claimPeriod;
        terms.budget = t.budget;
        terms.bond = t.bond;
        terms.minStake = t.minStake;
        terms.maxStake = t.maxStake;
        terms.evaluatorStake = t.evaluatorStake;
        terms.members = t.members;
        terms.specHash = t.specHash;
        terms.validationHash = t.validationHash;
        terms.baseModel = t.baseModel;
        terms.salt = t.salt;
        Progress p = t.progress;
        Status status = p.status();
        state.sponsor = t.sponsor;
        state.status = status;
        state.swept = clock.swept;
        state.stopping = p.has(STOPPING);
        state.joiningClosed = t.joiningClosed;
        state.rounds = t.rounds;
        state.posted = p.posted();
        state.voidFrom = clock.voidFrom;
        state.heldFrom = _heldFrom(clock);
        state.clients = p.counted() + p.arriving();
        state.openChallenges = clock.holds;
        state.since = t.since;
        state.budget = t.budget;
        state.added = t.added;
        state.bond = status == Status.Started || status == Status.Halted ? t.bond - t.bounty : 0;
        state.cumulative = uint128(p.cumulative());
        state.paid = uint128(t.purse.paid());
        state.pool = t.pool;
        state.poolBase = t.poolBase;
        state.enrolment = bytes32(bytes20(t.due));
    }

    /* INTERNAL */

    function _requireRange(bytes32 term, uint256 seen, uint256 least, uint256 most) internal pure {
        if (seen < least || seen > most) revert TermOutOfRange(term, seen, least, most);
    }

    function _requireCoordinator(Task storage t) internal view {
        if (msg.sender != t.coordinator) revert NotCoordinator(msg.sender, t.coordinator);
    }

    function _requireSponsor(Task storage t) internal view {
        if (msg.sender != t.sponsor) revert NotSponsor(msg.sender, t.sponsor);
    }

    /// @dev Reverts before the task's last deadline, or while anything is challenged.
    function _requireEnd(bytes32 taskId, Task storage t, Progress p) internal view {
        uint256 deadline = _deadline(t, p);
        if (block.timestamp < deadline) revert TooEarly(block.timestamp, deadline);
        uint32 holds = t.clock.holds;
        if (holds != 0) revert ChallengesOpen(taskId, holds);
    }

    /// @dev All that the sponsor, and whoever added, escrowed.
    function _budget(Task storage t) internal view returns (uint256) {
        return uint256(t.budget) + t.added;
    }

    /// @dev The end that nobody planned. `valid` is what the valid rounds promise, `posted` what all did, void ones too.
    function _closeUnplanned(bytes32 taskId, Task storage t, uint256 valid, uint256 posted) internal {
        // Dishonest evaluators may have let more be paid from earlier trees; it comes out of the rest.
        uint256 paid = t.purse.paid();
        uint256 total = valid < paid ? paid : valid;
        uint256 rest = _budget(t) - total;
        uint256 void = posted - valid;
        // Sponsor and prover get no more than the coordinator lost, or the three together would gain by ending.
        uint256 bond = t.bond - t.bounty;
        uint256 refund = rest > void ? rest - void : 0;
        if (refund > bond) refund = bond;
        uint256 pool = rest + bond - refund;
        uint256 base = valid == 0 ? t.stakes : valid;
        // Nobody is left to share anything.
        if (base == 0) (refund, pool) = (refund + pool, 0);
        // Below 2^95: budget and bond together are.
        t.pool = uint96(pool);
        t.poolBase = uint96(base);
        t.poolByStake = valid == 0;
        if (pool != 0) (t.clock.pooled, t.purse) = (true, t.purse.withUnsettled());
        t.progress = t.progress.withTotal(total);
        _close(taskId, t, total, refund, pool);
    }

    /// @dev Freezes everything; from here the claim period runs.
    function _close(bytes32 taskId, Task storage t, uint256 total, uint256 refund, uint256 pool) internal {
        Progress p = t.progress;
        t.progress = p.withStatus(Status.Closed);
        t.since = uint40(block.timestamp);
        _credit(_token(t), t.sponsor, refund);
        emit Closed(taskId, p.posted(), total, refund, pool);
    }
}
