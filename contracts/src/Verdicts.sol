// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "./interfaces/IDisputes.sol";
import {Ledger} from "./Ledger.sol";
import {HELD, Progress} from "./types/Progress.sol";

/// @title What a dispute does to a round and to money
/// @notice Rounds that wait, rounds that are void, and what is forfeited: the steps that proofs, challenges and requests share.
abstract contract Verdicts is IDisputes, Ledger {
    /// @dev Reverts unless the task is started or halted.
    function _requireRunning(bytes32 taskId, Task storage t) internal view {
        Status status = t.progress.status();
        if (status != Status.Started && status != Status.Halted) revert NotDisputable(taskId, status);
    }

    /// @dev The header's task, if it runs and the round counts and is not final.
    function _disputed(Header calldata header) internal view returns (Task storage t) {
        t = _tasks[header.taskId];
        _requireRunning(header.taskId, t);
        _requirePosted(t, header);
        if (header.round > t.progress.posted()) revert RoundVoid(header.round, t.clock.voidFrom);
        if (_isFinal(t, header.round)) revert RoundFinal(header.round);
    }

    /// @dev The same for what makes the round wait: one of its two windows is open. If it were enough that the round waits
    /// already, one hold could follow the other for ever.
    function _holdable(Header calldata header) internal view returns (Task storage t) {
        t = _disputed(header);
        uint256 end = t.postings[header.round].windowEnd();
        if (block.timestamp < end) return t;
        Clock memory clock = _clock(t);
        uint256 reopened = clock.reopenedFrom;
        if (reopened != 0 && reopened <= header.round && block.timestamp < clock.heldUntil) return t;
        revert TooLate(block.timestamp, end);
    }

    /// @dev The same for what the evaluators who signed the round could have seen. Their stakes hang on a round that is void
    /// already, too: else a coordinator would save them by convicting itself of something else first.
    function _seen(Header calldata header) internal view returns (Task storage t) {
        t = _tasks[header.taskId];
        uint256 round = header.round;
        if (round <= t.progress.posted() || t.evaluatorStake == 0 || t.holds[header.round].evident) {
            return _disputed(header);
        }
        _requirePosted(t, header);
    }

    /// @dev Halts a task at the last round before the header's, which was proven wrong and is not final. Its bond waits for
    /// the end, but for the bounty of the first prover.
    /// @param evident Whether the evaluators who signed the round could have seen it; of a round that is void by now nothing
    /// else counts.
    function _convict(Task storage t, Header calldata header, address prover, uint256 bounty, bool evident) internal {
        Progress p = t.progress;
        if (evident && t.evaluatorStake != 0) {
            t.holds[header.round].evident = true;
            emit SignersAtFault(header.taskId, header.round);
        }
        if (header.round > p.posted()) {
            if (evident) return;
            revert RoundVoid(header.round, t.clock.voidFrom);
        }
        if (p.status() == Status.Started) {
            t.since = uint40(block.timestamp);
            t.reached = uint24(p.posted() + 1);
            p = p.withStatus(Status.Halted);
        }
        if (t.bounty != 0) bounty = 0;
        if (bounty != 0) {
            t.bounty = uint96(bounty); // at most the bond
            _credit(_token(t), prover, bounty);
        }
        t.progress = p.withVoid(header.round);
        t.clock.voidFrom = uint24(header.round);
        t.purse = t.purse.withUnsettled();
        emit Voided(header.taskId, header.round);
        emit Halted(header.taskId, header.round, prover, msg.sig, bounty);
    }

    /// @dev The coordinator for the prover's bounty and, for what they could have seen, those who signed. A function, since six
    /// proofs end with it.
    function _convictAll(Task storage t, Header calldata header) internal {
        _convict(t, header, msg.sender, t.minStake, true);
    }

    /// @dev Half to whoever proved it, but at most `most`, and the rest burned: a prover that is the culprit itself gains
    /// nothing.
    function _forfeit(Task storage t, Hold storage hold, address prover, uint256 amount, uint256 most)
        internal
        returns (uint256 reward)
    {
        reward = amount / 2;
        if (reward > most) reward = most;
        _credit(_token(t), prover, reward);
        hold.burned += uint128(amount - reward); // bonds and stakes, each below 2^96: 2^32 of them fit
    }

    function _hold(Task storage t, uint32 round) internal {
        t.holds[round].count++;
        t.clock.holds++;
        if (t.clock.heldFrom == 0 || round < t.clock.heldFrom) t.clock.heldFrom = uint24(round);
        t.progress = t.progress.withFlag(HELD);
        t.purse = t.purse.withUnsettled();
    }

    function _unhold(Task storage t, uint32 round) internal {
        Clock memory clock = _clock(t);
        _unhold(t, t.holds[round], clock);
        _keep(t, clock);
    }

    /// @dev Moves on to the next held round; the caller stores the clock. Some one is held while `holds` is not 0, so the search
    /// ends; it stops after 64 rounds, since a round that waits for one more settlement is no harm and an endless loop
    /// would be.
    function _unhold(Task storage t, Hold storage hold, Clock memory clock) internal {
        hold.count--;
        clock.holds--;
        uint24 from = clock.heldFrom;
        if (clock.holds == 0) {
            from = 0;
        } else {
            for (uint256 i; i < 64 && t.holds[from].count == 0; i++) {
                from++;
            }
        }
        clock.heldFrom = from;
        if (block.timestamp > clock.heldUntil) clock.heldUntil = uint40(block.timestamp);
    }

    /// @dev A function, since the copy takes 300 bytes of code.
    function _keep(Task storage t, Clock memory clock) internal {
        t.clock = clock;
    }

    /// @dev Now and some response windows.
    function _later(Task storage t, uint256 windows) internal view returns (uint40) {
        return uint40(block.timestamp + windows * t.clock.responseWindow);
    }
}
