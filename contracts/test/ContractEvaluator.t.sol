// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IEvaluators} from "../src/interfaces/IEvaluators.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {vm} from "./world/Vm.sol";
import {BadWallet, Wallet} from "./world/Wallets.sol";
import {Staked} from "./world/Staked.sol";

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
