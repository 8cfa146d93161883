// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice claim and claimBatch; the tree itself is tested in Tree.t.sol.
contract ClaimTest is World {
    function _all() internal view returns (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) {
        some = leaves;
        proofs = new ITask.Proof[](some.length);
        for (uint256 i; i < some.length; i++) {
            proofs[i] = _proof(i);
        }
    }

    function test_claim_revertsIfTheHeaderWasNotPosted() public {
        _begin();
        ITask.Header memory header = _postFinal();
        header.bundle = 0;
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(header)));
        fairshare.claim(payroll(header), leaves[0], proof);
        header.round = 2;
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 2, _hash(header)));
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_claim_paysFromWhatWasPostedBeforeTheChainChangedItsId() public {
        _begin();
        ITask.Header memory header = _postFinal();
        vm.chainId(block.chainid + 1);
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        vm.assertEq(token.balanceOf(leaves[0].account), leaves[0].cumulative);
    }

    function test_claim_revertsUntilTheRoundIsFinal() public {
        _begin();
        ITask.Header memory header = _post();
        _wait(1 hours - 1);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundNotFinal.selector, 1, clock + 1));
        fairshare.claim(payroll(header), leaves[0], proof);
        _wait(1);
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_claim_revertsIfTheLeafIsNotInTheTree() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Proof memory proof = _proof(0);
        ITask.Leaf[] memory changed = leaves;
        changed[0].cumulative += 1;
        bytes32 wrong = Tree.root(changed).node;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongRoot.selector, wrong, header.treeRoot));
        fairshare.claim(payroll(header), changed[0], proof);
    }

    function test_claim_revertsIfNothingIsLeftToPay() public {
        _begin();
        ITask.Header memory header = _postFinal();
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        uint256 earned = leaves[0].cumulative;
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingToClaim.selector, _client(0), earned, earned));
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_claim_revertsIfAnEarlierRoundWasClaimedLater() public {
        _begin();
        ITask.Header memory first = _post();
        ITask.Leaf memory early = leaves[0];
        ITask.Proof memory proof = _proof(0);
        ITask.Header memory second = _postFinal();
        fairshare.claim(payroll(second), leaves[0], _proof(0));
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.NothingToClaim.selector, _client(0), early.cumulative, leaves[0].cumulative
            )
        );
        fairshare.claim(payroll(first), early, proof);
    }

    function test_claim_revertsForAnAccountThatNeverJoined() public {
        _open(_terms());
        _join(0, 1 ether);
        _start();
        int128[] memory scores = new int128[](1);
        scores[0] = 1;
        ITask.Header memory header = _next(scores);
        leaves[0].account = ANYONE; // evaluators who sign anything
        header.treeRoot = Tree.root(leaves).node;
        _send(header);
        _wait(1 hours);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotJoined.selector, taskId, ANYONE));
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_claim_revertsIfDishonestTreesPromiseMoreThanTheTotal() public {
        _begin();
        // Two rounds whose evaluators sign trees that give everything to another client each.
        ITask.Header[] memory posted = new ITask.Header[](2);
        ITask.Leaf[][] memory trees = new ITask.Leaf[][](2);
        for (uint256 i; i < 2; i++) {
            posted[i] = _next(new int128[](3));
            posted[i].cumulative = uint128(uint256(1000 ether) * (i + 1) / 3);
            for (uint256 j; j < 3; j++) {
                leaves[j].cumulative = j == i ? posted[i].cumulative : 0;
            }
            posted[i].treeRoot = Tree.root(leaves).node;
            trees[i] = leaves;
            _send(posted[i]);
        }
        _wait(1 hours);
        fairshare.claim(payroll(posted[0]), trees[0][0], Tree.prove(trees[0], 0));
        ITask.Proof memory proof = Tree.prove(trees[1], 1);
        uint256 total = posted[1].cumulative;
        vm.expectRevert(
            abi.encodeWithSelector(ITask.PaidBeyondTotal.selector, total + posted[0].cumulative, total)
        );
        fairshare.claim(payroll(posted[1]), trees[1][1], proof);
    }

    function test_claim_paysFromAnEarlierTreeAfterOthersWerePaidFromALaterOne() public {
        _begin();
        ITask.Header memory first = _post();
        ITask.Leaf memory early = leaves[0];
        ITask.Proof memory proof = _proof(0);
        ITask.Header memory second = _postFinal();
        fairshare.claim(payroll(second), leaves[1], _proof(1));
        fairshare.claim(payroll(second), leaves[2], _proof(2));
        fairshare.claim(payroll(first), early, proof); // the sum is beyond the first header's promise, not beyond the total
        vm.assertEq(token.balanceOf(_client(0)), early.cumulative);
    }

    function test_claim_paysTheLastWeiOfTheTotalFromAnEarlierTree() public {
        _begin();
        ITask.Header memory first = _post();
        ITask.Leaf memory early = leaves[0];
        ITask.Proof memory proof = _proof(0);
        int128[] memory scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (-(2 ** 31), 2 ** 40, 2 ** 40); // client 0 earns nothing more
        ITask.Header memory second = _next(scores);
        _send(second);
        _wait(1 hours);
        fairshare.claim(payroll(second), leaves[1], _proof(1));
        fairshare.claim(payroll(second), leaves[2], _proof(2));
        fairshare.claim(payroll(first), early, proof);
        vm.assertEq(_state().paid, second.cumulative);
    }

    function test_claim_revertsAfterTheSweep() public {
        _begin();
        _post();
        _post();
        ITask.Header memory header = _postFinal();
        fairshare.close(taskId);
        _wait(30 days);
        fairshare.sweep(taskId);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.ClaimPeriodOver.selector, taskId));
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_claim_paysTheAccountWhoeverCalls() public {
        _begin();
        ITask.Header memory header = _postFinal();
        uint256 earned = leaves[1].cumulative;
        ITask.Proof memory proof = _proof(1);
        vm.expectEmit(address(fairshare));
        emit ITask.Claimed(taskId, 1, _client(1), earned);
        vm.prank(ANYONE);
        vm.assertEq(fairshare.claim(payroll(header), leaves[1], proof), earned);
        vm.assertEq(token.balanceOf(_client(1)), earned);
        vm.assertEq(fairshare.clientOf(taskId, _client(1)).claimed, earned);
        vm.assertEq(_state().paid, earned);
    }

    function test_claim_paysOnlyWhatIsNewAfterALaterRound() public {
        _begin();
        ITask.Header memory header = _postFinal();
        uint256 first = fairshare.claim(payroll(header), leaves[2], _proof(2));
        header = _postFinal();
        uint256 second = fairshare.claim(payroll(header), leaves[2], _proof(2));
        vm.assertEq(first + second, leaves[2].cumulative);
        vm.assertEq(token.balanceOf(_client(2)), leaves[2].cumulative);
    }

    function test_claimBatch_revertsIfLeavesAndProofsDoNotPair() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Leaf[] memory some = leaves;
        vm.expectRevert(abi.encodeWithSelector(ITask.LengthMismatch.selector, 3, 2));
        fairshare.claimBatch(payroll(header), some, new ITask.Proof[](2));
    }

    function test_claimBatch_revertsUntilTheRoundIsFinal() public {
        _begin();
        ITask.Header memory header = _post();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _all();
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundNotFinal.selector, 1, clock + 1 hours));
        fairshare.claimBatch(payroll(header), some, proofs);
    }

    function test_claimBatch_revertsIfOneProofIsWrong() public {
        _begin();
        ITask.Header memory header = _postFinal();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _all();
        some[1].cumulative += 1;
        bytes32 wrong = Tree.root(some).node;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongRoot.selector, wrong, header.treeRoot));
        fairshare.claimBatch(payroll(header), some, proofs);
    }

    function test_claimBatch_skipsWhoWasPaidBefore() public {
        _begin();
        ITask.Header memory header = _postFinal();
        fairshare.claim(payroll(header), leaves[1], _proof(1)); // somebody's attempt to spoil the batch
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _all();
        uint256 total = fairshare.claimBatch(payroll(header), some, proofs);
        vm.assertEq(total, leaves[0].cumulative + leaves[2].cumulative);
        for (uint256 i; i < 3; i++) {
            vm.assertEq(token.balanceOf(_client(i)), leaves[i].cumulative);
        }
        vm.assertEq(fairshare.claimBatch(payroll(header), some, proofs), 0);
    }

    function test_claimBatch_saysNothingOfWhoWasPaidBefore() public {
        _begin();
        ITask.Header memory header = _postFinal();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _all();
        fairshare.claimBatch(payroll(header), some, proofs);
        vm.recordLogs();
        fairshare.claimBatch(payroll(header), some, proofs);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_claimBatch_paysALeafOnceHoweverOftenItIsGiven() public {
        _begin();
        ITask.Header memory header = _postFinal();
        (ITask.Leaf[] memory some, ITask.Proof[] memory proofs) = _all();
        (some[1], proofs[1]) = (some[0], proofs[0]);
        fairshare.claimBatch(payroll(header), some, proofs);
        vm.assertEq(token.balanceOf(_client(0)), leaves[0].cumulative);
        vm.assertEq(_state().paid, leaves[0].cumulative + leaves[2].cumulative);
    }
}
