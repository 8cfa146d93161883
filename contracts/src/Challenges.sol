// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "./interfaces/IDisputes.sol";
import {BlockTree} from "./libraries/BlockTree.sol";
import {RoundTree} from "./libraries/RoundTree.sol";
import {ScoreMath} from "./libraries/ScoreMath.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {HELD, Progress} from "./types/Progress.sol";
import {Verdicts} from "./Verdicts.sol";

/// @title Challenges of a score
/// @notice From the challenger's sums to the end; see IDisputes for what each action does and requires.
abstract contract Challenges is Verdicts {
    /// @dev A challenge costs this part of the coordinator's bond.
    uint256 internal constant CHALLENGES_A_BOND = 16;

    uint64 internal constant MAX_SUMS = 4096; // 64 KB of calldata, half of what nodes take in one transaction

    /* ACTIONS */

    /// @inheritdoc IDisputes
    function challengeScore(
        Header calldata header,
        Leaf calldata leaf,
        Proof calldata proof,
        uint64 blocks,
        bytes32 top,
        bytes calldata sums
    ) external returns (bytes32 id) {
        Task storage t = _holdable(header);
        if (t.attested) revert ScoresAttested(header.taskId);
        // Check: the leaf is the round's, and the sums are complete and make another score.
        RoundTree.check(header, leaf, proof);
        Challenge memory challenge = _challenge(header, leaf, blocks, top, sums);
        // Effect.
        id = keccak256(abi.encode(challenge));
        // Settled ones count: their demands and answers are still stored under this hash.
        if (_standings[id].deadline != 0) revert ChallengeExists(id);
        uint256 bond = _challengeBond(t);
        _standings[id] =
            Standing({open: true, deadline: _later(t, 1), demands: 0, upheld: false, bond: uint128(bond)});
        _hold(t, header.round);
        emit Challenged(id, header.taskId, header.round, challenge, sums);
        // Interaction.
        _pull(_token(t), msg.sender, bond);
    }

    /// @inheritdoc IDisputes
    function refute(
        Challenge calldata challenge,
        uint64 index,
        bytes calldata update,
        bytes calldata direction,
        int128 partialSum,
        bytes32[] calldata path
    ) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp >= standing.deadline) revert TooLate(block.timestamp, standing.deadline);
        if (index >= challenge.blocks) revert NoSuchBlock(index, challenge.blocks);
        _requireIn(challenge, id, index, partialSum, path);
        BlockTree.check(challenge.updateRoot, challenge.blocks, index, update);
        BlockTree.check(challenge.directionRoot, challenge.blocks, index, direction);
        if (ScoreMath.partialSum(update, direction) == partialSum) revert SumIsRight(partialSum);
        // Effect.
        _fail(challenge.taskId, t, challenge.round, id, msg.sender);
    }

    /// @inheritdoc IDisputes
    function demand(Challenge calldata challenge, uint64 sum) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        uint256 latest = uint256(challenge.openedAt) + t.clock.responseWindow;
        if (block.timestamp >= latest) revert TooLate(block.timestamp, latest);
        uint64 span = _span(challenge.blocks);
        uint64 count = _sums(challenge.blocks, span);
        if (sum >= count) revert NoSuchBlock(sum, count);
        if (span == 1 || _demands[id][sum].demander != address(0)) revert NothingToDemand(id, sum);
        // Effect: time to answer, and then to refute.
        uint32 number = ++_demanded[id][msg.sender];
        _demands[id][sum] = Demand({demander: msg.sender, since: uint40(block.timestamp), number: number});
        standing.demands++;
        standing.deadline = _later(t, 2);
        uint256 bond = uint256(number) * t.minStake;
        emit Demanded(id, sum, msg.sender, bond);
        // Interaction.
        _pull(_token(t), msg.sender, bond);
    }

    /// @inheritdoc IDisputes
    function answer(
        Challenge calldata challenge,
        uint64 sum,
        int128 value,
        bytes32[] calldata path,
        bytes calldata partials
    ) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check: the challenger alone, since a stranger could break a right sum down into wrong parts.
        if (msg.sender != challenge.challenger) revert NotChallenger(msg.sender, challenge.challenger);
        if (_demands[id][sum].demander == address(0) || _answers[id][sum] != 0) revert NotDemanded(id, sum);
        uint64 span = _span(challenge.blocks);
        SumTree.check(challenge.sumsRoot, _sums(challenge.blocks, span), sum, value, path);
        uint256 length = uint256(_width(challenge.blocks, span, sum)) * 16;
        if (partials.length != length) revert WrongSumsLength(partials.length, length);
        (bytes32 root, int256 total) = SumTree.build(partials);
        if (total != value) revert WrongPartials(total, value);
        // Effect: the demand's bond stays until it is known who was right.
        _answers[id][sum] = root;
        standing.demands--;
        uint40 deadline = _later(t, 1);
        if (deadline > standing.deadline) standing.deadline = deadline;
        emit Answered(id, sum, partials);
    }

    /// @inheritdoc IDisputes
    function dismiss(Challenge calldata challenge, uint64 sum) external {
        bytes32 id = keccak256(abi.encode(challenge));
        Task storage t = _tasks[challenge.taskId];
        Standing storage standing = _standings[id];
        Demand memory made = _demands[id][sum];
        bool open = standing.open;
        // Check.
        if (made.demander == address(0) || (open && _answers[id][sum] != 0)) revert NotDemanded(id, sum);
        uint256 earliest = uint256(made.since) + t.clock.responseWindow;
        if (open && block.timestamp < earliest) revert TooEarly(block.timestamp, earliest);
        // Effect.
        delete _demands[id][sum];
        _credit(_token(t), standing.upheld ? challenge.challenger : made.demander, uint256(made.number) * t.minStake);
        if (open) _fail(challenge.taskId, t, challenge.round, id, made.demander);
    }

    /// @inheritdoc IDisputes
    function uphold(Challenge calldata challenge, Header calldata header) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp < standing.deadline) revert TooEarly(block.timestamp, standing.deadline);
        if (standing.demands != 0) revert DemandsOpen(id, standing.demands);
        if (header.taskId != challenge.taskId || header.round != challenge.round) {
            revert UnknownHeader(challenge.taskId, challenge.round, _headerHash(header));
        }
        _requirePosted(t, header);
        // Effect: convicted while its round is still held. If the round is void by now, the challenger gets its bond back
        // and no more.
        uint256 bond = standing.bond;
        _convict(t, header, challenge.challenger, t.minStake, true);
        (standing.open, standing.upheld) = (false, true);
        _unhold(t, header.round);
        _credit(_token(t), challenge.challenger, bond);
        emit Upheld(id);
    }

    /* VIEWS */

    /// @inheritdoc IDisputes
    function challengeBond(bytes32 taskId) external view returns (uint256) {
        return _challengeBond(_tasks[taskId]);
    }

    /// @inheritdoc IDisputes
    function standingOf(bytes32 id) external view returns (Standing memory) {
        return _standings[id];
    }

    /* INTERNAL */

    function _challengeBond(Task storage t) internal view returns (uint256) {
        uint256 part = t.bond / CHALLENGES_A_BOND;
        return part > t.minStake ? part : t.minStake;
    }

    /// @dev Reverts unless there are as many sums as the update's blocks call for and they make another score.
    function _challenge(Header calldata header, Leaf calldata leaf, uint64 blocks, bytes32 top, bytes calldata sums)
        internal
        view
        returns (Challenge memory challenge)
    {
        if (leaf.updateRoot == 0) revert NoUpdate(leaf.account);
        if (blocks == 0 || blocks > MAX_SUMS * MAX_SUMS) revert BlocksOutOfRange(blocks, MAX_SUMS * MAX_SUMS);
        bytes32 updateRoot = BlockTree.root(blocks, top);
        if (updateRoot != leaf.updateRoot) revert WrongBlockRoot(updateRoot, leaf.updateRoot);
        uint256 length = uint256(_sums(blocks, _span(blocks))) * 16;
        if (sums.length != length) revert WrongSumsLength(sums.length, length);
        (bytes32 sumsRoot, int256 raw) = SumTree.build(sums);
        if (ScoreMath.score(raw, leaf.weight) == leaf.score) revert SameScore(leaf.score);
        challenge.taskId = header.taskId;
        challenge.round = header.round;
        challenge.account = leaf.account;
        challenge.challenger = msg.sender;
        challenge.updateRoot = updateRoot;
        challenge.directionRoot = header.directionRoot;
        challenge.blocks = blocks;
        challenge.sumsRoot = sumsRoot;
        challenge.openedAt = uint40(block.timestamp);
    }

    /// @dev Reverts unless a block's partial sum is the challenger's: in its tree or, where a sum spans many blocks, in the
    /// one that it broke the sum down into.
    function _requireIn(
        Challenge calldata challenge,
        bytes32 id,
        uint64 index,
        int128 partialSum,
        bytes32[] calldata path
    ) internal view {
        uint64 blocks = challenge.blocks;
        uint64 span = _span(blocks);
        if (span == 1) return SumTree.check(challenge.sumsRoot, blocks, index, partialSum, path);
        uint64 sum = index / span;
        bytes32 root = _answers[id][sum];
        if (root == 0) revert NotAnswered(id, sum);
        SumTree.check(root, _width(blocks, span, sum), index % span, partialSum, path);
    }

    /// @dev Blocks in a sum: the smallest power of two with at most MAX_SUMS sums.
    function _span(uint64 blocks) internal pure returns (uint64 span) {
        span = 1;
        unchecked {
            while (blocks > MAX_SUMS * span) span *= 2; // a challenge has at most 2^24 blocks, so span ends at 2^12
        }
    }

    /// @dev Sums of `span` blocks each that `blocks` blocks have.
    function _sums(uint64 blocks, uint64 span) internal pure returns (uint64) {
        return (blocks + span - 1) / span;
    }

    /// @dev Blocks in one sum: the last one may have fewer.
    function _width(uint64 blocks, uint64 span, uint64 sum) internal pure returns (uint64) {
        uint64 left = blocks - sum * span;
        return left < span ? left : span;
    }

    function _open(Challenge calldata challenge)
        internal
        view
        returns (bytes32 id, Task storage t, Standing storage standing)
    {
        id = keccak256(abi.encode(challenge));
        t = _tasks[challenge.taskId];
        standing = _standings[id];
        if (!standing.open) revert NotOpen(id);
    }

    /// @dev A challenge that was wrong. That does not make the score right: whoever stood back for it has another window. What is
    /// settled stays stored, so that nobody opens it again.
    function _fail(bytes32 taskId, Task storage t, uint32 round, bytes32 id, address refuter) internal {
        Standing storage standing = _standings[id];
        uint256 bond = standing.bond;
        standing.open = false;
        Hold storage hold = t.holds[round];
        Clock memory clock = _clock(t);
        _unhold(t, hold, clock);
        emit Refuted(id, refuter, _forfeit(t, hold, refuter, bond, bond));
        Progress p = t.progress;
        if (!hold.reopened && round <= p.posted()) {
            hold.reopened = true;
            uint256 reopened = clock.reopenedFrom;
            if (reopened == 0 || block.timestamp >= clock.heldUntil || round < reopened) {
                clock.reopenedFrom = uint24(round);
            }
            clock.heldUntil = uint40(block.timestamp + clock.challengeWindow);
            t.progress = p.withFlag(HELD);
            emit Reopened(taskId, round, clock.heldUntil);
        }
        _keep(t, clock);
    }
}
