// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice expire, close, sweep and withdraw: every end of a task drains to zero.
contract EndTest is World {
    function _expectStatus(ITask.Status seen, ITask.Status expected) internal {
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, seen, expected));
    }

    function _expectTooEarly(uint256 earliest) internal {
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, earliest));
    }

    /// @dev Claims for everybody, releases every stake and withdraws every credit; nothing may be left in the contract.
    function _drain(ITask.Header memory last, ITask.Leaf[] memory lastLeaves) internal {
        if (lastLeaves.length != 0) fairshare.claimRange(payroll(last), 0, lastLeaves, "");
        _drain();
    }

    function _drain() internal {
        fairshare.releaseRange(taskId, clients);
        if (!_state().swept) {
            _wait(30 days);
            fairshare.sweep(taskId);
        }
        if (_credit(SPONSOR) != 0) fairshare.withdrawFor(address(token), SPONSOR);
        if (_credit(COORDINATOR) != 0) fairshare.withdrawFor(address(token), COORDINATOR);
        vm.assertEq(token.balanceOf(address(fairshare)), 0);
    }

    /* expire */

    function test_expire_revertsIfThereIsNoTaskOrItIsClosed() public {
        _expectStatus(ITask.Status.None, ITask.Status.Started);
        fairshare.expire(taskId);
        _open(_terms());
        _wait(1 days);
        fairshare.expire(taskId);
        _expectStatus(ITask.Status.Closed, ITask.Status.Started);
        fairshare.expire(taskId);
    }

    function test_expire_revertsIfAllRoundsWerePosted() public {
        _begin();
        _post();
        _post();
        _post();
        _wait(10 days);
        vm.expectRevert(abi.encodeWithSelector(ITask.AllPosted.selector, taskId, 3));
        fairshare.expire(taskId);
    }

    function test_expire_revertsBeforeTheTimeoutOfEachPhase() public {
        _open(_terms());
        _join(0, 1 ether);
        _wait(1 days - 1);
        _expectTooEarly(clock + 1);
        fairshare.expire(taskId);
        _start(); // counts anew
        _wait(1 days - 1);
        _expectTooEarly(clock + 1);
        fairshare.expire(taskId);
        int128[] memory scores = new int128[](1);
        _send(_next(scores)); // and again
        _wait(1 days - 1);
        _expectTooEarly(clock + 1);
        fairshare.expire(taskId);
        _wait(1);
        fairshare.expire(taskId);
    }

    function test_expire_revertsUntilTheShortestTimeoutIsOver() public {
        ITask.Terms memory terms = _terms();
        terms.roundTimeout = 2 hours;
        _begin(terms);
        _post();
        _wait(2 hours - 1);
        _expectTooEarly(clock + 1);
        fairshare.expire(taskId);
    }

    function test_expire_givesEverythingToTheSponsorIfTheTaskNeverStarted() public {
        // There is no bond yet, and everybody was free to leave.
        _open(_terms());
        _join(0, 1 ether);
        _fund(ANYONE, 5 ether);
        vm.prank(ANYONE);
        fairshare.addBudget(taskId, 5 ether);
        _wait(1 days);
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 0);
        vm.expectEmit(address(fairshare));
        emit ITask.Closed(taskId, 0, 0, 1005 ether, 0);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 1005 ether);
        _drain();
    }

    function _small() internal {
        ITask.Terms memory terms = _terms();
        terms.bond = 100 ether;
        _begin(terms);
    }

    function test_silence_givesTheSponsorTheBondAndTheClientsTheRest() public {
        _small();
        ITask.Header memory header = _post();
        _wait(1 hours);
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        _wait(1 days);
        uint256 rest = 1000 ether - header.cumulative;
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 1);
        vm.expectEmit(address(fairshare));
        emit ITask.Closed(taskId, 1, header.cumulative, 100 ether, rest);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 100 ether); // as much as the coordinator lost
        vm.assertEq(_state().pool, rest);
        vm.assertEq(_state().poolBase, header.cumulative);
        vm.assertEq(_state().bond, 0);
        for (uint256 i; i < 3; i++) {
            uint256 cumulative = leaves[i].cumulative;
            fairshare.claim(payroll(header), leaves[i], _proof(i));
            vm.assertEq(token.balanceOf(_client(i)), cumulative + rest * cumulative / header.cumulative);
            fairshare.release(taskId, _client(i));
            vm.assertEq(_credit(_client(i)), 1 ether);
            fairshare.withdrawFor(address(token), _client(i));
        }
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.NothingToClaim.selector, _client(0), leaves[0].cumulative, token.balanceOf(_client(0)) - 1 ether
            )
        );
        fairshare.claim(payroll(header), leaves[0], proof);
        _drain();
    }

    function test_silence_paysTheWholeBondOutIfLessIsLeftThanThat() public {
        _begin(); // the bond is the budget
        ITask.Header memory header = _postFinal();
        uint256 rest = 1000 ether - header.cumulative;
        _wait(1 days);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), rest);
        vm.assertEq(_state().pool, 1000 ether); // the bond; the sponsor has the rest
        _drain(header, leaves);
    }

    function test_silence_paysNothingFromThePoolUnderAnEarlierRound() public {
        _small();
        ITask.Header memory first = _postFinal();
        ITask.Leaf[] memory early = leaves;
        _postFinal();
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.claim(payroll(first), early[0], Tree.prove(early, 0));
        vm.assertEq(token.balanceOf(_client(0)), early[0].cumulative);
    }

    function test_silence_sharesByStakeIfNobodyEarnedAnything() public {
        _open(_terms());
        _join(0, 1 ether);
        _join(1, 3 ether);
        _start();
        clients.push(address(type(uint160).max));
        _join(3, 10 ether); // no place in the round under way
        _wait(1 days);
        fairshare.expire(taskId);
        // rest 1000, bond 1000: the sponsor has 1000 back, and the bond is shared.
        vm.assertEq(_credit(SPONSOR), 1000 ether);
        vm.assertEq(_state().poolBase, 4 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.Released(taskId, _client(0), 1 ether, 250 ether);
        fairshare.release(taskId, _client(0));
        fairshare.releaseRange(taskId, clients);
        vm.assertEq(_credit(_client(0)), 251 ether);
        vm.assertEq(token.balanceOf(_client(1)), 753 ether);
        vm.assertEq(token.balanceOf(_client(3)), 10 ether);
        fairshare.withdrawFor(address(token), _client(0));
        _drain();
    }

    function test_silence_countsWhoArrivedOnceARoundWasPosted() public {
        _begin();
        clients.push(address(type(uint160).max));
        _join(3, 1 ether);
        _send(_next(new int128[](3)));
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseRange(taskId, clients);
        vm.assertEq(token.balanceOf(_client(3)), 251 ether);
        _drain();
    }

    function test_silence_givesAllToTheSponsorIfNobodyIsLeft() public {
        _begin();
        for (uint256 i; i < 3; i++) {
            _leave(i);
        }
        _send(_next(new int128[](3)));
        _wait(1 hours);
        fairshare.releaseRange(taskId, clients);
        _wait(1 days);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 2000 ether);
        _drain();
    }

    function test_aPoolByStake_isGoneAfterTheSweepAndTheStakeIsNot() public {
        _begin();
        _wait(1 days);
        fairshare.expire(taskId);
        _wait(30 days);
        fairshare.sweep(taskId);
        vm.assertEq(_credit(SPONSOR), 2000 ether);
        fairshare.releaseRange(taskId, clients);
        vm.assertEq(token.balanceOf(_client(0)), 1 ether);
        _drain();
    }

    /* the audit's findings 1 to 3: convicting oneself */

    function _selfConvict(ITask.Header memory header) internal {
        bytes32 typehash = keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");
        bytes32 invented = keccak256("bytes that nobody can show");
        bytes32 digest = _typed(keccak256(abi.encode(typehash, taskId, header.round, _client(0), invented)));
        ITask.Signature memory receipt = _sign(COORDINATOR_KEY, digest);
        ITask.Proof memory proof = _proof(0);
        vm.prank(ANYONE); // an accomplice
        court.proveOmission(header, leaves[0], proof, invented, receipt);
    }

    function test_aHiredCoordinator_thatConvictsItselfLosesItsOwnBondAndItsAccompliceGetsNothing() public {
        _small();
        _selfConvict(_post());
        _wait(1 hours);
        fairshare.closeHalted(headers[0]);
        vm.assertEq(_credit(ANYONE), 0);
        vm.assertEq(_credit(COORDINATOR), 0);
    }

    function test_aSponsorThatIsTheCoordinator_takesNothingBackByConvictingItselfOfTheLastRounds() public {
        // Round 1 is final; rounds 2 and 3, the rest of the budget, are not, and it voids both.
        _begin();
        _postFinal();
        ITask.Header memory first = headers[0];
        ITask.Leaf[] memory early = leaves;
        ITask.Header memory second = _post();
        ITask.Leaf[] memory middle = leaves;
        _post();
        delete leaves;
        for (uint256 i; i < 3; i++) {
            leaves.push(middle[i]);
        }
        _selfConvict(second);
        _wait(1 hours);
        fairshare.closeHalted(first);
        vm.assertLe(_credit(SPONSOR), 2); // of 1000 of the bond that it lost, and of what it voided
        _drain(first, early);
        uint256 total;
        for (uint256 i; i < 3; i++) {
            total += token.balanceOf(_client(i));
        }
        vm.assertGe(total, 2003 ether - 5); // budget, bond and stakes
    }

    function test_convictingOneself_isNoCheaperThanSilence() public {
        _small();
        ITask.Header memory header = _postFinal();
        ITask.Leaf[] memory early = leaves;
        uint256 silent = _sponsorAndCoordinator(header, early, false);
        delete headers;
        delete leaves;
        ITask.Terms memory terms = _terms();
        (terms.bond, terms.salt) = (100 ether, keccak256("again"));
        _begin(terms);
        header = _postFinal();
        early = leaves;
        vm.assertLe(_sponsorAndCoordinator(header, early, true), silent);
    }

    /// @dev What both have back together after round 1, by silence or by convicting itself of round 2.
    function _sponsorAndCoordinator(ITask.Header memory first, ITask.Leaf[] memory early, bool convict)
        internal
        returns (uint256)
    {
        uint256 before = _credit(SPONSOR) + _credit(COORDINATOR) + _credit(ANYONE);
        if (convict) {
            _selfConvict(_post());
            _wait(1 hours);
            fairshare.closeHalted(first);
        } else {
            _wait(1 days);
            fairshare.expire(taskId);
        }
        early;
        return _credit(SPONSOR) + _credit(COORDINATOR) + _credit(ANYONE) - before;
    }

    /* close */

    function test_close_revertsIfTheTaskHasNotStarted() public {
        _open(_terms());
        _expectStatus(ITask.Status.Open, ITask.Status.Started);
        fairshare.close(taskId);
    }

    function test_close_revertsIfRoundsAreMissing() public {
        _begin();
        _post();
        _wait(10 days);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundsMissing.selector, taskId, 1, 3));
        fairshare.close(taskId);
    }

    function test_close_revertsUntilTheLastRoundIsFinal() public {
        _begin();
        _post();
        _post();
        _post();
        _wait(1 hours - 1);
        _expectTooEarly(clock + 1);
        fairshare.close(taskId);
    }

    function test_close_givesTheCoordinatorItsBondAndTheSponsorWhatNobodyEarned() public {
        _begin();
        _send(_next(_losses()));
        _send(_next(_losses()));
        _send(_next(_losses()));
        _wait(1 hours);
        vm.expectEmit(address(fairshare));
        emit ITask.Closed(taskId, 3, 0, 1000 ether, 0);
        fairshare.close(taskId);
        vm.assertEq(_credit(SPONSOR), 1000 ether);
        vm.assertEq(_credit(COORDINATOR), 1000 ether);
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Closed));
        vm.assertEq(_state().since, clock);
        _drain(headers[2], leaves);
    }

    function _losses() internal pure returns (int128[] memory scores) {
        scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (-1, -2, -3);
    }

    function test_close_leavesAllThatWasEarnedToTheClients() public {
        _begin();
        _post();
        _post();
        ITask.Header memory last = _postFinal();
        fairshare.close(taskId);
        vm.assertLe(_credit(SPONSOR), 2);
        _drain(last, leaves);
    }

    /* closeHalted */

    function test_closeHalted_wantsTheHeaderOfTheLastValidRound() public {
        _begin();
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        _selfConvict(second);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, ITask.Status.Halted, ITask.Status.Started)
        );
        fairshare.close(taskId);
        _expectTooEarly(clock + 1 hours); // round 1 can still be proven wrong
        fairshare.closeHalted(first);
        _wait(1 hours);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongLastRound.selector, 2, 1));
        fairshare.closeHalted(second);
        first.cumulative += 1;
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(first)));
        fairshare.closeHalted(first);
        first.cumulative -= 1;
        fairshare.closeHalted(first);
        _expectStatus(ITask.Status.Closed, ITask.Status.Halted);
        fairshare.closeHalted(first);
    }

    /* sweep */

    function test_sweep_revertsIfTheTaskIsNotClosed() public {
        _begin();
        _expectStatus(ITask.Status.Started, ITask.Status.Closed);
        fairshare.sweep(taskId);
    }

    function test_sweep_revertsBeforeTheClaimPeriodIsOver() public {
        _begin();
        _post();
        _wait(1 days);
        fairshare.expire(taskId);
        _wait(30 days - 1);
        _expectTooEarly(clock + 1);
        fairshare.sweep(taskId);
    }

    function test_sweep_revertsIfTheTaskWasSweptBefore() public {
        _begin();
        _wait(1 days);
        fairshare.expire(taskId);
        _wait(30 days);
        fairshare.sweep(taskId);
        vm.expectRevert(abi.encodeWithSelector(ITask.ClaimPeriodOver.selector, taskId));
        fairshare.sweep(taskId);
    }

    function test_sweep_creditsTheSponsorWithWhatNobodyClaimed() public {
        _begin();
        ITask.Header memory header = _postFinal();
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        _wait(1 days);
        fairshare.expire(taskId);
        _wait(30 days);
        uint256 rest = header.cumulative + _state().pool - leaves[0].cumulative;
        uint256 credit = _credit(SPONSOR);
        vm.expectEmit(address(fairshare));
        emit ITask.Swept(taskId, rest);
        fairshare.sweep(taskId);
        vm.assertEq(_credit(SPONSOR) - credit, rest);
        vm.assertTrue(_state().swept);
        _drain(); // stakes can be released after the sweep too
    }

    /* withdraw */

    function test_withdraw_revertsIfNothingIsCredited() public {
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingCredited.selector, address(token), ANYONE));
        vm.prank(ANYONE);
        fairshare.withdraw(address(token));
    }

    function test_withdraw_paysTheCallerOnce() public {
        _open(_terms());
        _wait(1 days);
        fairshare.expire(taskId);
        vm.expectEmit(address(fairshare));
        emit ITask.Withdrawn(address(token), SPONSOR, 1000 ether);
        vm.prank(SPONSOR);
        vm.assertEq(fairshare.withdraw(address(token)), 1000 ether);
        vm.assertEq(token.balanceOf(SPONSOR), 1000 ether);
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingCredited.selector, address(token), SPONSOR));
        vm.prank(SPONSOR);
        fairshare.withdraw(address(token));
    }

    function test_withdrawFor_paysTheAccountWhoeverCalls() public {
        _open(_terms());
        _wait(1 days);
        fairshare.expire(taskId);
        vm.prank(ANYONE);
        fairshare.withdrawFor(address(token), SPONSOR);
        vm.assertEq(token.balanceOf(SPONSOR), 1000 ether);
        vm.assertEq(token.balanceOf(ANYONE), 0);
    }
}
