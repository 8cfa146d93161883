// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice Every fraud that one transaction proves, committed by coordinator and evaluators together; and every attempt
/// to prove one that was not committed.
contract ProofsTest is World {
    address internal constant BURNED = address(0xdEaD);

    function setUp() public override {
        super.setUp();
        _begin();
    }

    /* HELPERS */

    function _scores(int128 a, int128 b, int128 c) internal pure returns (int128[] memory scores) {
        scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (a, b, c);
    }

    /// @dev A round that takes `stolen` from one client and gives it to another.
    function _theft(uint128 stolen) internal returns (ITask.Header memory header) {
        header = _next(_scores(100, 200, 300));
        leaves[0].cumulative += stolen;
        leaves[2].cumulative -= stolen;
        _reseal(header);
        _send(header);
    }

    function _prove(uint256 client) internal {
        ITask.Header memory header = headers[headers.length - 1];
        ITask.Header memory before = headers[headers.length > 1 ? headers.length - 2 : 0];
        ITask.Leaf memory leafBefore;
        ITask.Proof memory proofBefore;
        if (earlier.length > client) {
            leafBefore = earlier[client];
            proofBefore = Tree.prove(earlier, client);
        }
        ITask.Proof memory proof = _proof(client);
        vm.prank(ANYONE);
        court.proveTransition(before, leafBefore, proofBefore, header, leaves[client], proof);
    }

    function _assertStands(uint32 posted, uint256 bounty) internal view {
        ITask.State memory state = _state();
        vm.assertEq(uint256(state.status), uint256(ITask.Status.Halted));
        vm.assertEq(state.posted, posted);
        vm.assertEq(state.voidFrom, posted + 1);
        vm.assertEq(_credit(ANYONE), bounty);
        vm.assertEq(state.bond, 1000 ether - bounty);
        for (uint32 round = 1; round < 4; round++) {
            vm.assertEq(court.burnedIn(taskId, round), 0);
        }
    }

    /// @dev The task halted at `posted` rounds with this total, the prover has its bounty, and the rest is shared as agreed.
    function _assertHalted(uint32 posted, uint256 total, uint256 bounty) internal {
        _assertStands(posted, bounty);
        uint256 void = _state().cumulative - total;
        _wait(1 hours);
        fairshare.closeHalted(headers[posted == 0 ? 0 : posted - 1]);
        ITask.State memory state = _state();
        vm.assertEq(uint256(state.status), uint256(ITask.Status.Closed));
        vm.assertEq(state.cumulative, total);
        uint256 refund = 1000 ether - total - void;
        if (refund > 1000 ether - bounty) refund = 1000 ether - bounty; // with the bounty at most the bond
        vm.assertEq(_credit(SPONSOR), refund);
        vm.assertEq(state.pool, 1000 ether - bounty + 1000 ether - total - refund);
        vm.assertEq(state.poolBase, total == 0 ? 3 ether : total);
    }

    function _assertHalted(uint32 posted, uint256 total) internal {
        _assertHalted(posted, total, 1 ether);
    }

    function _expectNoFraud() internal {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoFraud.selector));
    }

    /* what a conviction does */

    function test_conviction_voidsTheRoundAndHalts() public {
        _post();
        _theft(1);
        _wait(1 minutes);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Voided(taskId, 2);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Halted(taskId, 2, ANYONE, IDisputes.proveTransition.selector, 1 ether);
        _prove(0);
        _assertStands(1, 1 ether);
        vm.assertEq(_state().since, clock);
        vm.assertFalse(fairshare.isFinal(taskId, 2));
    }

    function test_conviction_leavesEarlierPayoutsClaimableAndDrainsToZero() public {
        ITask.Header memory first = _post();
        ITask.Leaf[] memory early = leaves;
        ITask.Header memory second = _theft(1);
        _prove(2);
        _wait(1 hours);
        fairshare.claim(payroll(first), early[0], Tree.prove(early, 0)); // the others wait for the end
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 2, 2));
        fairshare.claim(payroll(second), leaves[0], proof);
        fairshare.closeHalted(first);
        uint256 refund = 1000 ether - second.cumulative; // what the void round had promised stays here
        vm.assertEq(_credit(SPONSOR), refund);
        uint256 pool = _state().pool;
        vm.assertEq(pool, 1000 ether - 1 ether + 1000 ether - first.cumulative - refund);
        for (uint256 i; i < 3; i++) {
            fairshare.claim(payroll(first), early[i], Tree.prove(early, i));
            uint256 share = pool * early[i].cumulative / first.cumulative;
            vm.assertEq(token.balanceOf(_client(i)), early[i].cumulative + share);
            fairshare.release(taskId, _client(i));
            fairshare.withdrawFor(address(token), _client(i));
        }
        _wait(30 days);
        fairshare.sweep(taskId); // what rounding left of the pool
        vm.assertLe(_credit(SPONSOR), refund + 2);
        fairshare.withdrawFor(address(token), SPONSOR);
        fairshare.withdrawFor(address(token), ANYONE);
        vm.assertEq(token.balanceOf(address(fairshare)), 0);
    }

    function test_aFinalRound_canBeProvenWrongNoMore() public {
        _theft(5);
        _wait(1 hours);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.RoundFinal.selector, 1));
        _prove(0);
    }

    function test_conviction_stopsPosting() public {
        _theft(1);
        _prove(0);
        ITask.Header memory header = _next(_scores(1, 1, 1));
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, ITask.Status.Halted, ITask.Status.Started)
        );
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
    }

    function test_conviction_ofAnEarlierPendingRoundVoidsMoreButPaysNoSecondBounty() public {
        ITask.Header memory first = _theft(1);
        ITask.Leaf[] memory firstLeaves = leaves;
        ITask.Header memory second = _next(_scores(1, 1, 1));
        leaves[0].cumulative += 7;
        leaves[1].cumulative -= 7;
        _reseal(second);
        _send(second);
        _prove(0);
        _assertStands(1, 1 ether);
        ITask.Proof memory proof = Tree.prove(firstLeaves, 0);
        ITask.Leaf memory none;
        ITask.Proof memory noProof;
        vm.prank(ANYONE);
        court.proveTransition(first, none, noProof, first, firstLeaves[0], proof);
        _assertHalted(0, 0);
    }

    function test_conviction_keepsWhatDishonestTreesLetBePaid() public {
        // Round 1's evaluators sign a tree that gives all to client 0, round 2's one that gives all to client 1.
        ITask.Header memory first = _next(_scores(2 ** 40, 0, 0));
        _send(first);
        ITask.Leaf[] memory firstLeaves = leaves;
        ITask.Header memory second = _next(_scores(0, 2 ** 40, 0));
        leaves[1].cumulative += leaves[0].cumulative;
        leaves[0].cumulative = 0;
        _reseal(second);
        _send(second);
        ITask.Leaf[] memory secondLeaves = leaves;
        _wait(1 hours);
        fairshare.claim(payroll(second), secondLeaves[1], Tree.prove(secondLeaves, 1));
        // Round 3 is pending and raises the total, so that round 1's tree can be claimed from as well.
        ITask.Header memory third = _next(_scores(2 ** 40, 2 ** 40, 2 ** 40));
        third.baseModel = keccak256("another");
        _send(third);
        fairshare.claim(payroll(first), firstLeaves[0], Tree.prove(firstLeaves, 0));
        uint256 paid = _state().paid;
        vm.assertEq(paid, first.cumulative + second.cumulative);
        vm.prank(ANYONE);
        court.proveBrokenChain(second, third);
        fairshare.closeHalted(second);
        vm.assertEq(_state().cumulative, paid); // not second.cumulative: what is gone is gone, and comes out of the rest
        vm.assertEq(_credit(SPONSOR), 0);
        vm.assertEq(_state().pool, 999 ether + 1000 ether - paid);
        _wait(30 days);
        fairshare.sweep(taskId);
        vm.assertEq(_credit(SPONSOR), 1999 ether - paid);
    }

    function test_disputes_revertIfTheTaskIsNotStartedOrHalted() public {
        ITask.Header memory header = _post();
        _wait(1 days);
        fairshare.expire(taskId);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDisputable.selector, taskId, ITask.Status.Closed));
        court.proveBrokenChain(header, header);
    }

    function test_disputes_revertIfTheHeaderWasNotPosted() public {
        ITask.Header memory header = _post();
        header.bundle = 0;
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(header)));
        court.proveBrokenChain(header, header);
    }

    function test_disputes_revertIfTheRoundIsVoid() public {
        _post();
        _theft(1);
        _prove(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 2, 2));
        _prove(2);
    }

    function test_disputes_knowNoTaskWhenCalledBesideTheContract() public {
        ITask.Header memory header = _post();
        IDisputes beside = IDisputes(fairshare.disputes());
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDisputable.selector, taskId, ITask.Status.None));
        beside.proveBrokenChain(header, header);
    }

    function test_fallback_refusesWhatDisputesDoesNotKnow() public {
        (bool done,) = address(fairshare).call(hex"12345678");
        vm.assertFalse(done);
        (done,) = address(fairshare).call("");
        vm.assertFalse(done);
    }

    function test_burn_revertsIfNothingWasBurned() public {
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingCredited.selector, address(token), BURNED));
        court.burn(taskId, 1);
        address client = _client(0);
        court.proveEquivocation(taskId, 1, client, _update(client, "one", taskId), _update(client, "two", taskId));
        vm.assertEq(court.burnedIn(taskId, 1), 0.5 ether);
        vm.assertEq(court.burn(taskId, 1), 0.5 ether);
        vm.assertEq(court.burnedIn(taskId, 1), 0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingCredited.selector, address(token), BURNED));
        court.burn(taskId, 1);
    }

    /// @dev The call is refused because a leaf in it does not open.
    function _assertUnopened(bytes memory call) internal {
        (bool done, bytes memory reason) = address(fairshare).call(call);
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(ITask.WrongRoot.selector));
    }

    function test_disputes_revertIfALeafIsNotInItsTree() public {
        ITask.Header memory header = _post();
        ITask.Leaf memory a = leaves[0];
        a.weight += 1;
        ITask.Leaf memory none;
        ITask.Proof memory noProof;
        ITask.Proof memory proof = _proof(0);
        _assertUnopened(abi.encodeCall(court.proveTransition, (header, none, noProof, header, a, proof)));
        ITask.Signature memory receipt = _receipt(COORDINATOR_KEY, _client(0), keccak256("sent"));
        _assertUnopened(abi.encodeCall(court.proveOmission, (header, a, proof, keccak256("sent"), receipt)));
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 1);
        some[0] = a;
        _assertUnopened(abi.encodeCall(court.proveMissing, (header, _client(1), some, proofs)));
    }

    function test_disputes_revertIfOneOfTwoLeavesIsNotInItsTree() public {
        ITask.Header memory header = _post();
        for (uint256 i; i < 2; i++) {
            (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 2);
            some[i].weight += 1;
            _assertUnopened(abi.encodeCall(court.proveMissing, (header, _client(1), some, proofs)));
            _assertUnopened(abi.encodeCall(court.proveDisorder, (header, some[0], proofs[0], some[1], proofs[1])));
        }
    }

    function test_disputes_revertIfTheLeafBeforeIsNotInItsTree() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        ITask.Leaf memory before = earlier[0];
        before.weight += 1;
        ITask.Proof memory proofBefore = Tree.prove(earlier, 0);
        ITask.Proof memory proof = _proof(0);
        _assertUnopened(
            abi.encodeCall(court.proveTransition, (first, before, proofBefore, second, leaves[0], proof))
        );
    }

    function test_disputes_revertIfTheEarlierHeaderWasNotPosted() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        bytes32 model = first.nextModel;
        first.nextModel = keccak256("never posted");
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(first)));
        court.proveBrokenChain(first, second);
        first.nextModel = model;
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotConsecutive.selector, 2, 2));
        court.proveBrokenChain(second, second);
        ITask.Header memory third = _post();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotConsecutive.selector, 1, 3));
        court.proveBrokenChain(first, third);
    }

    /* proveTransition */

    function test_proveTransition_revertsForEveryHonestLeaf() public {
        _send(_next(_scores(-5, 7, 0)));
        for (uint256 i; i < 3; i++) {
            _expectNoFraud();
            _prove(i);
        }
        _send(_next(_scores(3, 7, 11)));
        for (uint256 i; i < 3; i++) {
            _expectNoFraud();
            _prove(i);
        }
        _send(_next(_scores(-3, -7, -1))); // nobody earns more
        for (uint256 i; i < 3; i++) {
            _expectNoFraud();
            _prove(i);
        }
    }

    function test_proveTransition_convictsAWrongTotal() public {
        _send(_next(_scores(-5, 7, 1)));
        ITask.Header memory header = _next(_scores(9, 7, 1));
        leaves[0].total = 9; // forgets that 5 were lost
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsALossThatShrankThoughThePayIsRight() public {
        ITask.Header memory header = _next(_scores(-5, 7, 1));
        leaves[0].total = -1; // nobody is paid for a loss, so no sum tells it
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(0, 0);
    }

    function test_proveTransition_convictsATotalOfTheFirstRound() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        leaves[1].total = 2;
        _reseal(header);
        _send(header);
        _prove(1);
        _assertHalted(0, 0);
    }

    function test_proveTransition_convictsAWrongCumulative() public {
        _post();
        _theft(1); // to the wei
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsACumulativeThatFell() public {
        _post();
        ITask.Header memory header = _next(_scores(0, 1, 1));
        leaves[0].cumulative -= 1;
        leaves[1].cumulative += 1;
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsTheSmallestWeiTooMuchOrTooLittle() public {
        _send(_next(_scores(-1, -1, -1)));
        ITask.Header memory header = _next(_scores(3, 2, 2)); // totals 2, 1, 1
        leaves[0].cumulative += 1;
        leaves[1].cumulative -= 1;
        _reseal(header);
        _send(header);
        _prove(1);
        _assertHalted(1, 0);
    }

    function test_proveTransition_multipliesTheLargestPriceByTheLargestTotal() public {
        // 2^128 - 1 times 2^127 - 1: below 2^255, and far beyond any budget; so whatever the leaf says is too little.
        ITask.Header memory header = _next(_scores(type(int128).max, 0, 0));
        header.price = type(uint128).max;
        _send(header);
        _prove(0);
        _assertHalted(0, 0);
    }

    function test_proveTransition_convictsATotalThatWrapped() public {
        ITask.Header memory header = _next(_scores(0, 2 ** 40, 2 ** 40));
        (leaves[0].score, leaves[0].total) = (type(int128).max, type(int128).max);
        header.price = type(uint128).max; // or the chain would want more to be paid
        _reseal(header);
        _send(header);
        header = _next(_scores(0, 2 ** 40, 2 ** 40));
        (leaves[0].score, leaves[0].total, leaves[0].cumulative) = (1, type(int128).min, earlier[0].cumulative);
        header.price = type(uint128).max;
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsPayForALoss() public {
        _post();
        ITask.Header memory header = _next(_scores(-1, -1, -1));
        leaves[0].cumulative += 1;
        leaves[1].cumulative -= 1;
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsAScoreWithoutAnUpdate() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        leaves[0].updateRoot = 0;
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(0, 0);
    }

    function test_proveTransition_convictsAWeightWithoutAnUpdate() public {
        ITask.Header memory header = _next(_scores(0, 1, 1));
        leaves[0].updateRoot = 0;
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(0, 0);
    }

    function test_proveTransition_convictsAScoreWithoutAWeightOrAnUpdate() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        (leaves[0].updateRoot, leaves[0].weight) = (0, 0);
        _reseal(header);
        _send(header);
        _prove(0);
        _assertHalted(0, 0);
    }

    function test_proveTransition_acceptsALeafWithoutAnUpdateThatHasNone() public {
        ITask.Header memory header = _next(_scores(0, 1, 1));
        (leaves[0].updateRoot, leaves[0].weight) = (0, 0);
        _reseal(header);
        _send(header);
        _expectNoFraud();
        _prove(0);
    }

    function test_proveTransition_convictsTheWeightOfAClientThatLeft() public {
        _leave(0); // counts in round 1, not in round 2
        _post();
        _expectNoFraud();
        _prove(0);
        _post();
        _prove(0);
        _assertHalted(1, headers[0].cumulative);
    }

    function test_proveTransition_convictsTheLeafOfAStranger() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        leaves[2].account = address(type(uint160).max);
        _reseal(header);
        _send(header);
        _prove(2);
        _assertHalted(0, 0);
    }

    function test_proveTransition_needsNoLeafBeforeAClientsFirstRound() public {
        address last = address(type(uint160).max);
        clients.push(last);
        _join(3, 1 ether); // its first round is 2
        _send(_next(_scores(1, 1, 1)));
        int128[] memory scores = new int128[](4);
        (scores[0], scores[3]) = (1, 4);
        _send(_next(scores));
        _expectNoFraud();
        _prove(3);
    }

    function test_proveTransition_revertsIfTheHeaderBeforeIsNotEarlier() public {
        _post();
        ITask.Header memory second = _post();
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotConsecutive.selector, 2, 2));
        court.proveTransition(second, leaves[0], proof, second, leaves[0], proof);
    }

    /// @dev Round 1, in which clients 0 and 1 earn half each, a round that opens to nobody, and one that gives client 1
    /// all that was paid since, and `stolen` more, which client 0 had earned.
    function _blind(uint128 stolen) internal returns (ITask.Leaf[] memory early) {
        ITask.Header memory first = _next(_scores(1, 1, 0));
        _send(first);
        early = leaves;
        ITask.Header memory second = _next(_scores(1, 1, 0));
        second.treeRoot = keccak256("opens to nobody");
        _send(second);
        ITask.Header memory third = _next(_scores(0, 1, 0));
        leaves[0].cumulative = early[0].cumulative - stolen;
        leaves[1].cumulative = early[1].cumulative + third.cumulative - first.cumulative + stolen;
        leaves[2].cumulative = early[2].cumulative;
        _reseal(third);
        _send(third);
    }

    function _proveAcross(ITask.Leaf[] memory early, uint256 client) internal {
        ITask.Proof memory proofBefore = Tree.prove(early, client);
        ITask.Proof memory proof = _proof(client);
        vm.prank(ANYONE);
        court.proveTransition(headers[0], early[client], proofBefore, headers[2], leaves[client], proof);
    }

    function test_proveTransition_convictsACumulativeThatFellAcrossARoundThatOpensToNobody() public {
        ITask.Leaf[] memory early = _blind(1);
        _expectNoFraud();
        _proveAcross(early, 2);
        _proveAcross(early, 0);
        _assertHalted(2, headers[1].cumulative);
        vm.assertEq(_state().voidFrom, 3);
    }

    function test_proveTransition_ofAVoidRoundConvictsNobodyAgainWhereItsEvaluatorsCouldNotKnow() public {
        ITask.Leaf[] memory early = _blind(1);
        _proveAcross(early, 0);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 3, 3));
        _proveAcross(early, 1);
    }

    function test_proveTransition_convictsACumulativeThatGrewByMoreThanAllEarnedMeanwhile() public {
        ITask.Leaf[] memory early = _blind(1);
        _proveAcross(early, 1);
        _assertHalted(2, headers[1].cumulative);
    }

    function test_proveTransition_acceptsWhatMayHaveBeenEarnedInARoundThatOpensToNobody() public {
        ITask.Leaf[] memory early = _blind(0);
        for (uint256 i; i < 3; i++) {
            _expectNoFraud();
            _proveAcross(early, i);
        }
    }

    function test_proveTransition_revertsIfTheEarlierHeaderIsAnotherTasks() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        ITask.Proof memory proof = _proof(0);
        first.taskId = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(first)));
        court.proveTransition(first, leaves[0], proof, second, leaves[0], proof);
    }

    function test_proveTransition_revertsIfTheLeavesAreOfTwoAccounts() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        ITask.Proof memory before = Tree.prove(earlier, 1);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.DifferentAccounts.selector, _client(1), _client(0))
        );
        court.proveTransition(first, earlier[1], before, second, leaves[0], proof);
    }

    function testFuzz_proveTransition_findsNoFraudInHonestRounds(int56[3] memory a, int56[3] memory b) public {
        _send(_next(_scores(a[0], a[1], a[2])));
        _send(_next(_scores(b[0], b[1], b[2])));
        for (uint256 i; i < 3; i++) {
            _expectNoFraud();
            _prove(i);
        }
    }

    /* proveBrokenChain */

    function test_proveBrokenChain_revertsIfTheHeaderFollows() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _post();
        _expectNoFraud();
        court.proveBrokenChain(first, second);
    }

    function test_proveBrokenChain_convictsAnotherBaseModel() public {
        ITask.Header memory first = _post();
        ITask.Header memory second = _next(_scores(1, 1, 1));
        second.baseModel = keccak256("another");
        _send(second);
        vm.prank(ANYONE);
        court.proveBrokenChain(first, second);
        _assertHalted(1, first.cumulative);
    }

    /* proveOmission */

    function _receipt(uint256 key, address client, bytes32 updateRoot) internal view returns (ITask.Signature memory) {
        bytes32 typehash = keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");
        return _sign(key, _typed(keccak256(abi.encode(typehash, taskId, uint32(1), client, updateRoot))));
    }

    function test_proveOmission_convictsAReceiptThatIsNotInTheLeaf() public {
        ITask.Header memory header = _post();
        bytes32 sent = keccak256("what the client sent");
        ITask.Signature memory receipt = _receipt(COORDINATOR_KEY, _client(0), sent);
        ITask.Proof memory proof = _proof(0);
        vm.prank(ANYONE);
        court.proveOmission(header, leaves[0], proof, sent, receipt);
        _assertHalted(0, 0, 0); // no bounty: only the coordinator could make the evidence
    }

    function test_proveOmission_takesTheReceiptsOfWhoWasCoordinatorUpToTheRoundUnderWay() public {
        address next = vm.addr(0xC0D);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
        bytes32 sent = keccak256("what the client sent");
        ITask.Header memory header = _next(_scores(1, 1, 1));
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.prank(next);
        fairshare.post(header, signatures, cover);
        headers.push(header);
        ITask.Signature memory receipt = _receipt(COORDINATOR_KEY, _client(0), sent);
        ITask.Proof memory proof = _proof(0);
        vm.prank(ANYONE);
        court.proveOmission(header, leaves[0], proof, sent, receipt);
        _assertStands(0, 0);
    }

    /// @dev Else a sponsor that opened the task as its own coordinator convicts whoever took that over and paid the bond.
    function test_proveOmission_takesNoReceiptOfWhoHandedOverBeforeTheStart() public {
        ITask.Terms memory terms = _terms();
        terms.salt = keccak256("another");
        _open(terms);
        delete headers;
        for (uint256 i; i < clients.length; i++) {
            _join(i, 1 ether);
        }
        address next = vm.addr(0xC0D);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
        _fund(next, terms.bond);
        vm.prank(next);
        fairshare.start(taskId);
        due = enrolment;
        ITask.Header memory header = _next(_scores(1, 1, 1));
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.prank(next);
        fairshare.post(header, signatures, cover);
        bytes32 sent = keccak256("invented");
        ITask.Signature memory receipt = _receipt(COORDINATOR_KEY, _client(0), sent);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongSigner.selector, COORDINATOR, next));
        court.proveOmission(header, leaves[0], proof, sent, receipt);
    }

    function test_proveOmission_revertsIfTheUpdateIsThere() public {
        ITask.Header memory header = _post();
        bytes32 sent = leaves[0].updateRoot;
        ITask.Signature memory receipt = _receipt(COORDINATOR_KEY, _client(0), sent);
        ITask.Proof memory proof = _proof(0);
        _expectNoFraud();
        court.proveOmission(header, leaves[0], proof, sent, receipt);
    }

    function test_proveOmission_revertsIfTheReceiptIsNotTheCoordinators() public {
        ITask.Header memory header = _post();
        bytes32 sent = keccak256("what the client says it sent");
        address client = _client(0);
        ITask.Signature memory receipt = _receipt(keyOf[client], client, sent);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongSigner.selector, client, COORDINATOR));
        court.proveOmission(header, leaves[0], proof, sent, receipt);
    }

    /* proveDisorder and proveMissing */

    /// @dev A tree in which client 2's place is taken by a second leaf of client 0.
    function _duplicate() internal returns (ITask.Header memory header) {
        header = _next(_scores(100, 200, 300));
        leaves[2] = leaves[1];
        leaves[1] = leaves[0];
        leaves[1].cumulative = header.cumulative - leaves[0].cumulative - leaves[2].cumulative;
        _reseal(header);
        _send(header);
    }

    function test_proveDisorder_convictsTwoLeavesOfOneAccount() public {
        ITask.Header memory header = _duplicate();
        (ITask.Proof memory a, ITask.Proof memory b) = (_proof(0), _proof(1));
        vm.prank(ANYONE);
        court.proveDisorder(header, leaves[0], a, leaves[1], b);
        _assertHalted(0, 0);
    }

    function test_proveDisorder_revertsIfTheLeavesAreInOrder() public {
        ITask.Header memory header = _post();
        (ITask.Proof memory a, ITask.Proof memory b) = (_proof(0), _proof(2));
        _expectNoFraud();
        court.proveDisorder(header, leaves[0], a, leaves[2], b);
    }

    function test_proveDisorder_revertsIfTheSecondLeafIsNotRightOfTheFirst() public {
        ITask.Header memory header = _post();
        (ITask.Proof memory a, ITask.Proof memory b) = (_proof(1), _proof(0));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotNeighbours.selector, 1, 0));
        court.proveDisorder(header, leaves[1], a, leaves[0], b);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotNeighbours.selector, 1, 1));
        court.proveDisorder(header, leaves[1], a, leaves[1], a);
    }

    function _neighbours(uint256 from, uint256 count)
        internal
        view
        returns (ITask.Leaf[] memory some, ITask.Proof[] memory proofs)
    {
        some = new ITask.Leaf[](count);
        proofs = new ITask.Proof[](count);
        for (uint256 i; i < count; i++) {
            (some[i], proofs[i]) = (leaves[from + i], _proof(from + i));
        }
    }

    /// @dev A tree in which a stranger stands in a client's place; it may be at either end or between.
    function _replaced(uint256 client, address stranger) internal returns (ITask.Header memory header) {
        header = _next(_scores(100, 200, 300));
        leaves[client].account = stranger;
        _reseal(header);
        _send(header);
    }

    function test_proveMissing_convictsAGapBetweenNeighbours() public {
        ITask.Header memory header = _replaced(1, address(uint160(_client(2)) - 1));
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 2);
        vm.prank(ANYONE);
        court.proveMissing(header, _client(1), some, proofs);
        _assertHalted(0, 0);
    }

    function test_proveMissing_convictsAGapAtEitherEnd() public {
        ITask.Header memory header = _replaced(0, address(uint160(_client(1)) - 1));
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 1);
        vm.prank(ANYONE);
        court.proveMissing(header, _client(0), some, proofs);
        _assertHalted(0, 0);
    }

    function test_proveMissing_convictsAGapBehindTheLastLeaf() public {
        ITask.Header memory header = _replaced(2, address(uint160(_client(1)) + 1));
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(2, 1);
        vm.prank(ANYONE);
        court.proveMissing(header, _client(2), some, proofs);
        _assertHalted(0, 0);
    }

    function test_proveMissing_revertsIfTheAccountHasItsLeaf() public {
        ITask.Header memory header = _post();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 2);
        for (uint256 i; i < 3; i++) {
            address account = _client(i);
            _expectNoFraud();
            court.proveMissing(header, account, some, proofs);
        }
        for (uint256 at; at < 3; at++) {
            (some, proofs) = _neighbours(at, 1);
            for (uint256 i; i < 3; i++) {
                if ((at == 0 && i < at) || (at == 2 && i > at)) continue;
                address account = _client(i);
                _expectNoFraud();
                court.proveMissing(header, account, some, proofs);
            }
        }
    }

    function test_proveMissing_revertsIfTheAccountIsNotDue() public {
        ITask.Header memory header = _post();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _neighbours(0, 2);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, ANYONE, 0, 1));
        court.proveMissing(header, ANYONE, some, proofs);
        clients.push(address(type(uint160).max));
        _join(3, 1 ether);
        address late = _client(3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, late, 3, 1));
        court.proveMissing(header, late, some, proofs);
    }

    function test_proveMissing_revertsIfTheLeavesAreNoNeighbours() public {
        ITask.Header memory header = _post();
        ITask.Leaf[] memory some = new ITask.Leaf[](2);
        ITask.Proof[] memory proofs = new ITask.Proof[](2);
        (some[0], proofs[0], some[1], proofs[1]) = (leaves[0], _proof(0), leaves[2], _proof(2));
        address account = _client(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotNeighbours.selector, 0, 2));
        court.proveMissing(header, account, some, proofs);
    }

    function test_proveMissing_revertsIfLeavesAndProofsDoNotPair() public {
        ITask.Header memory header = _post();
        (ITask.Leaf[] memory some,) = _neighbours(0, 2);
        address account = _client(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.LengthMismatch.selector, 2, 1));
        court.proveMissing(header, account, some, new ITask.Proof[](1));
        vm.expectRevert(abi.encodeWithSelector(ITask.LengthMismatch.selector, 0, 2));
        court.proveMissing(header, account, new ITask.Leaf[](0), new ITask.Proof[](0));
    }

    /* proveBadLeaf and proveBadNode */

    function _sibling(Tree.Node memory node) internal pure returns (ITask.Sibling memory) {
        return ITask.Sibling(node.node, node.cumulative);
    }

    /// @dev A tree of three whose root says that leaf 0 has `more` wei than it has.
    function _inflatedLeaf(uint128 more)
        internal
        returns (ITask.Header memory header, ITask.Sibling memory said, ITask.Proof memory proof)
    {
        header = _next(_scores(100, 200, 300));
        leaves[0].cumulative -= more;
        Tree.Node memory lie = Tree.leafNode(leaves[0]);
        lie.cumulative += more;
        Tree.Node memory right = Tree.leafNode(leaves[1]);
        Tree.Node memory odd = Tree.leafNode(leaves[2]);
        header.treeRoot = Tree.join(Tree.join(lie, right), odd).node;
        _send(header);
        said = _sibling(lie);
        proof.siblings = bytes.concat(Tree.pack(right), Tree.pack(odd));
    }

    function test_proveBadLeaf_convictsSumsThatAreNotTheLeafs() public {
        (ITask.Header memory header, ITask.Sibling memory said, ITask.Proof memory proof) = _inflatedLeaf(7);
        vm.prank(ANYONE);
        court.proveBadLeaf(header, leaves[0], said, proof);
        _assertHalted(0, 0);
    }

    function test_proveBadLeaf_convictsASingleLeafThatIsNotWhatTheHeaderSays() public {
        taskId = 0;
        ITask.Terms memory terms = _terms();
        terms.salt = keccak256("alone");
        delete clients;
        delete headers;
        delete leaves;
        clients.push(vm.addr(0xA11CE));
        _begin(terms);
        int128[] memory scores = new int128[](1);
        scores[0] = 1;
        ITask.Header memory header = _next(scores);
        leaves[0].cumulative -= 1;
        header.treeRoot = Tree.leafNode(leaves[0]).node;
        _send(header);
        ITask.Proof memory proof;
        ITask.Sibling memory said = ITask.Sibling(0, header.cumulative - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongSum.selector, said.cumulative, header.cumulative));
        court.proveBadLeaf(header, leaves[0], said, proof);
        said.cumulative += 1;
        vm.prank(ANYONE);
        court.proveBadLeaf(header, leaves[0], said, proof);
        _assertStands(0, 1 ether);
    }

    function test_proveBadLeaf_revertsForEveryHonestLeaf() public {
        ITask.Header memory header = _post();
        for (uint256 i; i < 3; i++) {
            ITask.Sibling memory said = _sibling(Tree.leafNode(leaves[i]));
            ITask.Proof memory proof = _proof(i);
            _expectNoFraud();
            court.proveBadLeaf(header, leaves[i], said, proof);
        }
    }

    function test_proveBadLeaf_revertsIfTheSumsAreNotWhatTheTreeSays() public {
        ITask.Header memory header = _post();
        ITask.Sibling memory said = _sibling(Tree.leafNode(leaves[0]));
        said.cumulative += 1;
        ITask.Proof memory proof = _proof(0);
        vm.prank(ANYONE);
        try court.proveBadLeaf(header, leaves[0], said, proof) {
            revert("an honest leaf was convicted");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(ITask.WrongRoot.selector));
        }
    }

    function test_proveBadNode_convictsSumsThatAreNotItsChildrens() public {
        ITask.Header memory header = _next(_scores(100, 200, 300));
        (leaves[0].cumulative, leaves[1].cumulative) = (leaves[0].cumulative - 5, leaves[1].cumulative - 5);
        Tree.Node memory left = Tree.leafNode(leaves[0]);
        Tree.Node memory right = Tree.leafNode(leaves[1]);
        Tree.Node memory odd = Tree.leafNode(leaves[2]);
        Tree.Node memory parent = Tree.join(left, right);
        parent.cumulative += 10; // what the two clients would miss
        header.treeRoot = Tree.join(parent, odd).node;
        _send(header);
        ITask.Proof memory proof;
        proof.siblings = Tree.pack(odd);
        vm.prank(ANYONE);
        court.proveBadNode(header, 1, _sibling(left), _sibling(right), _sibling(parent), proof);
        _assertHalted(0, 0);
    }

    function test_proveBadNode_convictsARootThatIsNotWhatTheHeaderSays() public {
        ITask.Header memory header = _next(_scores(100, 200, 300));
        leaves[2].cumulative += 1; // the tree promises one wei more than its header
        Tree.Node[][] memory levels = Tree.levels(leaves);
        header.treeRoot = levels[2][0].node;
        _send(header);
        ITask.Sibling memory said = ITask.Sibling(0, header.cumulative);
        ITask.Proof memory proof;
        ITask.Sibling memory left = _sibling(levels[1][0]);
        vm.prank(ANYONE);
        court.proveBadNode(header, 2, left, _sibling(levels[1][1]), said, proof);
        _assertHalted(0, 0);
    }

    function test_proveBadNode_convictsANodeInALeafsPlace() public {
        ITask.Header memory header = _next(_scores(100, 200, 300));
        // Leaves 1 and 2 hide behind a node that stands in leaf 1's place; leaf 2's is taken by another of leaf 0.
        Tree.Node memory hidden = Tree.join(Tree.leafNode(leaves[1]), Tree.leafNode(leaves[2]));
        Tree.Node memory first = Tree.leafNode(leaves[0]);
        ITask.Leaf memory empty = leaves[0];
        (empty.cumulative, empty.total) = (0, 0);
        header.treeRoot = Tree.join(Tree.join(first, hidden), Tree.leafNode(empty)).node;
        _send(header);
        ITask.Proof memory proof;
        proof.index = 1;
        proof.siblings = bytes.concat(Tree.pack(first), Tree.pack(Tree.leafNode(empty)));
        ITask.Sibling memory left = _sibling(Tree.leafNode(leaves[1]));
        vm.prank(ANYONE);
        court.proveBadNode(header, 0, left, _sibling(Tree.leafNode(leaves[2])), _sibling(hidden), proof);
        _assertHalted(0, 0);
    }

    function test_proveBadNode_revertsForEveryHonestNode() public {
        ITask.Header memory header = _post();
        Tree.Node[][] memory levels = Tree.levels(leaves);
        ITask.Proof memory proof;
        proof.siblings = Tree.pack(levels[1][1]);
        _expectNoFraud();
        court.proveBadNode(
            header, 1, _sibling(levels[0][0]), _sibling(levels[0][1]), _sibling(levels[1][0]), proof
        );
        proof.siblings = "";
        _expectNoFraud();
        court.proveBadNode(
            header, 2, _sibling(levels[1][0]), _sibling(levels[1][1]), _sibling(levels[2][0]), proof
        );
    }

    function test_proveBadNode_revertsIfTheNodeIsNotInTheTree() public {
        ITask.Header memory header = _post();
        Tree.Node[][] memory levels = Tree.levels(leaves);
        ITask.Proof memory proof;
        proof.siblings = Tree.pack(levels[1][1]);
        ITask.Sibling memory left = _sibling(levels[0][0]);
        ITask.Sibling memory right = _sibling(levels[0][1]);
        ITask.Sibling memory said = _sibling(levels[1][0]);
        left.cumulative += 1; // children that the tree does not have
        _expectWrongRoot(header, 1, left, right, said, proof);
        left.cumulative -= 1;
        said.cumulative += 1; // a parent's sum that the tree does not say
        _expectWrongRoot(header, 1, left, right, said, proof);
        said.cumulative -= 1;
        _expectWrongRoot(header, 1, right, left, said, proof);
        _expectWrongRoot(header, 0, left, right, said, proof); // as if it stood in a leaf's place
    }

    function _expectWrongRoot(
        ITask.Header memory header,
        uint8 level,
        ITask.Sibling memory left,
        ITask.Sibling memory right,
        ITask.Sibling memory said,
        ITask.Proof memory proof
    ) internal {
        try court.proveBadNode(header, level, left, right, said, proof) {
            revert("an honest round was convicted");
        } catch (bytes memory reason) {
            bytes4 selector = level == 0 ? ITask.WrongProofLength.selector : ITask.WrongRoot.selector;
            vm.assertEq(bytes32(bytes4(reason)), bytes32(selector));
        }
    }

    /* request of a leaf */

    function _request(ITask.Header memory header, address account) internal {
        _fund(account, 1 ether);
        vm.prank(account);
        court.requestLeaf(header, account);
    }

    function test_requestLeaf_holdsTheRoundUntilTheLeafIsShown() public {
        ITask.Header memory header = _post();
        _wait(1 hours - 1);
        address account = _client(1);
        _fund(account, 1 ether);
        vm.expectEmit(address(fairshare));
        emit IDisputes.LeafRequested(taskId, 1, account, account, uint40(clock + 30 minutes));
        vm.prank(account);
        court.requestLeaf(header, account);
        _wait(1 hours);
        vm.assertFalse(fairshare.isFinal(taskId, 1));
        ITask.Proof memory proof = _proof(1);
        vm.expectEmit(address(fairshare));
        emit IDisputes.LeafShown(taskId, 1, account, leaves[1], proof);
        vm.prank(COORDINATOR);
        court.showLeaf(header, leaves[1], proof);
        vm.assertEq(_credit(COORDINATOR), 1 ether); // pays its gas
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        vm.assertEq(_state().openChallenges, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotRequested.selector, account));
        court.showLeaf(header, leaves[1], proof);
    }

    function test_requestLeaf_isMadeOncePerLeaf() public {
        ITask.Header memory header = _post();
        address account = _client(1);
        _request(header, account);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyRequested.selector, account));
        court.requestLeaf(header, account);
        court.showLeaf(header, leaves[1], _proof(1));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyRequested.selector, account));
        court.requestLeaf(header, account);
    }

    function test_requestLeaf_revertsForAnAccountWithoutALeafAndAfterTheWindow() public {
        ITask.Header memory header = _post();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, ANYONE, 0, 1));
        court.requestLeaf(header, ANYONE);
        _wait(1 hours);
        address account = _client(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.RoundFinal.selector, 1));
        court.requestLeaf(header, account);
    }

    function test_upholdRequest_voidsARoundWhoseFolderIsWithheld() public {
        ITask.Header memory header = _post();
        address account = _client(1);
        _request(header, account);
        _wait(30 minutes - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        court.upholdRequest(header, account);
        _wait(1);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Halted(taskId, 1, account, IDisputes.upholdRequest.selector, 0);
        court.upholdRequest(header, account);
        vm.assertEq(_credit(account), 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotRequested.selector, account));
        court.upholdRequest(header, account);
        _assertHalted(0, 0, 0);
    }

    function test_upholdRequest_returnsTheBondIfTheRoundIsVoidAlready() public {
        ITask.Header memory header = _post();
        (address one, address two) = (_client(1), _client(2));
        _request(header, one);
        _request(header, two);
        _wait(30 minutes);
        court.upholdRequest(header, one);
        court.upholdRequest(header, two);
        vm.assertEq(_credit(two), 1 ether);
        _assertHalted(0, 0, 0);
    }

    /* proveEquivocation */

    function _update(address client, string memory what, bytes32 id)
        internal
        view
        returns (IDisputes.SignedUpdate memory)
    {
        return _updateOf(id, 1, client, what);
    }

    function _updateIn(uint32 round, address client, string memory what)
        internal
        view
        returns (IDisputes.SignedUpdate memory)
    {
        return _updateOf(taskId, round, client, what);
    }

    function _updateOf(bytes32 id, uint32 round, address client, string memory what)
        internal
        view
        returns (IDisputes.SignedUpdate memory update)
    {
        update.baseModel = keccak256("model 0");
        update.updateRoot = keccak256(bytes(what));
        bytes32 typehash =
            keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
        update.signature = _sign(
            keyOf[client],
            _typed(keccak256(abi.encode(typehash, id, round, client, update.baseModel, update.updateRoot)))
        );
    }

    function test_proveEquivocation_slashesTheStake() public {
        address client = _client(0);
        IDisputes.SignedUpdate memory first = _update(client, "one", taskId);
        IDisputes.SignedUpdate memory second = _update(client, "two", taskId);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Slashed(taskId, client, ANYONE, 1 ether);
        vm.prank(ANYONE);
        court.proveEquivocation(taskId, 1, client, first, second);
        vm.assertEq(_credit(ANYONE), 0.5 ether);
        vm.assertEq(_burned(), 0.5 ether);
        vm.assertEq(fairshare.clientOf(taskId, client).stake, 0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingStaked.selector, taskId, client));
        court.proveEquivocation(taskId, 1, client, first, second);
    }

    /// @dev Client 3 joins while round 1 is under way; its first round is 2.
    function _arrival() internal returns (address client, IDisputes.SignedUpdate[2] memory updates) {
        uint256 key = 0xB0B;
        client = vm.addr(key);
        keyOf[client] = key;
        clients.push(client);
        _join(3, 1 ether);
        updates = [_update(client, "one", taskId), _update(client, "two", taskId)];
    }

    function test_proveEquivocation_revertsUntilTheClientHasAPlaceInTheRoundUnderWay() public {
        (address client, IDisputes.SignedUpdate[2] memory updates) = _arrival();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, client, 2, 1));
        court.proveEquivocation(taskId, 1, client, updates[0], updates[1]);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, client, 2, 2));
        court.proveEquivocation(taskId, 2, client, updates[0], updates[1]);
    }

    function test_proveEquivocation_reachesNobodyOnceTheRoundIsFinalOrTheTaskClosed() public {
        address client = _client(0);
        IDisputes.SignedUpdate memory first = _update(client, "one", taskId);
        IDisputes.SignedUpdate memory second = _update(client, "two", taskId);
        _postFinal();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.RoundFinal.selector, 1));
        court.proveEquivocation(taskId, 1, client, first, second);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDue.selector, client, 1, 3));
        court.proveEquivocation(taskId, 3, client, first, second); // a round that nobody asked it for
        _wait(1 days);
        fairshare.expire(taskId);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDisputable.selector, taskId, ITask.Status.Closed));
        court.proveEquivocation(taskId, 1, client, first, second);
    }

    function test_proveEquivocation_paysTheProverAtMostAMinStake() public {
        clients.push(vm.addr(0xB0B));
        keyOf[_client(3)] = 0xB0B;
        _join(3, 9 ether);
        _send(_next(_scores(1, 1, 1)));
        IDisputes.SignedUpdate[2] memory updates = [_updateIn(2, _client(3), "one"), _updateIn(2, _client(3), "two")];
        address client = _client(3);
        vm.prank(ANYONE);
        court.proveEquivocation(taskId, 2, client, updates[0], updates[1]);
        vm.assertEq(_credit(ANYONE), 1 ether);
        vm.assertEq(_burned(), 8 ether);
    }

    function test_proveEquivocation_revertsIfTheUpdateIsTheSame() public {
        address client = _client(0);
        IDisputes.SignedUpdate memory one = _update(client, "one", taskId);
        _expectNoFraud();
        court.proveEquivocation(taskId, 1, client, one, one);
    }

    function test_proveEquivocation_revertsIfASignatureIsForAnotherTaskOrRound() public {
        address client = _client(0);
        IDisputes.SignedUpdate memory first = _update(client, "one", taskId);
        IDisputes.SignedUpdate memory foreign = _update(client, "two", keccak256("another"));
        _expectWrongSigner(1, first, foreign);
        _expectWrongSigner(1, foreign, first);
        _expectWrongSigner(1, first, _updateIn(2, client, "two"));
    }

    function test_proveEquivocation_revertsIfAnotherSignedEitherOfThem() public {
        IDisputes.SignedUpdate memory own = _update(_client(0), "one", taskId);
        IDisputes.SignedUpdate memory others = _update(_client(1), "two", taskId);
        _expectWrongSigner(1, own, others);
        _expectWrongSigner(1, others, own);
    }

    function _expectWrongSigner(
        uint32 round,
        IDisputes.SignedUpdate memory first,
        IDisputes.SignedUpdate memory second
    ) internal {
        try court.proveEquivocation(taskId, round, _client(0), first, second) {
            revert("slashed for what it did not sign");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(IDisputes.WrongSigner.selector));
        }
    }
}

/// @notice The same in a task whose scores nobody can challenge: attested scores take none of these proofs away.
contract AttestedProofsTest is ProofsTest {
    function _terms() internal view override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.attested = true;
    }
}
