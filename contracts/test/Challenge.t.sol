// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {Blocks} from "./world/Blocks.sol";
import {crowd} from "./world/Crowd.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {Disputed} from "./world/Disputed.sol";

/// @notice Challenges of a score: right ones against a lying coordinator, false ones against an honest one.
contract ChallengeTest is Disputed {
    /* challengeScore */

    function test_challengeBond_isASixteenthOfTheBondOrAMinStakeIfThatIsMore() public {
        uint128[3] memory bonds = [uint128(1000 ether), 16 ether + 16, 16 ether - 1];
        uint256[3] memory due_ = [uint256(62.5 ether), 1 ether + 1, 1 ether];
        for (uint256 i; i < 3; i++) {
            ITask.Terms memory terms = _terms();
            (terms.bond, terms.salt) = (bonds[i], bytes32(i + 1));
            _open(terms);
            vm.assertEq(court.challengeBond(taskId), due_[i]);
        }
    }

    function test_challengeScore_revertsIfTheSumsMakeThePostedScore() public {
        ITask.Header memory header = _begun();
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        bytes memory sums = _pack(_partials());
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.SameScore.selector, leaves[0].score));
        court.challengeScore(header, leaves[0], proof, count, top, sums);
    }

    function test_challengeScore_revertsIfTheLeafIsNotInItsTree() public {
        ITask.Header memory header = _begun();
        ITask.Proof memory proof = _proof(0);
        ITask.Leaf memory leaf = leaves[0];
        leaf.weight += 1;
        ITask.Leaf[] memory other = leaves;
        other[0] = leaf;
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongRoot.selector, Tree.root(other).node, header.treeRoot)
        );
        court.challengeScore(header, leaf, proof, count, 0, new bytes(80));
    }

    function test_challengeScore_revertsIfTheBlocksAreNotTheUpdates() public {
        ITask.Header memory header = _begun();
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        ITask.Proof memory proof = _proof(0);
        bytes memory sums = new bytes(6 * 16);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongBlockRoot.selector, Blocks.root(6, top), leaves[0].updateRoot)
        );
        court.challengeScore(header, leaves[0], proof, 6, top, sums);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongBlockRoot.selector, Blocks.root(2 ** 24, top), leaves[0].updateRoot)
        );
        court.challengeScore(header, leaves[0], proof, 2 ** 24, top, sums);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BlocksOutOfRange.selector, 0, 2 ** 24));
        court.challengeScore(header, leaves[0], proof, 0, top, sums);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BlocksOutOfRange.selector, 2 ** 24 + 1, 2 ** 24));
        court.challengeScore(header, leaves[0], proof, 2 ** 24 + 1, top, sums);
    }

    function test_challengeScore_revertsIfThereAreTooManyOrTooFewSums() public {
        ITask.Header memory header = _begun();
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongSumsLength.selector, 79, 80));
        court.challengeScore(header, leaves[0], proof, count, top, new bytes(79));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongSumsLength.selector, 96, 80));
        court.challengeScore(header, leaves[0], proof, count, top, new bytes(96));
    }

    function test_challengeScore_wantsAtMost4096Sums() public {
        uint64[3] memory blocks = [uint64(4096), 4097, 8192];
        uint256[3] memory sums = [uint256(4096), 2049, 4096];
        _begin();
        ITask.Header memory header = _next(new int128[](3));
        for (uint256 i; i < 3; i++) {
            leaves[i].updateRoot = Blocks.root(blocks[i], 0);
        }
        _reseal(header);
        _send(header);
        for (uint256 i; i < 3; i++) {
            ITask.Proof memory proof = _proof(i);
            vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongSumsLength.selector, 1, sums[i] * 16));
            court.challengeScore(header, leaves[i], proof, blocks[i], 0, new bytes(1));
        }
    }

    function test_challengeScore_revertsIfTheLeafHasNoUpdate() public {
        _begin();
        ITask.Header memory header = _next(new int128[](3));
        leaves[0].updateRoot = 0;
        _reseal(header);
        _send(header);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoUpdate.selector, _client(0)));
        court.challengeScore(header, leaves[0], proof, 1, 0, new bytes(16));
    }

    function test_challengeScore_revertsIfTheScoresAreAttested() public {
        ITask.Terms memory terms = _terms();
        terms.attested = true;
        _begin(terms);
        ITask.Header memory header = _round(1);
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        ITask.Proof memory proof = _proof(0);
        bytes memory sums = _pack(_partials());
        vm.expectRevert(abi.encodeWithSelector(IDisputes.ScoresAttested.selector, taskId));
        court.challengeScore(header, leaves[0], proof, count, top, sums);
    }

    function test_challengeScore_revertsOnceTheRoundIsFinal() public {
        ITask.Header memory header = _lied();
        _wait(1 hours);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.RoundFinal.selector, 1));
        court.challengeScore(header, leaves[0], proof, count, 0, new bytes(80));
    }

    function test_challengeScore_revertsIfItIsOpenedTwice() public {
        ITask.Header memory header = _begun();
        bytes32 id = _challenge(header, _false(2));
        _fund(CHALLENGER, CHALLENGE);
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        bytes memory sums = _pack(_false(2));
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.ChallengeExists.selector, id));
        vm.prank(CHALLENGER);
        court.challengeScore(header, leaves[0], proof, count, top, sums);
    }

    function test_challengeScore_revertsIfItWasOpenBeforeInTheSameBlock() public {
        // Otherwise it would stand with the old one's demand: counted by nobody, open to no answer and to no new demand.
        ITask.Header memory header = _large(0);
        int128[] memory partials = _partials();
        partials[0] += 2 ** 30;
        partials[2] += 2 ** 30;
        int128[] memory sums = _pairs(partials);
        bytes32 id = _challenge(header, sums);
        _demand(1);
        _demand(0);
        _answer(0, sums, _pack(_two(partials[0], partials[1])));
        _refutePart(0, partials);
        _fund(CHALLENGER, CHALLENGE);
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        bytes memory packed = _pack(sums);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.ChallengeExists.selector, id));
        vm.prank(CHALLENGER);
        court.challengeScore(header, leaves[0], proof, count, top, packed);
    }

    function test_challengeScore_takesTheBondAndHoldsTheRound() public {
        ITask.Header memory header = _lied();
        _wait(1 hours - 1);
        bytes32 id = _challenge(header, _partials());
        vm.assertEq(token.balanceOf(CHALLENGER), 0);
        IDisputes.Standing memory standing = court.standingOf(id);
        vm.assertTrue(standing.open);
        vm.assertEq(standing.deadline, clock + 30 minutes);
        _wait(1);
        vm.assertFalse(fairshare.isFinal(taskId, 1)); // its window is over, the time to answer is not
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundHeld.selector, 1, 1));
        fairshare.claim(payroll(header), leaves[1], proof);
        vm.assertEq(_state().openChallenges, 1);
        vm.assertEq(_state().heldFrom, 1);
    }

    function test_65535OpenChallenges_stopNoFurtherOneAndNoRefutation() public {
        ITask.Header memory header = _begun();
        crowd(address(fairshare), header.taskId, header.round, type(uint16).max);
        int128[] memory sums = _false(0);
        bytes32 challenge = _challenge(header, sums);
        vm.assertTrue(court.standingOf(challenge).open);
        (, ITask.State memory state) = fairshare.task(header.taskId);
        vm.assertEq(state.openChallenges, uint256(type(uint16).max) + 1);
        _refute(0, sums);
        vm.assertFalse(court.standingOf(challenge).open);
        (, state) = fairshare.task(header.taskId);
        vm.assertEq(state.openChallenges, type(uint16).max);
        vm.assertEq(state.heldFrom, header.round);
    }

    function test_openChallenges_keepTheTaskFromEnding() public {
        ITask.Header memory header = _begun();
        _wait(1 hours - 1);
        _challenge(header, _false(0));
        _wait(1 days);
        vm.expectRevert(abi.encodeWithSelector(ITask.ChallengesOpen.selector, taskId, 1));
        fairshare.expire(taskId);
    }

    function test_aHold_givesTheCoordinatorAWholeTimeoutAfterIt() public {
        // Or else false challenges would keep it from posting until it can be expired.
        ITask.Header memory header = _begun();
        _wait(1 hours - 1);
        _challenge(header, _false(0));
        _wait(10 minutes);
        _refute(0, _false(0)); // opens the window once more
        _wait(1 days);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1 hours));
        fairshare.expire(taskId);
        _post();
    }

    function test_openChallenges_keepACompleteTaskFromClosing() public {
        _begin();
        _post();
        _post();
        ITask.Header memory header = _round(0);
        _wait(1 hours - 1);
        _challenge(header, _false(0));
        _wait(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.ChallengesOpen.selector, taskId, 1));
        fairshare.close(taskId);
        _refute(0, _false(0));
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1 hours)); // its window is open again
        fairshare.close(taskId);
        _wait(1 hours);
        fairshare.close(taskId);
    }

    /* refute */

    function test_refute_endsAFalseChallengeAtTheChallengersCost() public {
        ITask.Header memory header = _begun();
        bytes32 id = _challenge(header, _false(3));
        vm.expectEmit(address(fairshare));
        emit IDisputes.Refuted(id, REFUTER, CHALLENGE / 2);
        _refute(3, _false(3));
        vm.assertEq(_credit(REFUTER), CHALLENGE / 2);
        vm.assertEq(_burned(), CHALLENGE / 2);
        vm.assertFalse(court.standingOf(id).open);
        vm.assertFalse(court.standingOf(id).upheld);
        vm.assertEq(court.standingOf(id).deadline, clock + 30 minutes);
        vm.assertEq(_state().openChallenges, 0);
        vm.assertEq(_state().heldFrom, 1); // its window is open once more
        _wait(1 hours);
        vm.assertEq(_state().heldFrom, 0);
        fairshare.claim(payroll(header), leaves[1], _proof(1));
    }

    /// forge-config: default.fuzz.runs = 10
    function testFuzz_refute_worksOnTheBlockThatIsWrongAndOnNoOther(uint8 at) public {
        ITask.Header memory header = _begun();
        at = at % 5;
        _challenge(header, _false(at));
        for (uint256 i; i < 5; i++) {
            if (i == at) continue;
            int128 right = _partials()[i];
            _refuteReverts(i, _false(at), abi.encodeWithSelector(IDisputes.SumIsRight.selector, right));
        }
        _refute(at, _false(at));
    }

    function _refuteReverts(uint256 at, int128[] memory sums, bytes memory expected) internal {
        bytes memory update = _opening(updates, at);
        bytes memory direction = _opening(directions, at);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), at, false);
        vm.expectRevert(expected);
        court.refute(open, uint64(at), update, direction, sums[at], path);
    }

    function test_refute_cannotEndARightChallenge() public {
        ITask.Header memory header = _lied();
        _challenge(header, _partials());
        for (uint256 i; i < 5; i++) {
            int128 right = _partials()[i];
            _refuteReverts(i, _partials(), abi.encodeWithSelector(IDisputes.SumIsRight.selector, right));
        }
    }

    function test_refute_revertsAfterTheDeadline() public {
        ITask.Header memory header = _begun();
        _challenge(header, _false(0));
        _wait(30 minutes);
        _refuteReverts(0, _false(0), abi.encodeWithSelector(IDisputes.TooLate.selector, clock, clock));
    }

    function test_refute_revertsIfTheChallengeIsNotOpen() public {
        ITask.Header memory header = _begun();
        bytes32 id = _challenge(header, _false(0));
        _refute(0, _false(0));
        _refuteReverts(0, _false(0), abi.encodeWithSelector(IDisputes.NotOpen.selector, id));
        open.blocks = 4; // a challenge that never was
        _refuteReverts(0, _false(0), abi.encodeWithSelector(IDisputes.NotOpen.selector, keccak256(abi.encode(open))));
    }

    function test_refute_revertsForAnythingThatIsNotInItsTree() public {
        ITask.Header memory header = _begun();
        int128[] memory sums = _false(1);
        _challenge(header, sums);
        bytes memory update = _opening(updates, 1);
        bytes memory direction = _opening(directions, 1);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), 1, false);
        // There is no block 5.
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoSuchBlock.selector, 5, 5));
        court.refute(open, 5, update, direction, sums[1], path);
        // The challenger gave another sum.
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongPath.selector, _rootWith(sums, 1, sums[1] + 1), open.sumsRoot)
        );
        court.refute(open, 1, update, direction, sums[1] + 1, path);
        // Another block of the update, another of the direction.
        (bool done, bytes memory reason) = address(fairshare).call(
            abi.encodeCall(court.refute, (open, 1, _opening(updates, 2), direction, sums[1], path))
        );
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(IDisputes.WrongBlockRoot.selector));
        (done, reason) = address(fairshare).call(
            abi.encodeCall(court.refute, (open, 1, update, _opening(directions, 2), sums[1], path))
        );
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(IDisputes.WrongBlockRoot.selector));
        // Paths that are too short or too long.
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 0, 3));
        court.refute(open, 1, update, direction, sums[1], new bytes32[](0));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 4, 3));
        court.refute(open, 1, update, direction, sums[1], new bytes32[](4));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 513 + 97, 513 + 96));
        court.refute(open, 1, bytes.concat(update, hex"00"), direction, sums[1], path);
        assembly ("memory-safe") {
            mstore(update, 608)
        }
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 513 + 95, 513 + 96));
        court.refute(open, 1, update, direction, sums[1], path);
        assembly ("memory-safe") {
            mstore(update, 512)
        }
        vm.expectRevert(abi.encodeWithSelector(IDisputes.MalformedBlock.selector, 512, 0));
        court.refute(open, 1, update, direction, sums[1], path);
    }

    function _rootWith(int128[] memory sums, uint256 at, int128 sum) internal pure returns (bytes32) {
        int128[] memory other = new int128[](sums.length);
        for (uint256 i; i < sums.length; i++) {
            other[i] = i == at ? sum : sums[i];
        }
        return Blocks.top(_sumHashes(other), false);
    }

    function test_refute_revertsIfABlockIsMalformed() public {
        _begin();
        for (uint256 i; i < 5; i++) {
            updates.push(Blocks.random(i, 1)); // exponents go from -64 to 0
            directions.push(Blocks.random(1000 + i, -31));
        }
        updates[1] = bytes.concat(updates[1], hex"00");
        ITask.Header memory header = _round(0);
        int128[] memory sums = new int128[](5);
        sums[0] = 1 << 40;
        _challenge(header, sums);
        _refuteReverts(0, sums, abi.encodeWithSelector(IDisputes.MalformedBlock.selector, 513 + 96, int256(1)));
        _refuteReverts(1, sums, abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 514 + 96, 513 + 96));
    }

    /// forge-config: default.fuzz.runs = 48
    function testFuzz_partialSums_areTheSameValueByValue(uint256 a, uint256 b, int8 ea, int8 eb) public {
        ea = int8(-int256(uint256(uint8(ea)) % 65));
        eb = int8(-int256(uint256(uint8(eb)) % 65));
        (updates, directions) = (new bytes[](0), new bytes[](0));
        count = 1;
        updates.push(Blocks.random(a, ea));
        directions.push(Blocks.random(b, eb));
        _begin();
        int128 right = int128(Blocks.partialSum(updates[0], directions[0]));
        int128[] memory scores = new int128[](3);
        scores[0] = 1;
        ITask.Header memory header = _next(scores);
        leaves[0].updateRoot = Blocks.root(1, Blocks.leaf(updates[0]));
        leaves[0].weight = 1 << 32;
        header.directionRoot = Blocks.root(1, Blocks.leaf(directions[0]));
        _reseal(header);
        _send(header);
        int128[] memory sums = new int128[](1);
        sums[0] = right;
        vm.assume(right != 1);
        _challenge(header, sums);
        _refuteReverts(0, sums, abi.encodeWithSelector(IDisputes.SumIsRight.selector, right));
        sums[0] = right + 1;
        vm.assume(right + 1 != 1);
        _challenge(header, sums);
        _refute(0, sums);
    }

    /* uphold */

    function test_uphold_voidsTheRoundAndRewardsTheChallenger() public {
        ITask.Header memory header = _lied();
        bytes32 id = _challenge(header, _partials());
        _wait(30 minutes);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Halted(taskId, 1, CHALLENGER, IDisputes.uphold.selector, 1 ether);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Upheld(id);
        court.uphold(open, header);
        vm.assertFalse(court.standingOf(id).open);
        vm.assertTrue(court.standingOf(id).upheld);
        vm.assertEq(_credit(CHALLENGER), CHALLENGE + 1 ether); // its bond and the bounty
        vm.assertEq(_burned(), 0);
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Halted));
        vm.assertEq(_state().posted, 0);
        vm.assertEq(_state().voidFrom, 1);
        vm.assertEq(_state().openChallenges, 0);
        vm.assertEq(_state().heldFrom, 0);
        fairshare.closeHalted(header);
        vm.assertEq(_credit(SPONSOR), 1000 ether - header.cumulative);
    }

    function test_uphold_voidsARoundWhoseWindowEndedMeanwhile() public {
        ITask.Header memory header = _lied();
        _wait(1 hours - 1);
        _challenge(header, _partials());
        _wait(30 minutes);
        court.uphold(open, header);
        vm.assertEq(_state().posted, 0);
    }

    function test_uphold_revertsBeforeTheDeadline() public {
        ITask.Header memory header = _lied();
        _challenge(header, _partials());
        _wait(30 minutes - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        court.uphold(open, header);
    }

    function test_uphold_revertsForAnotherHeader() public {
        ITask.Header memory header = _lied();
        _challenge(header, _partials());
        ITask.Header memory other = _post();
        _wait(30 minutes);
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(other)));
        court.uphold(open, other);
        other = header;
        other.price ^= 1;
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(other)));
        court.uphold(open, other);
    }

    function test_uphold_returnsTheBondIfTheRoundIsVoidAlready() public {
        ITask.Header memory header = _lied();
        _challenge(header, _partials());
        IDisputes.Challenge memory first = open;
        int128[] memory sums = _partials();
        sums[0] += 2 ** 30;
        _challenge(header, sums);
        _wait(30 minutes);
        court.uphold(first, header);
        vm.assertEq(_credit(CHALLENGER), CHALLENGE + 1 ether);
        court.uphold(open, header); // nobody refuted the second, false one; nothing is left to win
        vm.assertEq(_credit(CHALLENGER), 2 * CHALLENGE + 1 ether);
        vm.assertEq(_state().openChallenges, 0);
    }

    /* several at once */

    function test_holds_moveOnToTheNextHeldRound() public {
        ITask.Header memory first = _begun();
        ITask.Leaf[] memory firstLeaves = leaves;
        int128[] memory sums = _false(0);
        _challenge(first, sums);
        IDisputes.Challenge memory one = open;
        (updates, directions) = (new bytes[](0), new bytes[](0));
        _post();
        ITask.Header memory third = _round(0);
        _challenge(third, _false(1));
        vm.assertEq(_state().heldFrom, 1);
        vm.assertEq(_state().openChallenges, 2);
        _refute(1, _false(1)); // the later one first
        vm.assertEq(_state().heldFrom, 1);
        _challenge(third, _false(2));
        IDisputes.Challenge memory two = open;
        // Now the earlier one: rounds 1 and 2 are free, round 3 is still held.
        (updates, directions) = (new bytes[](0), new bytes[](0));
        for (uint256 i; i < 5; i++) {
            updates.push(Blocks.random(i, -30));
            directions.push(Blocks.random(1000 + i, -31));
        }
        open = one;
        _refute(0, sums);
        vm.assertEq(_state().heldFrom, 1); // as long as its window is open again
        _wait(1 hours);
        vm.assertEq(_state().heldFrom, 3);
        fairshare.claim(payroll(first), firstLeaves[1], Tree.prove(firstLeaves, 1));
        vm.assertTrue(fairshare.isFinal(taskId, 2));
        vm.assertFalse(fairshare.isFinal(taskId, 3));
        court.uphold(two, third);
        vm.assertEq(_state().posted, 2);
        vm.assertEq(_state().heldFrom, 0);
    }

    function test_holds_moveOnByAtMost64Rounds() public {
        ITask.Terms memory terms = _terms();
        terms.rounds = 67;
        _begin(terms);
        int128[] memory sums;
        IDisputes.Challenge memory one;
        for (uint256 i; i < 67; i++) {
            if (i % 66 != 0) {
                _post();
                continue;
            }
            (updates, directions) = (new bytes[](0), new bytes[](0));
            ITask.Header memory header = _round(0);
            sums = _false(0);
            _challenge(header, sums);
            if (i == 0) one = open;
        }
        IDisputes.Challenge memory last = open;
        open = one;
        (updates, directions) = (new bytes[](0), new bytes[](0));
        for (uint256 i; i < 5; i++) {
            updates.push(Blocks.random(i, -30));
            directions.push(Blocks.random(1000 + i, -31));
        }
        _refute(0, _false(0));
        _wait(1 hours);
        vm.assertEq(_state().heldFrom, 65); // from round 1; round 67 is the one that is held
        vm.assertTrue(fairshare.isFinal(taskId, 64));
        vm.assertFalse(fairshare.isFinal(taskId, 66)); // until one more settlement
        court.uphold(last, headers[66]);
        vm.assertEq(_state().heldFrom, 0);
        vm.assertTrue(fairshare.isFinal(taskId, 66));
    }

    /* large updates: demand, answer, dismiss */

    function test_demand_andAnswerLetAFalseSumBeRefuted() public {
        ITask.Header memory header = _large(0);
        int128[] memory partials = _partials();
        partials[1] += 2 ** 20;
        int128[] memory sums = _pairs(partials);
        bytes32 id = _challenge(header, sums);
        // One block does not refute a sum of two.
        bytes memory update = _opening(updates, 1);
        bytes memory direction = _opening(directions, 1);
        bytes32[] memory path = Blocks.path(_sumHashes(_two(partials[0], partials[1])), 1, false);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotAnswered.selector, id, 0));
        court.refute(open, 1, update, direction, partials[1], path);
        _demandSeen(0);
        vm.assertEq(court.standingOf(id).demands, 1);
        vm.assertEq(court.standingOf(id).deadline, clock + 1 hours); // time to answer, then to refute
        _wait(20 minutes);
        bytes memory packed = _pack(_two(partials[0], partials[1]));
        bytes32[] memory sumPath = Blocks.path(_sumHashes(sums), 0, false);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Answered(id, 0, packed);
        vm.prank(CHALLENGER);
        court.answer(open, 0, sums[0], sumPath, packed);
        vm.assertEq(_credit(CHALLENGER), 0); // nobody knows yet who is right
        vm.prank(REFUTER);
        court.refute(open, 1, update, direction, partials[1], path);
        vm.assertEq(_credit(REFUTER), CHALLENGE / 2);
        vm.assertFalse(court.standingOf(id).open);
    }

    function test_demand_costsTheSameDemanderAMinStakeMoreEachTime() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        bytes32 id = _challenge(header, _pairs(partials));
        _fund(REFUTER, 6 ether);
        for (uint256 number = 1; number < 4; number++) {
            vm.expectEmit(address(fairshare));
            emit IDisputes.Demanded(id, uint64(number), REFUTER, number * 1 ether);
            vm.prank(REFUTER);
            court.demand(open, uint64(number));
            // An answer makes the next one no cheaper.
            _answer(uint64(number), _pairs(partials), _pack(_two(partials[2 * number], partials[2 * number + 1])));
            vm.assertEq(court.standingOf(id).demands, 0);
        }
        vm.assertEq(token.balanceOf(REFUTER), 0);
    }

    function test_aFalseChallengersOwnDemands_makeTheDefendersNoDearer() public {
        ITask.Header memory header = _large(0);
        int128[] memory partials = _partials();
        partials[0] += 2 ** 30;
        bytes32 id = _challenge(header, _pairs(partials));
        _fund(CHALLENGER, 55 ether);
        for (uint64 sum = 1; sum < 11; sum++) {
            vm.prank(CHALLENGER);
            court.demand(open, sum);
        }
        _fund(COORDINATOR, 1 ether);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Demanded(id, 0, COORDINATOR, 1 ether);
        vm.prank(COORDINATOR);
        court.demand(open, 0);
    }

    /* a challenge that fails makes room for another */

    function test_aFailedChallenge_opensItsRoundsWindowOnceMore() public {
        // A friend of the liar opens the right challenge with one false block, and has it refuted as the window ends.
        ITask.Header memory header = _lied();
        _wait(1 hours - 1);
        _challenge(header, _false(2));
        _wait(20 minutes);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Reopened(taskId, 1, uint40(clock + 1 hours));
        _refute(2, _false(2));
        vm.assertFalse(fairshare.isFinal(taskId, 1));
        _wait(1 hours - 1);
        _challenge(header, _partials()); // those who had stood back
        _wait(30 minutes);
        court.uphold(open, header);
        vm.assertEq(_state().voidFrom, 1);
    }

    function test_aSecondFailedChallenge_opensNoFurtherWindow() public {
        ITask.Header memory header = _begun();
        _challenge(header, _false(0));
        _refute(0, _false(0));
        _wait(1 hours - 1);
        _challenge(header, _false(1));
        _refute(1, _false(1));
        _wait(1);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
    }

    function test_refute_revertsForAPartialSumThatWasNotTheAnswer() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        int128[] memory sums = _pairs(partials);
        _challenge(header, sums);
        _demand(0);
        _answer(0, sums, _pack(_two(partials[0], partials[1])));
        bytes32 answered = Blocks.top(_sumHashes(_two(partials[0], partials[1])), false);
        partials[1] += 1; // wrong, but nobody said so
        bytes32 told = Blocks.top(_sumHashes(_two(partials[0], partials[1])), false);
        bytes memory update = _opening(updates, 1);
        bytes memory direction = _opening(directions, 1);
        bytes32[] memory path = Blocks.path(_sumHashes(_two(partials[0], partials[1])), 1, false);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPath.selector, told, answered));
        court.refute(open, 1, update, direction, partials[1], path);
    }

    function test_demands_thatARightChallengeAnswersAreItsChallengers() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        int128[] memory sums = _pairs(partials);
        _challenge(header, sums);
        _demand(0);
        _demand(1);
        _answer(0, sums, _pack(_two(partials[0], partials[1])));
        _answer(1, sums, _pack(_two(partials[2], partials[3])));
        _wait(1 hours);
        court.uphold(open, header);
        vm.assertEq(_credit(CHALLENGER), CHALLENGE + 1 ether);
        court.dismiss(open, 0);
        court.dismiss(open, 1);
        vm.assertEq(_credit(CHALLENGER), CHALLENGE + 4 ether);
        vm.assertEq(_credit(REFUTER), 0);
    }

    function test_demands_ofAFalseChallengeCostNothingInTheEnd() public {
        ITask.Header memory header = _large(0);
        int128[] memory partials = _partials();
        partials[0] += 2 ** 30;
        int128[] memory sums = _pairs(partials);
        bytes32 id = _challenge(header, sums);
        _demand(1);
        _demand(0);
        _demand(2);
        _answer(0, sums, _pack(_two(partials[0], partials[1]))); // parts that make the false sum
        _answer(1, sums, _pack(_two(partials[2], partials[3])));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 0));
        court.dismiss(open, 0); // answered: there is nothing to dismiss the challenge for
        _refutePart(0, partials);
        for (uint64 sum; sum < 3; sum++) {
            court.dismiss(open, sum);
        }
        vm.assertEq(_credit(REFUTER), CHALLENGE / 2 + 6 ether);
        vm.assertEq(_credit(CHALLENGER), 0);
        vm.assertEq(_burned(), CHALLENGE / 2);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 2));
        court.dismiss(open, 2);
    }

    function _demandSeen(uint64 sum) internal {
        token.mint(REFUTER, 1 ether);
        vm.prank(REFUTER);
        token.approve(address(fairshare), type(uint256).max);
        vm.expectEmit(address(fairshare));
        emit IDisputes.Demanded(keccak256(abi.encode(open)), sum, REFUTER, 1 ether);
        vm.prank(REFUTER);
        court.demand(open, sum);
    }

    function test_demand_ofTheLastSumCoversTheBlocksThatAreLeft() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        int128[] memory sums = _pairs(partials);
        _challenge(header, sums);
        _demand(2048);
        int128[] memory last = new int128[](1);
        last[0] = partials[4096];
        _answer(2048, sums, _pack(last));
        bytes memory update = _opening(updates, 4096);
        bytes memory direction = _opening(directions, 4096);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.SumIsRight.selector, last[0]));
        court.refute(open, 4096, update, direction, last[0], new bytes32[](0));
        _wait(1 hours);
        court.uphold(open, header); // a right challenge survives its demands
        vm.assertEq(uint256(_state().status), uint256(ITask.Status.Halted));
    }

    function test_demand_revertsWhereThereIsNothingToBreakDown() public {
        ITask.Header memory header = _large(1);
        bytes32 id = _challenge(header, _pairs(_partials()));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoSuchBlock.selector, 2049, 2049));
        court.demand(open, 2049);
        _demand(7);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToDemand.selector, id, 7));
        court.demand(open, 7);
        int128[] memory partials = _partials();
        _answer(7, _pairs(partials), _pack(_two(partials[14], partials[15])));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToDemand.selector, id, 7));
        court.demand(open, 7);
        _wait(30 minutes);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, clock, clock));
        court.demand(open, 8);
    }

    function test_demand_revertsIfSumsAreOfOneBlock() public {
        ITask.Header memory header = _lied();
        bytes32 id = _challenge(header, _partials());
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToDemand.selector, id, 0));
        court.demand(open, 0);
    }

    function test_answer_revertsUnlessItBreaksTheDemandedSumDown() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        int128[] memory sums = _pairs(partials);
        bytes32 id = _challenge(header, sums);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), 3, false);
        bytes memory packed = _pack(_two(partials[6], partials[7]));
        _answerReverts(sums[3], path, packed, abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 3));
        _demand(3);
        bytes memory wrong = _pack(_two(partials[6], partials[7] + 1));
        bytes memory reason = abi.encodeWithSelector(IDisputes.WrongSumsLength.selector, 16, 32);
        _answerReverts(sums[3], path, new bytes(16), reason);
        reason = abi.encodeWithSelector(IDisputes.WrongPartials.selector, int256(sums[3]) + 1, int256(sums[3]));
        _answerReverts(sums[3], path, wrong, reason);
        reason = abi.encodeWithSelector(IDisputes.WrongPath.selector, _rootWith(sums, 3, 1), open.sumsRoot);
        _answerReverts(1, path, _pack(_two(1, 0)), reason);
        reason = abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 0, 12);
        _answerReverts(sums[3], new bytes32[](0), packed, reason);
        reason = abi.encodeWithSelector(IDisputes.WrongPathLength.selector, 13, 12);
        _answerReverts(sums[3], new bytes32[](13), packed, reason);
        _answer(3, sums, packed);
    }

    function _answerReverts(int128 sum, bytes32[] memory path, bytes memory partials, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(CHALLENGER);
        court.answer(open, 3, sum, path, partials);
    }

    function test_answer_revertsForAnyoneButTheChallenger() public {
        // Or else: demand a right sum, break it down into wrong parts that add up to it, and refute one of them.
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        int128[] memory sums = _pairs(partials);
        _challenge(header, sums);
        _demand(0);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), 0, false);
        bytes memory wrong = _pack(_two(partials[0] + 1, partials[1] - 1));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotChallenger.selector, REFUTER, CHALLENGER));
        vm.prank(REFUTER);
        court.answer(open, 0, sums[0], path, wrong);
    }

    function test_answer_revertsIfTheSumWasAnswered() public {
        _large(0);
        int128[] memory partials = _partials();
        partials[0] += 2 ** 30;
        int128[] memory sums = _pairs(partials);
        bytes32 id = _challenge(headers[0], sums);
        _demand(0);
        _demand(1);
        bytes memory packed = _pack(_two(partials[0], partials[1]));
        _answer(0, sums, packed);
        vm.assertEq(court.standingOf(id).demands, 1);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), 0, false);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 0));
        vm.prank(CHALLENGER);
        court.answer(open, 0, sums[0], path, packed);
        _wait(1 hours); // past any deadline: a demand that was answered dismisses nothing
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 0));
        court.dismiss(open, 0);
    }

    function test_answer_inTheLastMomentLeavesTimeToRefute() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        bytes32 id = _challenge(header, _pairs(partials));
        _demand(0);
        _wait(2 hours); // nobody dismissed it
        _answer(0, _pairs(partials), _pack(_two(partials[0], partials[1])));
        vm.assertEq(court.standingOf(id).deadline, clock + 30 minutes);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 30 minutes));
        court.uphold(open, header);
    }

    function test_dismiss_isDueAtTheEndOfTheResponseWindow() public {
        ITask.Header memory header = _large(1);
        int128[] memory partials = _partials();
        bytes32 id = _challenge(header, _pairs(partials));
        _demand(0);
        _wait(30 minutes);
        court.dismiss(open, 0);
        vm.assertFalse(court.standingOf(id).open);
    }

    function test_dismiss_endsAChallengeThatIsNotBrokenDown() public {
        ITask.Header memory header = _large(0);
        int128[] memory partials = _partials();
        partials[0] += 2 ** 30;
        bytes32 id = _challenge(header, _pairs(partials));
        _demand(0);
        _demand(1);
        _wait(30 minutes - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        court.dismiss(open, 0);
        _wait(30 minutes);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        court.uphold(open, header);
        _wait(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.DemandsOpen.selector, id, 2));
        court.uphold(open, header);
        court.dismiss(open, 0); // by anyone, for the one who demanded
        vm.assertEq(_credit(REFUTER), CHALLENGE / 2 + 1 ether);
        vm.assertFalse(court.standingOf(id).open);
        court.dismiss(open, 1); // only its bond comes back, twice that of the first
        vm.assertEq(_credit(REFUTER), CHALLENGE / 2 + 3 ether);
        vm.assertEq(_burned(), CHALLENGE / 2);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id, 1));
        court.dismiss(open, 1);
        vm.assertEq(_state().openChallenges, 0);
    }
}
