// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice start and post.
contract RoundsTest is World {
    function _header() internal returns (ITask.Header memory) {
        int128[] memory scores = new int128[](3);
        scores[0] = 1;
        scores[2] = 2;
        return _next(scores);
    }

    /// @dev Posts what is expected to be refused, signed by `signers` evaluators.
    function _tryPost(ITask.Header memory header, uint256 signers) internal {
        ITask.Signature[] memory signatures = _signed(header, signers);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
    }

    function _tryPost(ITask.Header memory header) internal {
        _tryPost(header, 2);
    }

    /* start */

    function test_start_revertsIfTheCallerIsNotTheCoordinator() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, ANYONE, COORDINATOR));
        vm.prank(ANYONE);
        fairshare.start(taskId);
    }

    function test_start_revertsIfTheTaskHasStarted() public {
        _begin();
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.WrongStatus.selector, taskId, ITask.Status.Started, ITask.Status.Open
            )
        );
        _start();
    }

    function test_start_revertsIfNobodyJoined() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NoClients.selector, taskId));
        _start();
    }

    function test_start_beginsTheFirstRound() public {
        _open(_terms());
        _join(0, 1 ether);
        _wait(1);
        vm.expectEmit(address(fairshare));
        emit ITask.Started(taskId, 1);
        _start();
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Started));
        vm.assertEq(_state().since, clock);
    }

    /* post */

    function test_post_revertsIfTheTaskHasNotStarted() public {
        _open(_terms());
        _join(0, 1 ether);
        ITask.Header memory header = _next(new int128[](1));
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.WrongStatus.selector, taskId, ITask.Status.Open, ITask.Status.Started
            )
        );
        _tryPost(header);
    }

    function test_post_revertsIfTheCallerIsNotTheCoordinator() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, ANYONE, COORDINATOR));
        vm.prank(ANYONE);
        fairshare.post(header, signatures);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, ANYONE, COORDINATOR));
        vm.prank(ANYONE);
        fairshare.post(header, new ITask.Signature[](0));
    }

    function test_post_revertsIfTooFewEvaluatorsSigned() public {
        _begin();
        ITask.Header memory header = _header();
        vm.expectRevert(abi.encodeWithSelector(ITask.QuorumNotReached.selector, 1, 2));
        _tryPost(header, 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.QuorumNotReached.selector, 0, 2));
        _tryPost(header, 0);
    }

    function test_post_revertsIfOneEvaluatorSignedTwice() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        signatures[1] = signatures[0];
        address signer = vm.addr(evaluatorKeys[0]);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, signer, signer));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
    }

    function test_post_revertsIfSignersAreNotAscending() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        (signatures[0], signatures[1]) = (signatures[1], signatures[0]);
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.NotAscending.selector, vm.addr(evaluatorKeys[1]), vm.addr(evaluatorKeys[0])
            )
        );
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
    }

    function test_post_revertsIfAStrangerSigned() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        signatures[1] = _sign(0xBAD, _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, vm.addr(0xBAD)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
    }

    function test_post_revertsIfASignatureIsOverAnotherContractsHeader() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        bytes32 ours = domain;
        domain = keccak256("the domain of another contract or chain");
        ITask.Signature memory foreign = _sign(evaluatorKeys[1], _digest(header));
        bytes32 foreignDigest = _digest(header);
        domain = ours;
        vm.assertNotEq(foreignDigest, _digest(header));
        signatures[1] = foreign;
        vm.prank(COORDINATOR);
        try fairshare.post(header, signatures) {
            revert("a foreign signature counted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(ITask.NotEvaluator.selector));
        }
    }

    function test_post_revertsIfASignatureIsNone() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignature.selector));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
    }

    function test_post_revertsIfTheRoundIsNotTheNext() public {
        _begin();
        ITask.Header memory header = _header();
        header.round = 2;
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 2, 1, 3));
        _tryPost(header);
        header.round = 1;
        _send(header);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 1, 2, 3));
        _tryPost(header);
    }

    function test_post_revertsBeyondTheLastRound() public {
        _begin();
        _post();
        _post();
        ITask.Header memory header = _post();
        header.round = 4;
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 4, 4, 3));
        _tryPost(header);
    }

    function test_post_revertsIfTheFirstRoundHasAPrevious() public {
        _begin();
        ITask.Header memory header = _header();
        header.previous = bytes32(uint256(1)); // outside the bits that are stored
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongPrevious.selector, header.previous, bytes27(0)));
        _tryPost(header);
    }

    function test_post_revertsIfThePreviousHeaderIsAnother() public {
        _begin();
        bytes32 previous = _digest(_post());
        ITask.Header memory header = _header();
        header.previous = keccak256("another");
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongPrevious.selector, header.previous, bytes27(previous))
        );
        _tryPost(header);
        header.previous = previous ^ bytes32(uint256(1) << 176); // the last of the 80 bits that are compared
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongPrevious.selector, header.previous, bytes27(previous))
        );
        _tryPost(header);
    }

    function test_post_revertsIfTheFirstRoundStartsFromAnotherModel() public {
        _begin();
        ITask.Header memory header = _header();
        header.baseModel = keccak256("another");
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongBaseModel.selector, header.baseModel, keccak256("model 0"))
        );
        _tryPost(header);
    }

    function test_post_revertsIfTheValidationSetIsAnother() public {
        _begin();
        ITask.Header memory header = _header();
        header.validation = keccak256("another");
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongValidation.selector, header.validation, keccak256("validation"))
        );
        _tryPost(header);
    }

    function test_post_revertsIfTheTreeLeavesSomebodyOut() public {
        _begin();
        ITask.Header memory header = _header();
        header.leafCount = 2;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongLeafCount.selector, 2, 3));
        _tryPost(header);
        header.leafCount = 4;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongLeafCount.selector, 4, 3));
        _tryPost(header);
    }

    function test_post_revertsIfThePotIsNotAnEqualPart() public {
        _begin();
        ITask.Header memory header = _header();
        uint256 pot = uint256(1000 ether) / 3;
        header.pot += 1;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongPot.selector, pot + 1, pot));
        _tryPost(header);
    }

    function test_post_revertsIfTheTotalDoesNotGrowByThePot() public {
        _begin();
        ITask.Header memory header = _header();
        uint256 pot = uint256(1000 ether) / 3;
        header.cumulative += 1;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongCumulative.selector, pot + 1, pot));
        _tryPost(header);
    }

    function test_post_revertsIfTheTotalGrowsThoughNobodyIsEntitled() public {
        _begin();
        ITask.Header memory header = _next(new int128[](3));
        header.cumulative = header.pot;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongCumulative.selector, header.pot, 0));
        _tryPost(header);
    }

    function test_post_acceptsMoreSignaturesThanTheQuorum() public {
        _begin();
        _tryPost(_header(), 3);
        vm.assertEq(_state().posted, 1);
    }

    function test_post_acceptsAnyQuorumOfEvaluators() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        signatures[0] = _sign(evaluatorKeys[0], _digest(header));
        signatures[1] = _sign(evaluatorKeys[2], _digest(header));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
        vm.assertEq(_state().posted, 1);
    }

    function test_post_storesTheHeadersHashAndPublishesIt() public {
        _begin();
        _wait(5);
        ITask.Header memory header = _header();
        vm.assertEq(fairshare.headerDigest(header), _digest(header));
        vm.expectEmit(address(fairshare));
        emit ITask.Posted(taskId, 1, _digest(header), header);
        _send(header);
        (bytes27 digest, uint40 postedAt) = fairshare.roundOf(taskId, 1);
        vm.assertEq(bytes32(digest), bytes32(bytes27(_digest(header))));
        vm.assertEq(postedAt, clock);
        vm.assertEq(_state().cumulative, uint256(1000 ether) / 3);
        vm.assertFalse(fairshare.isFinal(taskId, 1));
        _wait(1 hours);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        vm.assertFalse(fairshare.isFinal(taskId, 2));
        vm.assertFalse(fairshare.isFinal(taskId, 0));
    }

    function test_post_spreadsAnUnpaidPotOverTheRoundsThatAreLeft() public {
        _begin();
        _send(_next(new int128[](3)));
        vm.assertEq(_state().cumulative, 0);
        vm.assertEq(_post().pot, 500 ether);
        vm.assertEq(_post().cumulative, 1000 ether); // the whole budget, to the wei
    }
}
