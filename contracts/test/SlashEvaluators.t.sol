// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {IEvaluators} from "../src/interfaces/IEvaluators.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {vm} from "./world/Vm.sol";
import {Staked} from "./world/Staked.sol";

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
        _costsNobody(header, 1);
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
        _costsNobody(header, 1);
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
        _costsNobody(header, 1);
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
        ITask.Proof memory proof = _proof(2);
        court.proveTransition(first, before, proofBefore, header, leaves[2], proof);
        vm.assertEq(_state().voidFrom, 3);
        _costsNobody(header, 3);
        // Of a void round only what its evaluators could have seen is still taken.
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundVoid.selector, 3, 3));
        court.proveTransition(first, before, proofBefore, header, leaves[2], proof);
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
        _costsNobody(later, 2);
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
        _costsNobody(header, 1);
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
        _costsNobody(header, 1);
    }
}
