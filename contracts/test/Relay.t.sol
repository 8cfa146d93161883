// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice A smart account that takes one digest as signed by it.
contract SmartAccount {
    bytes32 public signed;

    function setSigned(bytes32 digest) external {
        signed = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == signed ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @notice joinFor and claimTo: accounts without ETH, served by a relayer who is ANYONE.
contract RelayTest is World {
    address internal constant ELSEWHERE = address(0xE15E);

    function _long(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return bytes.concat(r, s, bytes1(v));
    }

    /* joinFor */

    function _joinDigest(ITask.Enrolment memory e) internal view returns (bytes32) {
        return _typed(
            keccak256(
                abi.encode(
                    keccak256(
                        "Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,bytes32 dataset,uint128 fee,uint40 deadline)"
                    ),
                    taskId,
                    e.account,
                    e.stake,
                    keccak256(e.nodeKey),
                    e.dataset,
                    e.fee,
                    e.deadline
                )
            )
        );
    }

    function _enrolment(uint128 fee) internal view returns (ITask.Enrolment memory e) {
        e = ITask.Enrolment(_client(0), 2 ether, "key", keccak256("data"), fee, uint40(clock + 60), "");
        e.signature = _long(keyOf[e.account], _joinDigest(e));
    }

    function _permit(uint256 value) internal view returns (ITask.Permit memory p) {
        address account = _client(0);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                account,
                address(fairshare),
                value,
                token.nonces(account),
                clock + 60
            )
        );
        bytes32 digest = keccak256(bytes.concat(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        (p.value, p.deadline) = (value, clock + 60);
        (p.v, p.r, p.s) = vm.sign(keyOf[account], digest);
    }

    function test_joinFor_enrolsAnAccountWithoutEthAndPaysTheRelayer() public {
        _open(_terms());
        token.mint(_client(0), 2.5 ether); // no approve: that would take a transaction
        ITask.Enrolment memory e = _enrolment(0.5 ether);
        ITask.Permit memory permit = _permit(2.5 ether);
        vm.prank(ANYONE);
        vm.assertEq(fairshare.joinFor(taskId, e, permit, new bytes32[](0)), 1);
        ITask.Client memory client = fairshare.clientOf(taskId, _client(0));
        vm.assertEq(client.stake, 2 ether);
        vm.assertEq(token.balanceOf(ANYONE), 0.5 ether);
        vm.assertEq(token.balanceOf(_client(0)), 0);
    }

    function test_joinFor_worksThoughThePermitWasUsedByAnother() public {
        _open(_terms());
        token.mint(_client(0), 2 ether);
        ITask.Permit memory p = _permit(2 ether);
        token.permit(_client(0), address(fairshare), p.value, p.deadline, p.v, p.r, p.s); // a front-runner
        fairshare.joinFor(taskId, _enrolment(0), p, new bytes32[](0));
        vm.assertEq(fairshare.clientOf(taskId, _client(0)).stake, 2 ether);
    }

    function test_joinFor_revertsWithoutAnAllowance() public {
        _open(_terms());
        token.mint(_client(0), 2 ether);
        ITask.Enrolment memory e = _enrolment(0);
        ITask.Permit memory none;
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(fairshare), 0, 2 ether)
        );
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
    }

    function test_joinFor_revertsIfThereIsNoTask() public {
        ITask.Permit memory none;
        ITask.Enrolment memory e = _enrolment(0);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, ITask.Status.None, ITask.Status.Started)
        );
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
    }

    function test_joinFor_revertsAfterItsDeadline() public {
        _open(_terms());
        ITask.Enrolment memory e = _enrolment(0);
        ITask.Permit memory none;
        _wait(61);
        vm.expectRevert(abi.encodeWithSelector(ITask.SignatureExpired.selector, clock, clock - 1));
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
    }

    function test_joinFor_revertsIfAnyOfItWasChanged() public {
        _open(_terms());
        ITask.Permit memory none;
        for (uint256 i; i < 6; i++) {
            ITask.Enrolment memory e = _enrolment(0);
            if (i == 0) e.account = _client(1);
            if (i == 1) e.stake += 1;
            if (i == 2) e.nodeKey = "the relayer's node";
            if (i == 3) e.dataset = 0;
            if (i == 4) e.fee += 1;
            if (i == 5) e.deadline += 1;
            vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, e.account, _joinDigest(e)));
            fairshare.joinFor(taskId, e, none, new bytes32[](0));
        }
    }

    /// @dev Else whoever saw the order could enrol the account again as often as it leaves, for the fee each time.
    function test_joinFor_isNoGoodForWhoLeftBeforeTheStart() public {
        _open(_terms());
        _fund(_client(0), 10 ether);
        ITask.Enrolment memory e = _enrolment(0.5 ether);
        ITask.Permit memory none;
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
        vm.prank(_client(0));
        fairshare.leave(taskId);
        address account = _client(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.AlreadyLeft.selector, taskId, account, 1));
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
        vm.assertEq(token.balanceOf(account), 7.5 ether);
        // By itself it can.
        vm.prank(account);
        fairshare.join(taskId, 1 ether, "", 0, new bytes32[](0));
        vm.prank(account);
        fairshare.leave(taskId);
        e = _enrolment(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.AlreadyLeft.selector, taskId, account, 1));
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
    }

    function test_joinFor_takesTheWordOfASmartAccount() public {
        _open(_terms());
        SmartAccount account = new SmartAccount();
        _fund(address(account), 2 ether);
        ITask.Enrolment memory e =
            ITask.Enrolment(address(account), 2 ether, "key", keccak256("data"), 0, uint40(clock + 60), "");
        ITask.Permit memory none;
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, address(account), _joinDigest(e)));
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
        account.setSigned(_joinDigest(e));
        fairshare.joinFor(taskId, e, none, new bytes32[](0));
        vm.assertEq(fairshare.clientOf(taskId, address(account)).stake, 2 ether);
    }

    /* claimTo */

    function _redirectDigest(uint32 round, address account, ITask.Redirect memory r) internal view returns (bytes32) {
        return _typed(
            keccak256(
                abi.encode(
                    keccak256(
                        "Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline)"
                    ),
                    taskId,
                    round,
                    account,
                    r.recipient,
                    r.fee,
                    r.deadline
                )
            )
        );
    }

    function _redirect(uint32 round, uint128 fee) internal view returns (ITask.Redirect memory r) {
        r = ITask.Redirect(ELSEWHERE, fee, uint40(clock + 60), "");
        r.signature = _long(keyOf[_client(1)], _redirectDigest(round, _client(1), r));
    }

    function test_claimTo_paysWhereTheAccountSaidAndTheRelayer() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, 3 ether);
        ITask.Proof memory proof = _proof(1);
        vm.expectEmit(address(fairshare));
        emit ITask.Redirected(taskId, 1, _client(1), ELSEWHERE, ANYONE, 3 ether);
        vm.prank(ANYONE);
        uint256 amount = fairshare.claimTo(payroll(header), leaves[1], proof, r);
        vm.assertEq(amount, leaves[1].cumulative);
        vm.assertEq(token.balanceOf(ELSEWHERE), amount - 3 ether);
        vm.assertEq(token.balanceOf(ANYONE), 3 ether);
        vm.assertEq(token.balanceOf(_client(1)), 0);
    }

    function test_claimTo_takesTheWordOfASmartAccount() public {
        SmartAccount account = new SmartAccount();
        // In the place of client 1, wherever its address sorts.
        address[] memory all = new address[](3);
        (all[0], all[1], all[2]) = (address(account), clients[0], clients[2]);
        uint256 at;
        for (; at < 2 && all[at] > all[at + 1]; at++) {
            (all[at], all[at + 1]) = (all[at + 1], all[at]);
        }
        clients = all;
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = ITask.Redirect(ELSEWHERE, 0, uint40(clock + 60), "");
        ITask.Proof memory proof = _proof(at);
        bytes32 digest = _redirectDigest(1, address(account), r);
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, address(account), digest));
        fairshare.claimTo(payroll(header), leaves[at], proof, r);
        account.setSigned(_redirectDigest(2, address(account), r)); // its word for another round
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, address(account), digest));
        fairshare.claimTo(payroll(header), leaves[at], proof, r);
        account.setSigned(digest);
        vm.assertEq(fairshare.claimTo(payroll(header), leaves[at], proof, r), leaves[at].cumulative);
        vm.assertEq(token.balanceOf(ELSEWHERE), leaves[at].cumulative);
        vm.assertEq(token.balanceOf(address(account)), 0);
    }

    function test_claimTo_revertsIfItIsUsedAgainOrForAnotherRound() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, 0);
        fairshare.claimTo(payroll(header), leaves[1], _proof(1), r);
        uint256 earned = leaves[1].cumulative;
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingToClaim.selector, _client(1), earned, earned));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
        r.deadline = uint40(clock + 2 hours);
        r.signature = _long(keyOf[_client(1)], _redirectDigest(1, _client(1), r));
        header = _postFinal();
        proof = _proof(1);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.BadSignature.selector, _client(1), _redirectDigest(2, _client(1), r))
        );
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    /// @dev Else the relayer could take its fee again from the account's share of a pool that came to be shared since.
    function test_claimTo_isUsedUpThoughAPoolCameToBeShared() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = ITask.Redirect(ELSEWHERE, 3 ether, uint40(clock + 2 days), "");
        r.signature = _long(keyOf[_client(1)], _redirectDigest(1, _client(1), r));
        ITask.Proof memory proof = _proof(1);
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
        _wait(1 days);
        fairshare.expire(taskId);
        uint256 earned = leaves[1].cumulative;
        vm.expectRevert(abi.encodeWithSelector(ITask.NothingToClaim.selector, _client(1), earned, earned));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
        vm.assertGe(fairshare.claim(payroll(header), leaves[1], proof), 1 ether);
        // One that was not used takes both.
        r.signature = _long(keyOf[_client(2)], _redirectDigest(1, _client(2), r));
        vm.assertGe(fairshare.claimTo(payroll(header), leaves[2], _proof(2), r), uint256(leaves[2].cumulative) + 1 ether);
    }

    function test_claimTo_revertsIfAnyOfItWasChanged() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Proof memory proof = _proof(1);
        for (uint256 i; i < 3; i++) {
            ITask.Redirect memory r = _redirect(1, 0);
            if (i == 0) r.recipient = ANYONE;
            if (i == 1) r.fee += 1;
            if (i == 2) r.deadline += 1;
            vm.expectRevert(
                abi.encodeWithSelector(ITask.BadSignature.selector, _client(1), _redirectDigest(1, _client(1), r))
            );
            fairshare.claimTo(payroll(header), leaves[1], proof, r);
        }
    }

    function test_claimTo_revertsIfTheLeafIsNotInTheTree() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, 0);
        ITask.Proof memory proof = _proof(1);
        ITask.Leaf[] memory changed = leaves;
        changed[1].cumulative += 1;
        bytes32 wrong = Tree.root(changed).node;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongRoot.selector, wrong, header.treeRoot));
        fairshare.claimTo(payroll(header), changed[1], proof, r);
    }

    function test_claimTo_revertsForAnotherAccountsLeaf() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, 0);
        ITask.Proof memory proof = _proof(2);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.BadSignature.selector, _client(2), _redirectDigest(1, _client(2), r))
        );
        fairshare.claimTo(payroll(header), leaves[2], proof, r);
    }

    function test_claimTo_revertsAfterItsDeadline() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, 0);
        ITask.Proof memory proof = _proof(1);
        _wait(61);
        vm.expectRevert(abi.encodeWithSelector(ITask.SignatureExpired.selector, clock, clock - 1));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    function test_claimTo_isGoodInTheLastSecond() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, uint128(leaves[1].cumulative)); // and all of it may be the fee
        ITask.Proof memory proof = _proof(1);
        _wait(60);
        vm.prank(ANYONE);
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
        vm.assertEq(token.balanceOf(ANYONE), leaves[1].cumulative);
    }

    function test_claimTo_revertsIfTheFeeIsMoreThanThePay() public {
        _begin();
        ITask.Header memory header = _postFinal();
        uint256 earned = leaves[1].cumulative;
        ITask.Redirect memory r = _redirect(1, uint128(earned + 1));
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.FeeAboveAmount.selector, earned + 1, earned));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    function test_claimTo_revertsUntilTheRoundIsFinal() public {
        _begin();
        ITask.Header memory header = _post();
        ITask.Redirect memory r = _redirect(1, 0);
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.RoundNotFinal.selector, 1, clock + 1 hours));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    /* a standing payee */

    function _setRecipient(uint256 client, address recipient) internal {
        vm.prank(_client(client));
        fairshare.setRecipient(taskId, recipient);
    }

    function test_setRecipient_isHonouredByEveryWayOfBeingPaid() public {
        _begin();
        vm.expectEmit(address(fairshare));
        emit ITask.RecipientSet(taskId, _client(1), ELSEWHERE);
        _setRecipient(1, ELSEWHERE);
        vm.assertEq(fairshare.clientOf(taskId, _client(1)).recipient, ELSEWHERE);
        uint256 earned;
        for (uint256 i; i < 3; i++) {
            ITask.Header memory header = _postFinal();
            if (i == 0) fairshare.claim(payroll(header), leaves[1], _proof(1));
            if (i == 1) fairshare.claimRange(payroll(header), 0, leaves, "");
            if (i == 2) {
                ITask.Leaf[] memory one = new ITask.Leaf[](1);
                ITask.Proof[] memory proofs = new ITask.Proof[](1);
                (one[0], proofs[0]) = (leaves[1], _proof(1));
                fairshare.claimBatch(payroll(header), one, proofs);
            }
            earned = leaves[1].cumulative;
            vm.assertEq(token.balanceOf(ELSEWHERE), earned);
        }
        fairshare.close(taskId);
        fairshare.release(taskId, _client(1));
        vm.assertEq(_credit(ELSEWHERE), 1 ether);
        vm.assertEq(token.balanceOf(_client(1)), 0);
    }

    function test_setRecipient_isHonouredByReleaseRangeAndByLeaving() public {
        _begin();
        _setRecipient(1, ELSEWHERE);
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseRange(taskId, clients);
        vm.assertEq(token.balanceOf(ELSEWHERE), 1 ether + uint256(1000 ether) / 3);
        ITask.Terms memory terms = _terms();
        terms.salt = keccak256("another");
        _open(terms);
        _join(1, 2 ether);
        _setRecipient(1, ELSEWHERE);
        _leave(1);
        vm.assertEq(_credit(ELSEWHERE), 2 ether);
    }

    function test_aStolenKey_cannotTakeBackWhatWasRedirected() public {
        _begin();
        _setRecipient(1, ELSEWHERE);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotRecipient.selector, _client(1), ELSEWHERE));
        _setRecipient(1, _client(1));
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = ITask.Redirect(ANYONE, 0, uint40(clock + 60), "");
        bytes32 digest = _redirectDigest(1, _client(1), r);
        r.signature = _long(keyOf[_client(1)], digest);
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, ELSEWHERE, digest));
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    /// @dev The order leads to the payee, but its fee is all of the pay, and goes to the thief, who sends it.
    function test_aStolenKey_takesNothingOfAPayeesForItsFee() public {
        _begin();
        _setRecipient(1, ELSEWHERE);
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = _redirect(1, leaves[1].cumulative);
        ITask.Proof memory proof = _proof(1);
        bytes32 digest = _redirectDigest(1, _client(1), r);
        vm.expectRevert(abi.encodeWithSelector(ITask.BadSignature.selector, ELSEWHERE, digest));
        vm.prank(ANYONE);
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
    }

    function test_claimTo_isThePayeesOrderWhereThereIsOne() public {
        _begin();
        (uint256 key, address account) = (0x9A1E, _client(1));
        _setRecipient(1, vm.addr(key));
        ITask.Header memory header = _postFinal();
        ITask.Redirect memory r = ITask.Redirect(ELSEWHERE, 3 ether, uint40(clock + 60), "");
        r.signature = _long(key, _redirectDigest(1, account, r));
        ITask.Proof memory proof = _proof(1);
        vm.prank(ANYONE);
        fairshare.claimTo(payroll(header), leaves[1], proof, r);
        vm.assertEq(token.balanceOf(ELSEWHERE), leaves[1].cumulative - 3 ether);
        vm.assertEq(token.balanceOf(ANYONE), 3 ether);
    }

    function test_aStolenKey_shakesNoPayeeOffByLeavingAndComingBack() public {
        _open(_terms());
        _join(1, 1 ether);
        _setRecipient(1, ELSEWHERE);
        _leave(1);
        _join(1, 2 ether);
        vm.assertEq(fairshare.clientOf(taskId, _client(1)).recipient, ELSEWHERE);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotRecipient.selector, _client(1), ELSEWHERE));
        _setRecipient(1, _client(1));
        _leave(1);
        vm.assertEq(_credit(ELSEWHERE), 3 ether);
    }

    function test_passRecipient_isThePayeesAlone() public {
        _begin();
        _setRecipient(1, ELSEWHERE);
        address account = _client(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotRecipient.selector, ANYONE, ELSEWHERE));
        vm.prank(ANYONE);
        fairshare.passRecipient(taskId, account, ANYONE);
        vm.prank(ELSEWHERE);
        fairshare.passRecipient(taskId, account, account); // back to itself
        vm.assertEq(fairshare.clientOf(taskId, account).recipient, address(0));
        _setRecipient(1, ANYONE);
        vm.assertEq(fairshare.clientOf(taskId, account).recipient, ANYONE);
    }

    function test_setRecipient_revertsForNobodyAndForAStranger() public {
        _begin();
        address account = _client(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotRecipient.selector, address(0), account));
        _setRecipient(1, address(0));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotJoined.selector, taskId, ANYONE));
        vm.prank(ANYONE);
        fairshare.setRecipient(taskId, ANYONE);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotJoined.selector, taskId, ANYONE));
        fairshare.passRecipient(taskId, ANYONE, ANYONE);
    }

    /* multicall and permit */

    function test_multicall_joinsWithAPermitInOneTransaction() public {
        _open(_terms());
        token.mint(_client(0), 1 ether);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(fairshare.permit, (address(token), _permit(1 ether)));
        calls[1] = abi.encodeCall(fairshare.join, (taskId, 1 ether, "key", 0, new bytes32[](0)));
        vm.prank(_client(0));
        fairshare.multicall(calls);
        vm.assertEq(fairshare.clientOf(taskId, _client(0)).stake, 1 ether);
    }

    function test_multicall_reachesEveryPartAndKeepsTheCaller() public {
        token.mint(_client(0), 1000 ether);
        bytes[] memory calls = new bytes[](2);
        ITask.Terms memory terms = _terms();
        calls[0] = abi.encodeCall(fairshare.permit, (address(token), _permit(1000 ether)));
        calls[1] = abi.encodeCall(fairshare.open, (terms));
        vm.prank(_client(0));
        bytes[] memory results = fairshare.multicall(calls);
        taskId = abi.decode(results[1], (bytes32));
        vm.assertEq(_state().sponsor, _client(0));
    }

    /* claimRange */

    function test_claimRange_paysEverybodyWithoutASingleSibling() public {
        _begin();
        ITask.Header memory header = _postFinal();
        fairshare.claim(payroll(header), leaves[1], _proof(1)); // skipped below
        uint256 total = fairshare.claimRange(payroll(header), 0, leaves, "");
        vm.assertEq(total, header.cumulative - leaves[1].cumulative);
        for (uint256 i; i < 3; i++) {
            vm.assertEq(token.balanceOf(_client(i)), leaves[i].cumulative);
        }
        vm.assertEq(_state().paid, header.cumulative);
    }

    function test_claimRange_revertsIfTheRangeIsAnother() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Leaf[] memory some = new ITask.Leaf[](2);
        (some[0], some[1]) = (leaves[0], leaves[1]);
        bytes memory siblings = Tree.proveRange(Tree.levels(leaves), 0, 2);
        (bool done,) = address(fairshare).call(
            abi.encodeCall(fairshare.claimRange, (payroll(header), 1, some, Tree.proveRange(Tree.levels(leaves), 1, 2)))
        );
        vm.assertFalse(done);
        some[0].cumulative += 1;
        (done,) = address(fairshare).call(abi.encodeCall(fairshare.claimRange, (payroll(header), 0, some, siblings)));
        vm.assertFalse(done);
        some[0].cumulative -= 1;
        siblings[47] = bytes1(uint8(siblings[47]) ^ 1);
        (done,) = address(fairshare).call(abi.encodeCall(fairshare.claimRange, (payroll(header), 0, some, siblings)));
        vm.assertFalse(done);
    }
}
