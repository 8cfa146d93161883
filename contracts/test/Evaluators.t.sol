// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IEvaluators} from "../src/interfaces/IEvaluators.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {MOST} from "../src/types/Purse.sol";
import {vm} from "./world/Vm.sol";
import {Staked} from "./world/Staked.sol";

contract EvaluatorStakeTest is Staked {
    function test_open_revertsIfTheStakeIsOutOfRange() public {
        ITask.Terms memory terms = _terms();
        terms.evaluatorStake = uint128(MOST) + 1;
        vm.expectRevert(
            abi.encodeWithSelector(ITask.TermOutOfRange.selector, bytes32("evaluatorStake"), MOST + 1, 0, MOST)
        );
        vm.prank(SPONSOR);
        fairshare.open(terms);
    }

    function test_task_tellsTheStakeOfAnEvaluator() public {
        _open(_terms());
        (ITask.Terms memory terms,) = fairshare.task(taskId);
        vm.assertEq(terms.evaluatorStake, STAKE);
    }

    function test_stakeEvaluator_escrowsTheEvaluatorsOwn() public {
        _open(_terms());
        _fund(_evaluator(0), STAKE);
        vm.expectEmit(address(fairshare));
        emit IEvaluators.EvaluatorStaked(taskId, _evaluator(0), _evaluator(0), STAKE);
        vm.prank(_evaluator(0));
        fairshare.stakeEvaluator(taskId, _evaluator(0), "");
        IEvaluators.Backer memory backer = fairshare.backerOf(taskId, _evaluator(0));
        vm.assertEq(backer.payer, _evaluator(0));
        vm.assertEq(backer.stake, STAKE);
        vm.assertEq(token.balanceOf(_evaluator(0)), 0);
    }

    function test_stakeEvaluator_revertsWithoutTheTokens() public {
        _open(_terms());
        vm.prank(_evaluator(0));
        token.approve(address(fairshare), STAKE);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, _evaluator(0), 0, STAKE)
        );
        vm.prank(_evaluator(0));
        fairshare.stakeEvaluator(taskId, _evaluator(0), "");
    }

    function test_stakeEvaluator_revertsForWhomTheTermsDoNotName() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, ANYONE));
        vm.prank(ANYONE);
        fairshare.stakeEvaluator(taskId, ANYONE, "");
    }

    function test_stakeEvaluator_revertsIfItStakedBefore() public {
        _open(_terms());
        _stake(0);
        _revertsWith(IEvaluators.AlreadyBacked.selector, abi.encode(taskId, _evaluator(0), _evaluator(0)));
        vm.prank(_evaluator(0));
        fairshare.stakeEvaluator(taskId, _evaluator(0), "");
    }

    function test_stakeEvaluator_revertsOnceTheTaskIsOver() public {
        _ready();
        _wait(1 days);
        fairshare.expire(taskId);
        vm.expectRevert(
            abi.encodeWithSelector(
                ITask.WrongStatus.selector, taskId, ITask.Status.Closed, ITask.Status.Started
            )
        );
        vm.prank(_evaluator(2));
        fairshare.stakeEvaluator(taskId, _evaluator(2), "");
    }

    /// @dev Else a stranger could make an absent evaluator look present, and a coordinator start for nothing.
    function test_stakeEvaluator_ofAnotherNeedsItsOrderForThisTaskAndPayer() public {
        _open(_terms());
        _fund(ANYONE, STAKE);
        bytes32 digest = _typed(keccak256(abi.encode(BACK, taskId, _evaluator(0), ANYONE)));
        bytes[] memory wrong = new bytes[](3);
        wrong[0] = _bytes(evaluatorKeys[1], digest);
        wrong[1] = _bytes(evaluatorKeys[0], _typed(keccak256(abi.encode(BACK, taskId, _evaluator(0), SPONSOR))));
        wrong[2] = _bytes(evaluatorKeys[0], _typed(keccak256(abi.encode(BACK, keccak256("other"), _evaluator(0), ANYONE))));
        for (uint256 i; i < wrong.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, _evaluator(0), digest));
            vm.prank(ANYONE);
            fairshare.stakeEvaluator(taskId, _evaluator(0), wrong[i]);
        }
        vm.prank(ANYONE);
        fairshare.stakeEvaluator(taskId, _evaluator(0), _bytes(evaluatorKeys[0], digest));
        vm.assertEq(fairshare.backerOf(taskId, _evaluator(0)).payer, ANYONE);
        // It goes home to who paid it.
        vm.prank(_evaluator(0));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        vm.assertEq(_credit(ANYONE), STAKE);
    }

    function _bytes(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function test_start_revertsUntilAQuorumHasStaked() public {
        staking = 1;
        _open(_terms());
        _join(0, 1 ether);
        _stake(2);
        _fund(COORDINATOR, 1000 ether);
        _revertsWith(IEvaluators.EvaluatorsMissing.selector, abi.encode(taskId, 1, 2));
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
        _stake(0);
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
    }

    function test_anAbsentEvaluator_stopsNeitherStartNorPost() public {
        _ready();
        _post();
        vm.assertEq(_state().posted, 1);
    }

    /// @dev Known, and in SECURITY.md: posting rests on them too. Of the two that staked one signs nothing; its stake comes home,
    /// the sponsor has what no round promised, and the bond that pays for it is the coordinator's.
    function test_anEvaluatorThatSignsNothing_costsAnHonestCoordinatorItsBondWhereOnlyAQuorumStaked() public {
        _ready();
        ITask.Header memory first = _round(0);
        _wait(1 hours);
        ITask.Header memory header = _next(new int128[](3));
        ITask.Signature[] memory alone = _signed(header, 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.QuorumNotReached.selector, 1, 2));
        vm.prank(COORDINATOR);
        fairshare.post(header, alone, cover);
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseEvaluator(taskId, _evaluator(1));
        vm.assertEq(_credit(_evaluator(1)), STAKE);
        vm.assertEq(_credit(SPONSOR), 1000 ether - first.cumulative);
        vm.assertEq(_credit(COORDINATOR), 0);
    }

    function test_post_takesNoSignatureOfAnEvaluatorThatDidNotStake() public {
        _ready();
        int128[] memory scores = new int128[](3);
        ITask.Header memory header = _next(scores);
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        signatures[0] = _sign(evaluatorKeys[1], _digest(header));
        signatures[1] = _sign(evaluatorKeys[2], _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, _evaluator(2)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        _stake(2); // late, and it counts from now on
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
    }

    function test_aLateEvaluator_countsUnderWhatTheTermsHaveBecome() public {
        _ready();
        _fund(SPONSOR, 500 ether);
        vm.prank(SPONSOR);
        fairshare.addBudget(taskId, 500 ether);
        _post();
        _stake(2);
        int128[] memory scores = new int128[](3);
        scores[0] = 2 ** 30;
        ITask.Header memory header = _next(scores);
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        signatures[0] = _sign(evaluatorKeys[0], _digest(header));
        signatures[1] = _sign(evaluatorKeys[2], _digest(header));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().cumulative, header.cumulative);
    }

    function test_takeCoordinator_seatsWhoStakedAndNobodyElse() public {
        _ready();
        address next = address(0xBEEF);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
        int128[] memory scores = new int128[](3);
        ITask.Header memory header = _next(scores);
        ITask.Signature[] memory signatures = new ITask.Signature[](2);
        signatures[0] = _sign(evaluatorKeys[1], _digest(header));
        signatures[1] = _sign(evaluatorKeys[2], _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, _evaluator(2)));
        vm.prank(next);
        fairshare.post(header, signatures, cover);
        signatures = _signed(header, 2);
        vm.prank(next);
        fairshare.post(header, signatures, cover);
    }

    function test_releaseEvaluator_beforeTheStartIsTheEvaluatorsAndForGood() public {
        _open(_terms());
        _stake(0);
        _revertsWith(ITask.StillAtStake.selector, abi.encode(taskId, _evaluator(0), 0));
        vm.prank(ANYONE);
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        vm.expectEmit(address(fairshare));
        emit IEvaluators.EvaluatorReleased(taskId, _evaluator(0), _evaluator(0), STAKE);
        vm.prank(_evaluator(0));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        vm.assertEq(_credit(_evaluator(0)), STAKE);
        _revertsWith(ITask.NothingStaked.selector, abi.encode(taskId, _evaluator(0)));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        _revertsWith(IEvaluators.AlreadyBacked.selector, abi.encode(taskId, _evaluator(0), _evaluator(0)));
        vm.prank(_evaluator(0));
        fairshare.stakeEvaluator(taskId, _evaluator(0), "");
        // It neither counts for the start nor signs.
        _join(0, 1 ether);
        _join(1, 1 ether);
        _join(2, 1 ether);
        _stake(1);
        _fund(COORDINATOR, 1000 ether);
        _revertsWith(IEvaluators.EvaluatorsMissing.selector, abi.encode(taskId, 1, 2));
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
        _stake(2);
        _start();
        ITask.Header memory header = _next(new int128[](3));
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, _evaluator(0)));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
    }

    function test_releaseEvaluator_waitsForTheEndOfTheTask() public {
        _ready();
        _post();
        _post();
        _post();
        vm.expectRevert(abi.encodeWithSelector(ITask.StillAtStake.selector, taskId, _evaluator(0), 0));
        vm.prank(_evaluator(0));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        _wait(1 hours);
        fairshare.close(taskId);
        vm.prank(ANYONE);
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        vm.assertEq(_credit(_evaluator(0)), STAKE);
        fairshare.withdrawFor(address(token), _evaluator(0));
        vm.assertEq(token.balanceOf(_evaluator(0)), STAKE);
    }

    function test_releaseEvaluator_comesHomeFromATaskThatNeverStartedOrFellSilent() public {
        _open(_terms());
        _stake(0);
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        vm.assertEq(_credit(_evaluator(0)), STAKE);
    }

    /// @dev Once the close is a challenge window ago, nobody can slash; until then anyone can.
    function test_releaseEvaluator_waitsAWindowAfterTheCloseOfAHaltedTask() public {
        _ready();
        ITask.Header memory header = _theft();
        _omission(header);
        fairshare.closeHalted(header); // there is no valid round to wait for
        uint256 earliest = clock + 1 hours;
        _wait(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, earliest));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        _wait(1);
        fairshare.releaseEvaluator(taskId, _evaluator(0));
        _prove(header);
        _slash(header);
        vm.assertEq(_credit(_evaluator(0)), STAKE);
        vm.assertEq(_held(1), 0);
        vm.assertEq(_burned(), STAKE);
    }
}
