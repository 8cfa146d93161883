// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {MOST} from "../src/types/Purse.sol";
import {Tree} from "./world/Tree.sol";
import {Vm, vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice start and post.
contract RoundsTest is World {
    function _header() internal returns (ITask.Header memory) {
        int128[] memory scores = new int128[](3);
        scores[0] = 2 ** 40;
        scores[2] = 2 ** 41;
        return _next(scores);
    }

    /// @dev Posts what is expected to be refused, signed by `signers` evaluators.
    function _tryPost(ITask.Header memory header, uint256 signers) internal {
        ITask.Signature[] memory signatures = _signed(header, signers);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
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
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
    }

    function test_start_revertsIfNobodyJoined() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NoClients.selector, taskId));
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
    }

    function test_start_beginsTheFirstRound() public {
        _open(_terms());
        _join(0, 1 ether);
        _wait(1);
        _fund(COORDINATOR, 1000 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.Started(taskId, 1);
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
        vm.assertEq(token.balanceOf(COORDINATOR), 0);
        vm.assertEq(_state().bond, 1000 ether);
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Started));
        vm.assertEq(_state().since, clock);
    }

    function test_start_revertsUnlessTheCoordinatorBringsItsBond() public {
        _open(_terms());
        _join(0, 1 ether);
        vm.prank(COORDINATOR);
        token.approve(address(fairshare), type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, COORDINATOR, 0, 1000 ether)
        );
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
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
        fairshare.post(header, signatures, cover);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, ANYONE, COORDINATOR));
        vm.prank(ANYONE);
        fairshare.post(header, new ITask.Signature[](0), cover);
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
        fairshare.post(header, signatures, cover);
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
        fairshare.post(header, signatures, cover);
    }

    function test_post_revertsIfAStrangerSigned() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = _signed(header, 2);
        signatures[1] = _sign(0xBAD, _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, vm.addr(0xBAD)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
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
        try fairshare.post(header, signatures, cover) {
            revert("a foreign signature counted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(ITask.NotEvaluator.selector));
        }
    }

    function test_post_revertsIfASignatureIsNone() public {
        _begin();
        ITask.Header memory header = _header();
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        // Zeros stand for a contract at address 0, which approved nothing.
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, address(0)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        signatures[0].vs = bytes32(uint256(1)); // of a key, and r is no point of the curve
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignature.selector));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        signatures[0].vs = bytes32(type(uint256).max >> 1); // s in the upper half
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, bytes32(type(uint256).max >> 1)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
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
        bytes32 previous = _hash(_post());
        ITask.Header memory header = _header();
        header.previous = keccak256("another");
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongPrevious.selector, header.previous, bytes27(previous))
        );
        _tryPost(header);
        header.previous = previous ^ bytes32(uint256(1) << 40); // the last of the bits that are stored
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

    function test_post_revertsIfItWasMadeForOtherJoinsAndLeaves() public {
        _begin();
        ITask.Header memory header = _header();
        header.enrolment = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongEnrolment.selector, header.enrolment, due));
        _tryPost(header);
    }

    function test_post_revertsIfTheCoverIsNotTheLastOnes() public {
        _begin();
        ITask.Header memory header = _header();
        bytes32 right = cover;
        cover = bytes32(uint256(1));
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongCover.selector, cover));
        _tryPost(header);
        cover = right;
        _send(header);
        header = _header();
        right = cover;
        cover = 0;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongCover.selector, cover));
        _tryPost(header);
        cover = right;
        _send(header);
    }

    function test_post_revertsIfTheTotalIsBeyondTheSchedule() public {
        _begin();
        ITask.Header memory header = _header();
        uint256 allowed = uint256(1000 ether) / 3;
        header.cumulative = uint128(allowed) + 1;
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongCumulative.selector, allowed + 1, allowed - 2, allowed)
        );
        _tryPost(header);
        header.price = type(uint128).max; // no price excuses that
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongCumulative.selector, allowed + 1, 0, allowed));
        _tryPost(header);
    }

    function test_post_revertsIfAHigherPriceCouldBePaid() public {
        _begin();
        ITask.Header memory header = _header();
        uint256 allowed = uint256(1000 ether) / 3;
        header.cumulative = uint128(allowed) - 3; // three leaves: less than three wei may be left
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongCumulative.selector, allowed - 3, allowed - 2, allowed)
        );
        _tryPost(header);
        header.cumulative += 1;
        _tryPost(header);
    }

    function test_post_revertsIfTheTotalFalls() public {
        _begin();
        ITask.Header memory first = _post();
        ITask.Header memory header = _header();
        (header.cumulative, header.price) = (first.cumulative - 1, type(uint128).max);
        uint256 allowed = uint256(2000 ether) / 3;
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongCumulative.selector, first.cumulative - 1, first.cumulative, allowed)
        );
        _tryPost(header);
    }

    function test_post_takesTheHighestPriceWhereNobodyHasAPositiveTotal() public {
        _begin();
        ITask.Header memory header = _next(new int128[](3));
        vm.assertEq(header.price, type(uint128).max);
        _send(header);
        vm.assertEq(_state().cumulative, 0);
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
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().posted, 1);
    }

    function test_post_storesTheHeadersHashAndPublishesIt() public {
        _begin();
        _wait(5);
        ITask.Header memory header = _header();
        vm.assertEq(fairshare.headerDigest(header), _digest(header));
        vm.assertEq(fairshare.headerHash(header), _hash(header));
        bytes memory data = bytes.concat(
            abi.encode(header.treeRoot, header.leafCount, header.cumulative, header.baseModel, header.nextModel),
            abi.encode(header.directionRoot, header.enrolment, header.price, header.bundle),
            _nextCover(header.cumulative)
        );
        vm.recordLogs();
        _send(header);
        Vm.Log memory log = vm.getRecordedLogs()[0];
        vm.assertEq(log.topics[0], ITask.Posted.selector);
        vm.assertEq(log.topics[1], taskId);
        vm.assertEq(uint256(log.topics[2]), 1);
        vm.assertEq(log.data, data);
        (bytes27 digest, uint40 postedAt) = fairshare.roundOf(taskId, 1);
        vm.assertEq(bytes32(digest), bytes32(bytes27(_hash(header))));
        vm.assertEq(postedAt, clock);
        vm.assertEq(_state().cumulative, header.cumulative);
        vm.assertFalse(fairshare.isFinal(taskId, 1));
        _wait(1 hours);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        vm.assertFalse(fairshare.isFinal(taskId, 2));
        vm.assertFalse(fairshare.isFinal(taskId, 0));
    }

    function test_post_paysWhatWaitedOnceSomebodyHasAPositiveTotal() public {
        _begin();
        _send(_next(new int128[](3)));
        vm.assertEq(_state().cumulative, 0);
        vm.assertGe(_post().cumulative, uint256(2000 ether) / 3 - 2);
        vm.assertGe(_post().cumulative, 1000 ether - 2); // the whole budget
    }

    /* the bond covers what is not final */

    function _thin() internal {
        ITask.Terms memory terms = _terms();
        terms.bond = 400 ether; // one round's pay is a third of 1000
        _begin(terms);
    }

    function test_post_revertsWhileThePayThatIsNotFinalExceedsTheBond() public {
        _thin();
        _post();
        _wait(1 hours - 1);
        ITask.Header memory header = _header();
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCovered.selector, header.cumulative, 400 ether));
        _tryPost(header);
        _wait(1);
        _send(header);
    }

    function test_post_isAlwaysPossibleOnceAllBeforeIsFinal() public {
        ITask.Terms memory terms = _terms();
        terms.bond = 1 ether; // far less than a round pays
        _begin(terms);
        for (uint256 i; i < 3; i++) {
            _postFinal();
        }
        vm.assertEq(_state().posted, 3);
    }

    function test_post_countsNothingAsFinalWhileARoundIsHeld() public {
        _thin();
        ITask.Header memory first = _post();
        address account = _client(0);
        _fund(account, 1 ether);
        vm.prank(account);
        court.requestLeaf(first, account);
        _wait(2 hours);
        ITask.Header memory header = _header();
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCovered.selector, header.cumulative, 400 ether));
        _tryPost(header);
        ITask.Leaf memory leaf = earlier[0];
        court.showLeaf(first, leaf, Tree.prove(earlier, 0));
        _send(header);
    }

    /* stop */

    function test_stop_makesTheRoundUnderWayTheLastAndItPaysTheWholeBudget() public {
        _begin();
        _postFinal();
        vm.expectEmit(address(fairshare));
        emit ITask.Stopped(taskId, 2);
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        vm.assertTrue(_state().stopping);
        vm.assertEq(_state().rounds, 2);
        ITask.Header memory header = _postFinal();
        vm.assertGe(header.cumulative, 1000 ether - 2);
        header.round = 3;
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 3, 3, 2));
        _tryPost(header);
        fairshare.close(taskId);
        vm.assertLe(_credit(SPONSOR), 2); // stopping saves nothing
        vm.assertEq(_credit(COORDINATOR), 1000 ether);
    }

    /// @dev Else a sponsor stops in front of a post in the last second, which is refused then, and has its budget back for
    /// the coordinator's bond.
    function test_stop_givesTheCoordinatorAWholeTimeoutForAnotherHeader() public {
        _begin();
        _wait(1 days - 1);
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        vm.assertEq(_state().since, clock);
        _wait(1 days - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        fairshare.expire(taskId);
        _postFinal();
        fairshare.close(taskId);
        vm.assertEq(_credit(COORDINATOR), 1000 ether);
    }

    function test_stop_isTheSponsorsAloneOnceAndWhereTheTermsAllowIt() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(ITask.NotSponsor.selector, COORDINATOR, SPONSOR));
        vm.prank(COORDINATOR);
        fairshare.stop(taskId);
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        vm.expectRevert(abi.encodeWithSelector(ITask.AlreadyStopping.selector, taskId));
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        ITask.Terms memory terms = _terms();
        (terms.mayStop, terms.salt) = (false, keccak256("never"));
        _begin(terms);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAllowed.selector, bytes32("mayStop")));
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
    }

    function test_stop_revertsBeforeTheStartAndAfterTheLastRound() public {
        _open(_terms());
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, ITask.Status.Open, ITask.Status.Started)
        );
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        for (uint256 i; i < 3; i++) {
            _join(i, 1 ether);
        }
        _start();
        _post();
        _post();
        _post();
        vm.expectRevert(abi.encodeWithSelector(ITask.AllPosted.selector, taskId, 3));
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
    }

    /* addBudget */

    function _add(uint128 amount) internal {
        _fund(ANYONE, amount);
        vm.prank(ANYONE);
        fairshare.addBudget(taskId, amount);
    }

    function test_addBudget_countsFromTheRoundAfterTheOneUnderWay() public {
        _begin();
        ITask.Header memory header = _header(); // made before somebody adds
        _fund(ANYONE, 300 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.BudgetAdded(taskId, ANYONE, 300 ether, 1300 ether);
        vm.prank(ANYONE);
        fairshare.addBudget(taskId, 300 ether);
        vm.assertEq(_state().added, 300 ether);
        vm.assertEq(_state().budget, 1000 ether);
        _send(header);
        vm.assertEq(_state().added, 0);
        vm.assertEq(_state().budget, 1300 ether);
        _wait(1 hours);
        vm.assertGe(_post().cumulative, uint256(2600 ether) / 3 - 2);
        _wait(1 hours);
        vm.assertGe(_post().cumulative, 1300 ether - 2);
    }

    function test_addBudget_beforeTheStartCountsFromRound1() public {
        _open(_terms());
        _add(200 ether);
        for (uint256 i; i < 3; i++) {
            _join(i, 1 ether);
        }
        _start();
        vm.assertGe(_post().cumulative, 400 ether - 2);
    }

    function test_stop_paysWhatWasAddedToo() public {
        _begin();
        _add(200 ether);
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        vm.assertGe(_postFinal().cumulative, 1200 ether - 2);
        fairshare.close(taskId);
        vm.assertLe(_credit(SPONSOR), 2);
    }

    function test_addBudget_revertsBelowAMinStakeAndWhereNoRoundIsLeft() public {
        _begin();
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.TermOutOfRange.selector, bytes32("budget"), 1, 1 ether, MOST - 2000 ether
            )
        );
        fairshare.addBudget(taskId, 1);
        _post();
        _post();
        vm.expectRevert(abi.encodeWithSelector(ITask.EnrolmentOver.selector, taskId, 4, 3));
        fairshare.addBudget(taskId, 1 ether);
    }

    /* another coordinator */

    function test_takeCoordinator_takesTheRoundsAndTheBondFromWhoOfferedThem() public {
        _begin();
        address next = vm.addr(0xC0D);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, next, address(0)));
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, ANYONE, COORDINATOR));
        vm.prank(ANYONE);
        fairshare.offerCoordinator(taskId, next);
        vm.expectEmit(address(fairshare));
        emit ITask.CoordinatorOffered(taskId, COORDINATOR, next);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        _send(_header()); // until it is taken, nothing has changed
        vm.expectEmit(address(fairshare));
        emit ITask.CoordinatorChanged(taskId, COORDINATOR, next);
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
        ITask.Header memory header = _header();
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, COORDINATOR, next));
        _tryPost(header);
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.prank(next);
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().posted, 2);
    }
}
