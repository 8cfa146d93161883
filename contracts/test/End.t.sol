// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
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

    /// @dev Releases every stake and withdraws every credit; nothing may be left in the contract.
    function _drain() internal {
        for (uint256 i; i < clients.length; i++) {
            if (fairshare.clientOf(taskId, _client(i)).stake != 0) fairshare.release(taskId, _client(i));
            if (_credit(_client(i)) != 0) fairshare.withdrawFor(address(token), _client(i));
        }
        if (_credit(SPONSOR) != 0) fairshare.withdrawFor(address(token), SPONSOR);
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

    function test_expire_revertsUntilTheLastPostIsFinal() public {
        ITask.Terms memory terms = _terms();
        terms.roundTimeout = 1;
        _begin(terms);
        _post();
        _wait(1 hours - 1);
        _expectTooEarly(clock + 1);
        fairshare.expire(taskId);
    }

    function test_expire_givesTheBondToTheSponsorIfNobodyJoined() public {
        _open(_terms());
        _wait(1 days);
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 0, 0);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 1100 ether);
        _drain();
    }

    function test_expire_sharesTheBondEquallyAndTheDustGoesToTheSponsor() public {
        _begin();
        ITask.Header memory header = _post();
        _wait(1 days);
        uint256 share = uint256(100 ether) / 3;
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 1, share);
        vm.expectEmit(address(fairshare));
        emit ITask.Closed(taskId, 1, header.cumulative, 1000 ether - header.cumulative + 1);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 1000 ether - header.cumulative + 1); // one wei of dust
        for (uint256 i; i < 3; i++) {
            fairshare.claim(header, leaves[i], _proof(i)); // what was earned stays claimable
            fairshare.release(taskId, _client(i));
            vm.assertEq(_credit(_client(i)), 1 ether + share);
        }
        _drain();
    }

    function test_expire_givesTheBondToTheSponsorIfTheTaskNeverStarted() public {
        // Or else a coordinator joins under many names, never starts, and shares the bond.
        _open(_terms());
        _join(0, 1 ether);
        _wait(1 days);
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 0, 0);
        fairshare.expire(taskId);
        vm.assertEq(_credit(SPONSOR), 1100 ether);
        _drain();
    }

    function test_expire_givesNothingToWhoJoinedTooLateForTheRoundUnderWay() public {
        _begin();
        _post();
        _wait(1 days - 1);
        clients.push(address(type(uint160).max));
        clients.push(address(type(uint160).max - 1));
        _join(3, 1 ether);
        _join(4, 1 ether);
        vm.prank(_client(4));
        fairshare.leave(taskId);
        _wait(1);
        uint256 share = uint256(100 ether) / 3;
        vm.expectEmit(address(fairshare));
        emit ITask.Expired(taskId, 1, share);
        fairshare.expire(taskId);
        vm.expectEmit(address(fairshare));
        emit ITask.Released(taskId, _client(3), 1 ether, 0);
        fairshare.release(taskId, _client(3));
        for (uint256 i; i < 3; i++) {
            fairshare.claim(headers[0], leaves[i], _proof(i));
            fairshare.release(taskId, _client(i));
            vm.assertEq(_credit(_client(i)), 1 ether + share);
        }
        _drain();
    }

    function test_expire_countsWhoArrivedOnceARoundWasPosted() public {
        _begin();
        clients.push(address(type(uint160).max));
        _join(3, 1 ether);
        _send(_next(new int128[](3)));
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.release(taskId, _client(3));
        vm.assertEq(_credit(_client(3)), 26 ether);
        _drain();
    }

    function test_expire_givesNothingToWhoseStakeWasReleased() public {
        _open(_terms());
        _join(0, 1 ether);
        _join(1, 1 ether);
        vm.prank(_client(0));
        fairshare.leave(taskId);
        fairshare.release(taskId, _client(0));
        _start();
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.release(taskId, _client(1));
        vm.assertEq(_credit(_client(0)), 1 ether);
        vm.assertEq(_credit(_client(1)), 101 ether);
        _drain();
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

    function test_close_refundsTheBondAndWhatWasNotPromised() public {
        _begin();
        _post();
        _post();
        _send(_next(_losses()));
        _wait(1 hours);
        uint256 total = _state().cumulative;
        vm.expectEmit(address(fairshare));
        emit ITask.Closed(taskId, 3, total, 1100 ether - total);
        fairshare.close(taskId);
        vm.assertEq(_credit(SPONSOR), 1100 ether - total);
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Closed));
        vm.assertEq(_state().since, clock);
        for (uint256 i; i < 3; i++) {
            fairshare.claim(headers[2], leaves[i], _proof(i));
        }
        _drain();
    }

    function _losses() internal pure returns (int128[] memory scores) {
        scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (-1, -2, -3);
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
        fairshare.claim(header, leaves[0], _proof(0));
        _wait(1 days);
        fairshare.expire(taskId);
        _wait(30 days);
        uint256 rest = header.cumulative - leaves[0].cumulative;
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
        emit ITask.Withdrawn(address(token), SPONSOR, 1100 ether);
        vm.prank(SPONSOR);
        vm.assertEq(fairshare.withdraw(address(token)), 1100 ether);
        vm.assertEq(token.balanceOf(SPONSOR), 1100 ether);
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
        vm.assertEq(token.balanceOf(SPONSOR), 1100 ether);
        vm.assertEq(token.balanceOf(ANYONE), 0);
    }
}
