// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice join, leave and release.
contract EnrolTest is World {
    function _expectStatus(ITask.Status seen, ITask.Status expected) internal {
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, seen, expected));
    }

    function _tryJoin(uint256 client, uint128 stake) internal {
        vm.prank(_client(client));
        fairshare.join(taskId, stake, "", 0, new bytes32[](0));
    }

    function _tryLeave(uint256 client) internal {
        vm.prank(_client(client));
        fairshare.leave(taskId);
    }

    /* join */

    function test_join_revertsIfThereIsNoTask() public {
        _expectStatus(ITask.Status.None, ITask.Status.Started);
        _tryJoin(0, 1 ether);
    }

    function test_join_revertsIfTheTaskIsClosed() public {
        _open(_terms());
        _wait(1 days);
        fairshare.expire(taskId);
        _expectStatus(ITask.Status.Closed, ITask.Status.Started);
        _tryJoin(0, 1 ether);
    }

    function test_join_revertsIfTheAccountJoinedBefore() public {
        _open(_terms());
        _join(0, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ITask.AlreadyJoined.selector, taskId, _client(0)));
        _tryJoin(0, 1 ether);
    }

    function test_join_revertsIfTheStakeIsOutOfRange() public {
        _open(_terms());
        vm.expectRevert(
            abi.encodeWithSelector(ITask.StakeOutOfRange.selector, 1 ether - 1, 1 ether, 10 ether)
        );
        _tryJoin(0, 1 ether - 1);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.StakeOutOfRange.selector, 10 ether + 1, 1 ether, 10 ether)
        );
        _tryJoin(0, 10 ether + 1);
    }

    function test_join_takesTheLeastAndTheMostStake() public {
        _open(_terms());
        _join(0, 1 ether);
        _join(1, 10 ether);
        vm.assertEq(fairshare.clientCount(taskId), 2);
    }

    function test_join_revertsIfNoRoundIsLeftToCountIn() public {
        ITask.Terms memory terms = _terms();
        terms.rounds = 1;
        _open(terms);
        _join(0, 1 ether);
        _start();
        vm.expectRevert(abi.encodeWithSelector(ITask.EnrolmentOver.selector, taskId, 2, 1));
        _tryJoin(1, 1 ether);
    }

    function test_join_revertsOnceTheTaskCouldBeExpired() public {
        _open(_terms());
        _wait(1 days - 1);
        _join(0, 1 ether);
        _wait(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, clock, clock));
        _tryJoin(1, 1 ether);
        _start(); // late, but nobody ended it: the time to post begins
        _join(1, 1 ether);
        _wait(1 days);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, clock, clock));
        _tryJoin(2, 1 ether);
    }

    /// @dev Else whoever brings that much of a token stops every post, and shares the bond of a coordinator that seems silent.
    function test_join_takesNoMoreAfterTheStartThanAPostCanCount() public {
        ITask.Terms memory terms = _terms();
        terms.maxStake = 2 ** 95 - 1;
        _open(terms);
        _join(0, terms.maxStake);
        _join(1, terms.maxStake - 1 ether);
        _start();
        address late = _client(2);
        _fund(late, 2 ether);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.StakeOutOfRange.selector, 1 ether + 2, 1 ether, 1 ether + 1)
        );
        vm.prank(late);
        fairshare.join(taskId, 1 ether + 2, "", 0, new bytes32[](0));
        _join(2, 1 ether + 1);
        clients.pop(); // it has no leaf yet
        _post();
        clients.push(late);
        _post();
        vm.assertEq(_state().posted, 2);
    }

    function test_join_countsThoseWhoArriveInALaterRoundToo() public {
        _open(_terms());
        _join(0, 1 ether);
        _start();
        _join(1, 1 ether);
        _join(2, 1 ether);
        (, ITask.State memory state) = fairshare.task(taskId);
        vm.assertEq(state.clients, 3);
        vm.assertEq(fairshare.clientCount(taskId), 3);
    }

    function test_join_bindsStakeNodeKeyAndDataset() public {
        _open(_terms());
        _fund(_client(0), 2 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.Joined(taskId, _client(0), 1, 2 ether, "key", keccak256("data"));
        vm.prank(_client(0));
        fairshare.join(taskId, 2 ether, "key", keccak256("data"), new bytes32[](0));
        ITask.Client memory client = fairshare.clientOf(taskId, _client(0));
        vm.assertEq(client.stake, 2 ether);
        vm.assertEq(client.claimed, 0);
        vm.assertEq(client.firstRound, 1);
        vm.assertEq(client.leftRound, 0);
        vm.assertEq(client.recipient, address(0));
        vm.assertEq(token.balanceOf(address(fairshare)), 1002 ether);
        vm.assertEq(fairshare.clientCount(taskId), 1);
    }

    function test_join_afterTheStartCountsTwoRoundsAfterTheLastPostedOne() public {
        _open(_terms());
        _join(0, 1 ether);
        _start();
        vm.assertEq(_join(1, 1 ether), 2); // round 1 is under way
        int128[] memory scores = new int128[](1);
        scores[0] = 5;
        _send(_next(scores)); // and its tree is complete without the newcomer
        vm.assertEq(_join(2, 1 ether), 3);
        _send(_next(new int128[](2)));
        _send(_next(new int128[](3)));
        vm.assertEq(_state().clients, 3);
    }

    /// @dev The root over two accounts, and the second's sibling.
    function _group(address a, address b) internal pure returns (bytes32 root, bytes32 sibling) {
        (bytes32 x, bytes32 y) = (keccak256(abi.encode(keccak256(abi.encode(a)))), keccak256(abi.encode(keccak256(abi.encode(b)))));
        return (x < y ? keccak256(abi.encode(x, y)) : keccak256(abi.encode(y, x)), x);
    }

    function test_join_takesOnlyThoseUnderTheTermsRoot() public {
        ITask.Terms memory terms = _terms();
        bytes32[] memory membership = new bytes32[](1);
        (terms.members, membership[0]) = _group(_client(0), _client(1));
        _open(terms);
        address stranger = _client(2);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotMember.selector, taskId, stranger));
        vm.prank(stranger);
        fairshare.join(taskId, 1 ether, "", 0, membership);
        _fund(_client(1), 1 ether);
        vm.prank(_client(1));
        fairshare.join(taskId, 1 ether, "", 0, membership);
        vm.assertEq(fairshare.clientCount(taskId), 1);
    }

    function test_join_isClosedAndOpenedByTheSponsorWhereTheTermsAllowIt() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NotSponsor.selector, ANYONE, SPONSOR));
        vm.prank(ANYONE);
        fairshare.setJoining(taskId, true);
        vm.expectEmit(address(fairshare));
        emit ITask.JoiningSet(taskId, true);
        vm.prank(SPONSOR);
        fairshare.setJoining(taskId, true);
        vm.expectRevert(abi.encodeWithSelector(ITask.JoiningClosed.selector, taskId));
        _tryJoin(0, 1 ether);
        vm.prank(SPONSOR);
        fairshare.setJoining(taskId, false);
        _join(0, 1 ether);
        ITask.Terms memory terms = _terms();
        (terms.mayCloseJoining, terms.salt) = (false, keccak256("open to all"));
        _open(terms);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAllowed.selector, bytes32("mayCloseJoining")));
        vm.prank(SPONSOR);
        fairshare.setJoining(taskId, true);
    }

    /* the enrolment that headers commit to */

    function test_enrolment_isOfAllJoinsAndLeavesUpToTheLastPost() public {
        _open(_terms());
        _join(0, 1 ether);
        _join(1, 2 ether);
        _leave(0);
        vm.assertEq(_state().enrolment, 0); // nothing is under way
        _start();
        vm.assertEq(_state().enrolment, enrolment);
        bytes32 before = enrolment;
        _join(2, 1 ether);
        _leave(1);
        vm.assertNotEq(enrolment, before);
        vm.assertEq(_state().enrolment, before);
        clients[0] = clients[1];
        _send(_next(new int128[](1)));
        vm.assertEq(_state().enrolment, enrolment);
        _send(_next(new int128[](2)));
        vm.assertEq(_state().enrolment, enrolment);
    }

    function test_aTreeThatWasMadeBeforeAReorganisedLeave_isRefusedAndNotConvictable() public {
        // The tree of round 2 was made while nobody had left; then the leave lands before round 1's post after all.
        _begin();
        bytes32 without = enrolment;
        _leave(0);
        _post();
        ITask.Header memory header = _next(new int128[](3));
        header.enrolment = without;
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongEnrolment.selector, without, enrolment));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
    }

    /* leave */

    function test_leave_revertsIfTheTaskIsNotLive() public {
        _expectStatus(ITask.Status.None, ITask.Status.Started);
        _tryLeave(0);
    }

    function test_leave_revertsIfTheAccountNeverJoined() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NotJoined.selector, taskId, _client(0)));
        _tryLeave(0);
    }

    function test_leave_revertsIfTheAccountLeftBefore() public {
        _begin();
        _leave(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.AlreadyLeft.selector, taskId, _client(0), 2));
        _tryLeave(0);
    }

    function test_leave_beforeTheStartLeavesNoTrace() public {
        _open(_terms());
        _join(0, 1 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.Released(taskId, _client(0), 1 ether, 0);
        vm.expectEmit(address(fairshare));
        emit ITask.Left(taskId, _client(0), 1);
        vm.assertEq(_leave(0), 1);
        vm.assertEq(_credit(_client(0)), 1 ether);
        vm.assertEq(fairshare.clientCount(taskId), 0);
        vm.assertEq(fairshare.clientOf(taskId, _client(0)).firstRound, 0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotJoined.selector, taskId, _client(0)));
        _tryLeave(0);
        _join(0, 2 ether); // and may come back
        vm.assertEq(fairshare.clientOf(taskId, _client(0)).stake, 2 ether);
    }

    function test_aStake_buysOneNameAtATime() public {
        // After the start it stays until a round that the name had a place in is final.
        _begin();
        clients.push(address(type(uint160).max));
        _join(3, 1 ether);
        vm.assertEq(_leave(3), 2);
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _client(3), 2));
        fairshare.release(taskId, _client(3));
    }

    function test_leave_afterTheStartLeavesTheRoundUnderWay() public {
        _begin();
        vm.assertEq(_leave(0), 2);
        _post();
        vm.assertEq(_leave(1), 3);
    }

    /* release */

    function test_release_revertsIfNothingIsStaked() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingStaked.selector, taskId, ANYONE));
        fairshare.release(taskId, ANYONE);
    }

    function test_release_revertsIfTheStakeWasReleasedBefore() public {
        _begin();
        _leave(0);
        _postFinal();
        fairshare.release(taskId, _client(0));
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingStaked.selector, taskId, _client(0)));
        fairshare.release(taskId, _client(0));
    }

    function test_releaseRange_paysNeighboursAndSkipsThoseWithNothingStaked() public {
        _begin();
        _leave(0);
        _leave(2);
        _postFinal();
        address[] memory three = new address[](3);
        (three[0], three[1], three[2]) = (_client(0), ANYONE, _client(2));
        vm.assertEq(fairshare.releaseRange(taskId, three), 2 ether);
        vm.assertEq(token.balanceOf(_client(0)), 1 ether);
        vm.assertEq(fairshare.releaseRange(taskId, three), 0);
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _client(1), 0));
        fairshare.releaseRange(taskId, clients);
    }

    function test_release_revertsIfTheClientIsStillInTheTask() public {
        _begin();
        _postFinal();
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _client(0), 0));
        fairshare.release(taskId, _client(0));
    }

    function test_release_revertsUntilTheClientsLastRoundIsFinal() public {
        _begin();
        _leave(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _client(0), 2));
        fairshare.release(taskId, _client(0));
        _post();
        _wait(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _client(0), 2));
        fairshare.release(taskId, _client(0));
        _wait(1);
        vm.expectEmit(address(fairshare));
        emit ITask.Released(taskId, _client(0), 1 ether, 0);
        fairshare.release(taskId, _client(0));
        vm.assertEq(_credit(_client(0)), 1 ether);
    }

    function test_release_needsNoLeavingOnceTheTaskIsClosed() public {
        _begin();
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.release(taskId, _client(0));
        vm.assertEq(_credit(_client(0)), 1 ether + uint256(1000 ether) / 3);
    }
}
