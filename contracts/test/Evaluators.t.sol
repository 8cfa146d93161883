// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {IEvaluators} from "../src/interfaces/IEvaluators.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {MOST} from "../src/types/Purse.sol";
import {Disputed} from "./world/Disputed.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {BadWallet, Wallet} from "./world/Wallets.sol";

/// @notice A task whose evaluators stake.
abstract contract Staked is Disputed {
    uint128 internal constant STAKE = 20 ether;
    bytes32 internal constant BACK = keccak256("Back(bytes32 taskId,address evaluator,address payer)");

    uint256 internal staking = 2; // so many of the three stake before the start

    function _terms() internal view virtual override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.evaluatorStake = STAKE;
    }

    function _evaluator(uint256 index) internal view returns (address) {
        return vm.addr(evaluatorKeys[index]);
    }

    function _stake(uint256 index) internal {
        _fund(_evaluator(index), STAKE);
        vm.prank(_evaluator(index));
        fairshare.stakeEvaluator(taskId, _evaluator(index), "");
    }

    /// @dev A started task with all clients in it, for which the first evaluators have staked.
    function _ready() internal {
        _open(_terms());
        for (uint256 i; i < clients.length; i++) {
            _join(i, 1 ether);
        }
        for (uint256 i; i < staking; i++) {
            _stake(i);
        }
        _start();
    }

    function _held(uint256 index) internal view returns (uint256) {
        return fairshare.backerOf(taskId, _evaluator(index)).stake;
    }

    function _revertsWith(bytes4 selector, bytes memory arguments) internal {
        vm.expectRevert(bytes.concat(selector, arguments));
    }

    /// @dev A posted round whose first leaf has a wei too much, made to fit by the second, and the proof of it.
    function _theft() internal returns (ITask.Header memory header) {
        int128[] memory scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (2 ** 30, 2 ** 31, 2 ** 32);
        header = _next(scores);
        (leaves[0].cumulative, leaves[1].cumulative) = (leaves[0].cumulative + 1, leaves[1].cumulative - 1);
        _reseal(header);
        _send(header);
    }

    function _prove(ITask.Header memory header) internal {
        ITask.Header memory before = headers.length > 1 ? headers[headers.length - 2] : header;
        ITask.Leaf memory leafBefore = earlier.length == 0 ? leaves[0] : earlier[0];
        ITask.Proof memory proofBefore = earlier.length == 0 ? _proof(0) : Tree.prove(earlier, 0);
        vm.prank(ANYONE);
        court.proveTransition(before, leafBefore, proofBefore, header, leaves[0], _proof(0));
    }

    function _slash(ITask.Header memory header) internal {
        vm.prank(ANYONE);
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    /// @dev A receipt of the coordinator's for bytes that nobody sent convicts it, and no evaluator could have known of it.
    function _omission(ITask.Header memory header) internal {
        bytes32 receipt = keccak256(
            abi.encode(
                keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)"),
                taskId, header.round, _client(0), keccak256("invented")
            )
        );
        court.proveOmission(
            header, leaves[0], _proof(0), keccak256("invented"), _sign(COORDINATOR_KEY, _typed(receipt))
        );
    }
}

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

contract SlashEvaluatorsTest is Staked {
    function test_whoSignedAnEvidentFraud_losesItsStakeToNobody() public {
        staking = 3;
        _ready();
        ITask.Header memory header = _theft();
        vm.expectEmit(address(fairshare));
        emit IDisputes.SignersAtFault(taskId, 1);
        _prove(header);
        vm.expectEmit(address(fairshare));
        emit IEvaluators.EvaluatorSlashed(taskId, _evaluator(0), 1, STAKE);
        _slash(header);
        vm.assertEq(_held(0), 0);
        vm.assertEq(_held(1), 0);
        vm.assertEq(_held(2), STAKE); // it did not sign
        vm.assertEq(_credit(ANYONE), 1 ether); // the bounty of the conviction, and no more
        vm.assertEq(_burned(), 2 * STAKE);
        fairshare.closeHalted(header);
        vm.assertEq(_state().pool, 1999 ether - _refunded());
        _wait(1 hours);
        fairshare.releaseEvaluator(taskId, _evaluator(2));
        _revertsWith(ITask.NothingStaked.selector, abi.encode(taskId, _evaluator(0)));
        fairshare.releaseEvaluator(taskId, _evaluator(0));
    }

    function _refunded() internal view returns (uint256) {
        return _credit(SPONSOR);
    }

    function test_slashEvaluators_skipsWhoWasSlashedAndWhoSignedNothing() public {
        staking = 3;
        _ready();
        ITask.Header memory header = _theft();
        _prove(header);
        ITask.Signature[] memory one = new ITask.Signature[](1);
        one[0] = _signed(header, 1)[0];
        fairshare.slashEvaluators(header, one);
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, one);
        _slash(header); // of two, one is left
        vm.assertEq(_burned(), 2 * STAKE);
        one[0] = _sign(0xBAD, _digest(header));
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, one);
        one[0] = ITask.Signature(bytes32(uint256(1)), bytes32(type(uint256).max)); // of nobody
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, one);
        one[0] = ITask.Signature(bytes32(uint256(uint160(_evaluator(2)))), 0); // as if it were a contract
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, one);
        vm.assertEq(_held(2), STAKE);
    }

    function test_slashEvaluators_revertsForARoundThatIsRight() public {
        _ready();
        ITask.Header memory header = _post();
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    /// @dev A header that the same evaluators signed and nobody posted, the same round's of another task, and another round's.
    function test_slashEvaluators_takesThePostedHeaderOfTheRoundAlone() public {
        _ready();
        ITask.Header memory right = _postFinal();
        ITask.Header memory header = _theft();
        _prove(header);
        ITask.Signature[] memory signatures = _signed(right, 2);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(right, signatures);
        // Signatures of another round, and of a header that was not posted, are of other addresses under this one.
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 2));
        fairshare.slashEvaluators(header, signatures);
        ITask.Header memory unposted = headers[1];
        unposted.bundle = keccak256("corrected");
        signatures = _signed(unposted, 2);
        _revertsWith(ITask.UnknownHeader.selector, abi.encode(taskId, 2, _hash(unposted)));
        fairshare.slashEvaluators(unposted, signatures);
        _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 2));
        fairshare.slashEvaluators(header, signatures);
        vm.assertEq(_held(0), STAKE);
    }

    function test_slashEvaluators_takesNoSignatureOfAnotherChainOrContract() public {
        _ready();
        ITask.Header memory header = _theft();
        _prove(header);
        bytes32 kept = domain;
        bytes32 typehash = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        (bytes32 name, bytes32 version) = (keccak256("Fairshare"), keccak256("1"));
        bytes32[2] memory others = [
            keccak256(abi.encode(typehash, name, version, block.chainid + 1, address(fairshare))),
            keccak256(abi.encode(typehash, name, version, block.chainid, address(1)))
        ];
        for (uint256 i; i < 2; i++) {
            domain = others[i];
            ITask.Signature[] memory signatures = _signed(header, 2);
            _revertsWith(IEvaluators.NobodyToSlash.selector, abi.encode(taskId, 1));
            fairshare.slashEvaluators(header, signatures);
        }
        domain = kept;
        _slash(header);
    }

    /// @dev Evaluators of one task sign in another, where the same keys staked: its fraud is not theirs there.
    function test_anEvaluatorOfTwoTasks_losesTheStakeOfTheOneItLiedIn() public {
        _ready();
        bytes32 first = taskId;
        ITask.Terms memory terms = _terms();
        terms.salt = "other";
        bytes32 second = _open(terms);
        _stake(0);
        taskId = first;
        (enrolment, cover) = (due = _state().enrolment, 0);
        ITask.Header memory header = _theft();
        _prove(header);
        _slash(header);
        vm.assertEq(fairshare.backerOf(second, _evaluator(0)).stake, STAKE);
    }

    /// @dev What only the coordinator could know costs it the bond, and evaluators nothing.
    function test_omissions_costNoEvaluatorItsStake() public {
        _ready();
        ITask.Header memory header = _post();
        _omission(header);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    function test_withheldLeaves_costNoEvaluatorItsStake() public {
        _ready();
        ITask.Header memory header = _post();
        _fund(ANYONE, 1 ether);
        vm.prank(ANYONE);
        court.requestLeaf(header, _client(0));
        _wait(30 minutes);
        court.upholdRequest(header, _client(0));
        vm.assertEq(_state().voidFrom, 1);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    /// @dev What fell between two rounds that are not neighbours may be the fraud of the one in between.
    function test_aCutAcrossARoundThatOpensToNobody_costsNoLaterEvaluatorItsStake() public {
        _ready();
        ITask.Header memory first = _post();
        ITask.Leaf memory before = leaves[2];
        ITask.Proof memory proofBefore = _proof(2);
        _post();
        int128[] memory scores = new int128[](3);
        scores[0] = 2 ** 30;
        ITask.Header memory header = _next(scores);
        (leaves[0].cumulative, leaves[2].cumulative) =
            (leaves[0].cumulative + leaves[2].cumulative - before.cumulative + 1, before.cumulative - 1);
        _reseal(header);
        _send(header);
        court.proveTransition(first, before, proofBefore, header, leaves[2], _proof(2));
        vm.assertEq(_state().voidFrom, 3);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 3));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    function test_theRoundsBehindAFraud_costTheirSignersNothing() public {
        _ready();
        ITask.Header memory header = _theft();
        ITask.Leaf[] memory lie = leaves;
        ITask.Header memory later = _post();
        (ITask.Leaf[] memory now_, uint256 count_) = (leaves, lie.length);
        delete leaves;
        for (uint256 i; i < count_; i++) {
            leaves.push(lie[i]);
        }
        delete earlier;
        court.proveTransition(header, lie[0], _proof(0), header, lie[0], _proof(0));
        vm.assertEq(_state().voidFrom, 1);
        vm.assertEq(now_.length, 3);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 2));
        fairshare.slashEvaluators(later, _signed(later, 2));
    }

    function test_aScoreThatAChallengeBroughtDown_costsWhoSignedIt() public {
        _ready();
        ITask.Header memory header = _round(1);
        _challenge(header, _partials());
        _wait(30 minutes);
        court.uphold(open, header);
        _slash(header);
        vm.assertEq(_burned(), 2 * STAKE);
    }

    function test_aFalseChallenge_thatIsRefutedCostsNoEvaluatorItsStake() public {
        _ready();
        ITask.Header memory header = _round(0);
        _challenge(header, _false(2));
        _refute(2, _false(2));
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    /// @dev A coordinator cannot save the evaluators that lied with it by convicting itself of something else.
    function test_convictingOneselfOfAnOmissionFirst_savesNoEvaluator() public {
        _ready();
        ITask.Header memory header = _theft();
        _omission(header);
        uint256 bond = _state().bond;
        vm.assertEq(bond, 1000 ether);
        _prove(header);
        vm.assertEq(_state().bond, bond); // no second verdict: no bounty, nothing else moves
        vm.assertEq(_credit(ANYONE), 0);
        vm.assertEq(_state().voidFrom, 1);
        _slash(header);
        vm.assertEq(_burned(), 2 * STAKE);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 1, 1));
        _prove(header); // once is enough
    }

    function test_aChallengeThatWasOpenWhenItsRoundWasVoided_stillCostsWhoSigned() public {
        _ready();
        ITask.Header memory header = _round(1);
        _challenge(header, _partials());
        _omission(header);
        _wait(30 minutes);
        court.uphold(open, header);
        vm.assertEq(_state().bond, 1000 ether);
        _slash(header);
        vm.assertEq(_burned(), 2 * STAKE);
    }

    /// @dev What was void is open to such proofs alone.
    function test_aVoidRound_isOpenToNoOtherProof() public {
        _ready();
        ITask.Header memory header = _post();
        _omission(header);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 1, 1));
        _omission(header);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoFraud.selector));
        _prove(header);
        header.bundle = keccak256("unposted");
        vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, _hash(header)));
        _prove(header);
    }

    function test_everyOtherEvidentFraud_costsWhoSigned() public {
        _ready();
        ITask.Header memory first = _post();
        int128[] memory scores = new int128[](3);
        ITask.Header memory header = _next(scores);
        header.baseModel = keccak256("another");
        _send(header);
        court.proveBrokenChain(first, header);
        _slash(header);
        vm.assertEq(_burned(), 2 * STAKE);
    }

    function test_disorderAndMissingAccounts_costWhoSigned() public {
        _ready();
        ITask.Header memory header = _next(new int128[](3));
        leaves[1].account = leaves[0].account;
        _reseal(header);
        _send(header);
        court.proveDisorder(header, leaves[0], _proof(0), leaves[1], _proof(1));
        _slash(header);
        vm.assertEq(_burned(), 2 * STAKE);
    }

    function test_withoutAStakeInTheTerms_aProofNotesNothingAndSeatsAreFree() public {
        ITask.Terms memory terms = _terms();
        terms.evaluatorStake = 0;
        _begin(terms);
        ITask.Header memory header = _theft();
        _prove(header);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 1, 1));
        _prove(header);
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, 1));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }
}

contract ContractEvaluatorTest is Staked {
    uint256 internal constant OWNER_KEY = 0x0E;
    address internal owner = vm.addr(OWNER_KEY);
    address internal wallet;

    function setUp() public override {
        super.setUp();
        wallet = address(new Wallet(owner));
    }

    /// @dev The wallet and the first two evaluators, ascending.
    function _named(address contract_) internal view returns (address[] memory named) {
        named = new address[](3);
        (named[0], named[1], named[2]) = (contract_, _evaluator(0), _evaluator(1));
        for (uint256 i; i < 2 && named[i] > named[i + 1]; i++) {
            (named[i], named[i + 1]) = (named[i + 1], named[i]);
        }
    }

    function _readyWith(address contract_) internal {
        ITask.Terms memory terms = _terms();
        terms.evaluators = _named(contract_);
        _open(terms);
        for (uint256 i; i < clients.length; i++) {
            _join(i, 1 ether);
        }
        _stake(0);
        _back(contract_);
        _start();
    }

    function _bytes(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev By its owner's order, or by itself if it takes none.
    function _back(address contract_) internal {
        _fund(contract_ == wallet ? owner : contract_, STAKE);
        bytes memory order = _bytes(OWNER_KEY, _typed(keccak256(abi.encode(BACK, taskId, contract_, owner))));
        vm.prank(contract_ == wallet ? owner : contract_);
        fairshare.stakeEvaluator(taskId, contract_, order);
    }

    function _as(address contract_) internal pure returns (ITask.Signature memory) {
        return ITask.Signature(bytes32(uint256(uint160(contract_))), 0);
    }

    /// @dev An evaluator's signature and the contract's, ascending.
    function _pair(ITask.Header memory header, address contract_)
        internal
        view
        returns (ITask.Signature[] memory signatures)
    {
        signatures = new ITask.Signature[](2);
        (signatures[0], signatures[1]) = (_sign(evaluatorKeys[0], _digest(header)), _as(contract_));
        if (contract_ < _evaluator(0)) (signatures[0], signatures[1]) = (signatures[1], signatures[0]);
    }

    function _approve(ITask.Header memory header) internal {
        fairshare.approveHeader(header, wallet, _bytes(OWNER_KEY, _digest(header)));
    }

    function test_aContract_stakesByItsOwnersOrderAndTheOwnerGetsItBack() public {
        _readyWith(wallet);
        vm.assertEq(fairshare.backerOf(taskId, wallet).payer, owner);
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseEvaluator(taskId, wallet);
        vm.assertEq(_credit(owner), STAKE);
    }

    function test_post_takesAContractThatApprovedTheHeader() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        ITask.Signature[] memory signatures = _pair(header, wallet);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, wallet));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        vm.expectEmit(address(fairshare));
        emit IEvaluators.HeaderApproved(taskId, wallet, 1, _digest(header));
        _approve(header);
        vm.assertTrue(fairshare.isApproved(_digest(header), wallet));
        Wallet(wallet).setOwner(address(1)); // what it says later changes nothing
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().posted, 1);
    }

    function test_approvalAndPost_fitIntoOneTransaction() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(fairshare.approveHeader, (header, wallet, _bytes(OWNER_KEY, _digest(header))));
        calls[1] = abi.encodeCall(fairshare.post, (header, _pair(header, wallet), cover));
        vm.prank(COORDINATOR);
        fairshare.multicall(calls);
        vm.assertEq(_state().posted, 1);
    }

    function test_post_countsAContractOnce() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        _approve(header);
        ITask.Signature[] memory twice = new ITask.Signature[](2);
        (twice[0], twice[1]) = (_as(wallet), _as(wallet));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, wallet, wallet));
        vm.prank(COORDINATOR);
        fairshare.post(header, twice, cover);
        twice[1].r |= bytes32(uint256(1) << 160); // the same address, written otherwise
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, wallet, wallet));
        vm.prank(COORDINATOR);
        fairshare.post(header, twice, cover);
    }

    function test_anApproval_isOfOneHeader() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        _approve(header);
        header.bundle = keccak256("another");
        ITask.Signature[] memory signatures = _pair(header, wallet);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, wallet));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
    }

    function test_approveHeader_isForTheNextRoundOfAStartedTask() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        bytes memory signature = _bytes(OWNER_KEY, _digest(header));
        fairshare.approveHeader(header, wallet, signature);
        ITask.Signature[] memory signatures = _pair(header, wallet);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        // Never after the post: nobody can be made to have signed.
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 1, 2, 3));
        fairshare.approveHeader(header, wallet, signature);
        header.round = 3;
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundOutOfOrder.selector, 3, 2, 3));
        fairshare.approveHeader(header, wallet, signature);
        header.taskId = keccak256("none");
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, header.taskId, ITask.Status.None, ITask.Status.Started)
        );
        fairshare.approveHeader(header, wallet, signature);
    }

    function test_approveHeader_revertsForWhoHasNoSeat() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        address stranger = address(new Wallet(owner));
        bytes memory signature = _bytes(OWNER_KEY, _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, stranger));
        fairshare.approveHeader(header, stranger, signature);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotEvaluator.selector, _evaluator(1))); // it did not stake
        fairshare.approveHeader(header, _evaluator(1), signature);
    }

    function test_approveHeader_revertsForAnotherKeyHeaderChainOrContract() public {
        _readyWith(wallet);
        ITask.Header memory header = _next(new int128[](3));
        bytes32 digest = _digest(header);
        bytes[] memory wrong = new bytes[](4);
        wrong[0] = _bytes(0xBAD, digest);
        wrong[1] = "";
        bytes32 kept = domain;
        domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Fairshare"), keccak256("1"), block.chainid + 1, address(fairshare)
            )
        );
        wrong[2] = _bytes(OWNER_KEY, _digest(header));
        domain = kept;
        ITask.Header memory other = _next(new int128[](3));
        other.bundle = keccak256("other");
        wrong[3] = _bytes(OWNER_KEY, _digest(other));
        for (uint256 i; i < wrong.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, wallet, digest));
            fairshare.approveHeader(header, wallet, wrong[i]);
        }
    }

    /// @dev A wallet that reverts, eats gas or answers anything but the magic value loses its own signature and nothing else.
    function testFuzz_aWalletThatAnswersWrongly_losesItsOwnSignatureAlone(uint8 seed) public {
        address bad = address(new BadWallet(BadWallet.Kind(seed % 8)));
        _readyWith(bad);
        ITask.Header memory header = _next(new int128[](3));
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, bad, _digest(header)));
        fairshare.approveHeader{gas: 800_000}(header, bad, "");
        vm.assertLe(vm.lastCallGas().gasTotalUsed, 620_000);
        _stake(1);
        ITask.Signature[] memory signatures = _signed(header, 2); // the others are enough
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().posted, 1);
    }

    function test_anAccountWithoutCode_cannotApproveAsAContract() public {
        _readyWith(wallet);
        _stake(1);
        ITask.Header memory header = _next(new int128[](3));
        bytes memory signature = _bytes(evaluatorKeys[1], _digest(header));
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, _evaluator(1), _digest(header)));
        fairshare.approveHeader(header, _evaluator(1), signature);
    }

    function test_aContractThatApprovedAFraud_losesItsStakeWhateverItSaysLater() public {
        _readyWith(wallet);
        int128[] memory scores = new int128[](3);
        (scores[0], scores[1]) = (2 ** 30, 2 ** 31);
        ITask.Header memory header = _next(scores);
        (leaves[0].cumulative, leaves[1].cumulative) = (leaves[0].cumulative + 1, leaves[1].cumulative - 1);
        _reseal(header);
        _approve(header);
        ITask.Signature[] memory signatures = _pair(header, wallet);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        headers.push(header);
        Wallet(wallet).setOwner(address(1));
        _prove(header);
        fairshare.slashEvaluators(header, signatures);
        vm.assertEq(fairshare.backerOf(taskId, wallet).stake, 0);
        vm.assertEq(_held(0), 0);
        vm.assertEq(_burned(), 2 * STAKE);
    }

    function test_aContractWhoseApprovalWasNotNeeded_answersForItAllTheSame() public {
        _readyWith(wallet);
        _stake(1);
        int128[] memory scores = new int128[](3);
        (scores[0], scores[1]) = (2 ** 30, 2 ** 31);
        ITask.Header memory header = _next(scores);
        (leaves[0].cumulative, leaves[1].cumulative) = (leaves[0].cumulative + 1, leaves[1].cumulative - 1);
        _reseal(header);
        _approve(header);
        _send(header);
        _prove(header);
        ITask.Signature[] memory one = new ITask.Signature[](1);
        one[0] = _as(wallet);
        fairshare.slashEvaluators(header, one);
        vm.assertEq(_burned(), STAKE);
    }

    function test_aContractEvaluator_needsNoStakeWhereTheTermsNameNone() public {
        ITask.Terms memory terms = _terms();
        (terms.evaluatorStake, terms.evaluators) = (0, _named(wallet));
        _begin(terms);
        bytes memory order = _bytes(OWNER_KEY, _typed(keccak256(abi.encode(BACK, taskId, wallet, owner))));
        vm.prank(owner);
        fairshare.stakeEvaluator(taskId, wallet, order); // says who speaks for it
        vm.assertEq(fairshare.backerOf(taskId, wallet).payer, owner);
        vm.assertEq(fairshare.backerOf(taskId, wallet).stake, 0);
        ITask.Header memory header = _next(new int128[](3));
        _approve(header);
        ITask.Signature[] memory signatures = _pair(header, wallet);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        vm.assertEq(_state().posted, 1);
    }
}
