// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {Blocks} from "./world/Blocks.sol";
import {Disputed} from "./world/Disputed.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";

/// @notice Where two rules meet: holds and windows, hand-overs and disputes, added money and endings, orders and leavers.
contract SeamsTest is Disputed {
    mapping(uint256 round => ITask.Leaf[]) internal kept;

    /// @dev Posts rounds, one at a time, whose first score can be challenged.
    function _rounds(uint256 number) internal {
        for (uint256 i; i < number; i++) {
            _round(0);
            for (uint256 j; j < leaves.length; j++) {
                kept[headers.length].push(leaves[j]);
            }
        }
    }

    function _use(uint256 round) internal {
        delete leaves;
        for (uint256 i; i < kept[round].length; i++) {
            leaves.push(kept[round][i]);
        }
    }

    /// @dev Client 0's score of a round, with block `at` false.
    function _challengeRound(uint256 round, uint256 at) internal {
        _use(round);
        _challenge(headers[round - 1], _false(at));
    }

    function _failNow(uint256 round, uint256 at) internal {
        _challengeRound(round, at);
        _refute(at, _false(at));
    }

    function _request(uint256 round, uint256 client) internal {
        _fund(ANYONE, 1 ether);
        vm.prank(ANYONE);
        court.requestLeaf(headers[round - 1], _client(client));
    }

    function _show(uint256 round, uint256 client) internal {
        _use(round);
        court.showLeaf(headers[round - 1], leaves[client], _proof(client));
    }

    /* HOLDS AND WINDOWS */

    /// @dev Else a challenge in each of the last moments of the one before would hold a round for as long as somebody pays.
    function test_aHold_opensNoFurtherHoldOnceItsRoundsWindowIsOver() public {
        _begin();
        _rounds(1);
        uint256 end = clock + 1 hours;
        _wait(1 hours - 1);
        _challengeRound(1, 0);
        IDisputes.Challenge memory first = open;
        _wait(1);
        bytes memory late = abi.encodeWithSelector(IDisputes.TooLate.selector, clock, end);
        (bytes32 top, bytes memory sums, ITask.Proof memory proof) =
            (Blocks.top(_leafHashes(updates), true), _pack(_false(1)), _proof(0));
        address account = _client(1);
        _fund(ANYONE, CHALLENGE);
        vm.expectRevert(late);
        vm.prank(ANYONE);
        court.challengeScore(headers[0], leaves[0], proof, count, top, sums);
        vm.expectRevert(late);
        vm.prank(ANYONE);
        court.requestLeaf(headers[0], account);
        // What needs no waiting can still be proven.
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoFraud.selector));
        court.proveDisorder(headers[0], leaves[0], _proof(0), leaves[1], _proof(1));
        // It fails, and whoever stood back has the window once more, up to its end.
        open = first;
        _refute(0, _false(0));
        _wait(1 hours - 1);
        _request(1, 1);
        _challengeRound(1, 1);
        _wait(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, clock, end));
        vm.prank(ANYONE);
        court.challengeScore(headers[0], leaves[0], proof, count, top, sums);
        _refute(1, _false(1));
        vm.assertFalse(fairshare.isFinal(taskId, 1));
        _show(1, 1);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
    }

    /// @dev Each round behind it can delay a round by one window, for a challenge that fails; no round can twice.
    function test_failedChallenges_delayARoundByOneWindowForEachPostedRound() public {
        _begin();
        _rounds(3);
        _wait(1 hours - 1);
        for (uint256 round = 1; round <= 3; round++) {
            _failNow(round, 0);
            _wait(1 hours - 1);
            vm.assertFalse(fairshare.isFinal(taskId, 1));
        }
        for (uint256 round = 1; round <= 3; round++) {
            _failNow(round, 1);
        }
        _wait(1);
        vm.assertTrue(fairshare.isFinal(taskId, 3));
    }

    /// @dev A challenge of a later round that fails when an earlier one is final opens no earlier window.
    function test_aReopenedWindow_reachesBackToNoFinalRound() public {
        _begin();
        _rounds(1);
        _wait(30 minutes);
        _rounds(1);
        _wait(1 hours - 1);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        _failNow(2, 0);
        vm.assertEq(_state().heldFrom, 2);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        _use(1);
        fairshare.claim(payroll(headers[0]), leaves[1], _proof(1));
    }

    /// @dev Nor does it open the window again that an earlier failed challenge had opened and that is over.
    function test_aReopenedWindow_reachesBackToNoneThatIsOver() public {
        _begin();
        _rounds(1);
        _failNow(1, 0);
        vm.assertEq(_state().heldFrom, 1);
        _wait(1 hours);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
        _rounds(1);
        _failNow(2, 0);
        vm.assertEq(_state().heldFrom, 2);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
    }

    /// @dev However far apart holds are and in whichever order they end, the first held round is never skipped, what is before
    /// it is final, and nothing stays held after the last.
    function test_holdsFarApart_endInAnyOrder() public {
        ITask.Terms memory terms = _terms();
        terms.rounds = 160;
        _begin(terms);
        for (uint256 i; i < 160; i++) {
            _post();
            for (uint256 j; j < leaves.length; j++) {
                kept[headers.length].push(leaves[j]);
            }
        }
        uint256 random = 5;
        for (uint256 game; game < 6; game++) {
            uint256[] memory rounds = new uint256[](3);
            for (uint256 i; i < 3; i++) {
                random = uint256(keccak256(abi.encode(random)));
                rounds[i] = 1 + (random >> 8) % 160;
                (bool asked,) = _tryRequest(rounds[i], game % 3);
                if (!asked) rounds[i] = 0; // the same round twice
            }
            for (uint256 left = 3; left > 0; left--) {
                random = uint256(keccak256(abi.encode(random)));
                uint256 at = random % left;
                if (rounds[at] != 0) _show(rounds[at], game % 3);
                rounds[at] = rounds[left - 1];
                uint256 least = 161;
                for (uint256 i; i + 1 < left; i++) {
                    if (rounds[i] != 0 && rounds[i] < least) least = rounds[i];
                }
                vm.assertTrue(least == 161 ? _state().heldFrom == 0 : _state().heldFrom <= least && _state().heldFrom != 0);
            }
        }
        _wait(1 hours);
        vm.assertTrue(fairshare.isFinal(taskId, 160));
        fairshare.close(taskId);
    }

    function _tryRequest(uint256 round, uint256 client) internal returns (bool, bytes memory) {
        _fund(ANYONE, 1 ether);
        bytes memory call = abi.encodeCall(court.requestLeaf, (headers[round - 1], _client(client)));
        vm.prank(ANYONE);
        return address(court).call(call);
    }

    /// @dev At each second a challenge can be refuted or upheld, never both and never neither; so with a demand, which can be
    /// answered up to when somebody dismisses it.
    function test_theLastSecondOfADispute_belongsToOneSide() public {
        _begin();
        _rounds(1);
        _challengeRound(1, 2);
        ITask.Header memory header = headers[0];
        IDisputes.Challenge memory challenge = open;
        _wait(30 minutes - 1);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooEarly.selector, clock, clock + 1));
        court.uphold(challenge, header);
        _wait(1);
        bytes memory update = _opening(updates, 2);
        bytes memory direction = _opening(directions, 2);
        int128[] memory sums = _false(2);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), 2, false);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, clock, clock));
        court.refute(challenge, 2, update, direction, sums[2], path);
        court.uphold(challenge, header);
    }

    /// @dev The price of a request pays for showing the leaf: whoever asks for all leaves of a round pays an honest coordinator a
    /// minStake each, once a leaf.
    function test_requestsForEveryLeaf_payWhoeverShowsThemAMinStakeEach() public {
        _begin();
        _rounds(1);
        for (uint256 i; i < 3; i++) {
            _request(1, i);
        }
        for (uint256 i; i < 3; i++) {
            ITask.Proof memory proof = _proof(i);
            vm.prank(COORDINATOR);
            court.showLeaf(headers[0], leaves[i], proof);
        }
        vm.assertEq(_credit(COORDINATOR), 3 ether);
        (bool asked,) = _tryRequest(1, 0);
        vm.assertFalse(asked);
        _wait(1 hours);
        vm.assertTrue(fairshare.isFinal(taskId, 1));
    }

    /* HALF A HEADER */

    function test_aPayroll_isTheHeadersInEveryBit() public {
        _begin();
        ITask.Header memory header = _postFinal();
        ITask.Proof memory proof = _proof(0);
        for (uint256 i; i < 4; i++) {
            ITask.Payroll memory roll = payroll(header);
            if (i == 0) roll.treeRoot = bytes32(uint256(roll.treeRoot) ^ 1);
            if (i == 1) roll.leafCount += 1;
            if (i == 2) roll.cumulative += 1;
            if (i == 3) roll.rest = bytes32(uint256(roll.rest) ^ 1);
            bytes32 hash = keccak256(abi.encode(_headerType(), roll));
            vm.expectRevert(abi.encodeWithSelector(ITask.UnknownHeader.selector, taskId, 1, hash));
            fairshare.claim(roll, leaves[0], proof);
        }
        // Bits that its type does not have: words 1, 3 and 4 of the payroll behind the selector.
        for (uint256 word; word < 6; word++) {
            bytes memory call = abi.encodeCall(fairshare.claim, (payroll(header), leaves[0], proof));
            call[4 + 32 * word] ^= 0x80;
            (bool done,) = address(fairshare).call(call);
            vm.assertFalse(done);
        }
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function _headerType() internal pure returns (bytes32) {
        return keccak256(
            "Header(bytes32 taskId,uint32 round,bytes32 treeRoot,uint32 leafCount,uint128 cumulative,Rest rest)Rest(bytes32 previous,bytes32 validation,bytes32 baseModel,bytes32 nextModel,bytes32 directionRoot,bytes32 enrolment,uint128 price,bytes32 bundle)"
        );
    }

    /* PERMITS AND MULTICALL */

    function _permit(uint256 key, uint256 value) internal view returns (ITask.Permit memory p) {
        address account = vm.addr(key);
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
        (p.value, p.deadline) = (value, clock + 60);
        (p.v, p.r, p.s) = vm.sign(key, keccak256(bytes.concat(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
    }

    /// @dev Pays in by permit in one transaction, though somebody saw the permit and used it first.
    function _payIn(uint256 key, uint256 value, bytes memory call) internal {
        address account = vm.addr(key);
        token.mint(account, value);
        ITask.Permit memory p = _permit(key, value);
        token.permit(account, address(fairshare), p.value, p.deadline, p.v, p.r, p.s);
        bytes[] memory calls = new bytes[](2);
        (calls[0], calls[1]) = (abi.encodeCall(fairshare.permit, (address(token), p)), call);
        vm.prank(account);
        fairshare.multicall(calls);
        vm.assertEq(token.balanceOf(account), 0);
    }

    function test_everyPaymentByPermit_worksThoughAnotherUsedThePermitFirst() public {
        uint256 sponsor = 0x5907;
        ITask.Terms memory terms = _terms();
        _payIn(sponsor, terms.budget, abi.encodeCall(fairshare.open, (terms)));
        taskId = keccak256(abi.encode(vm.addr(sponsor), terms.salt));
        for (uint256 i; i < 3; i++) {
            bytes memory join = abi.encodeCall(fairshare.join, (taskId, 1 ether, "", 0, new bytes32[](0)));
            _payIn(keyOf[_client(i)], 1 ether, join);
            _noteJoin(_client(i), 1, 1 ether);
        }
        _payIn(COORDINATOR_KEY, terms.bond, abi.encodeCall(fairshare.start, (taskId)));
        due = enrolment;
        _payIn(sponsor, 5 ether, abi.encodeCall(fairshare.addBudget, (taskId, 5 ether)));
        ITask.Header memory header = _round(0);
        (bytes32 top, bytes memory sums) = (Blocks.top(_leafHashes(updates), true), _pack(_false(0)));
        ITask.Proof memory proof = _proof(0);
        _payIn(0xC4A, CHALLENGE, abi.encodeCall(court.challengeScore, (header, leaves[0], proof, count, top, sums)));
        _payIn(0xC4A, 1 ether, abi.encodeCall(court.requestLeaf, (header, _client(1))));
        vm.assertEq(_state().openChallenges, 2);
    }

    /// @dev A call in a multicall keeps its caller, so nothing in it may count what was sent along twice: nothing takes ETH.
    function test_noCall_takesEth() public {
        _begin();
        vm.deal(address(this), 1 ether);
        bytes[] memory none = new bytes[](0);
        bytes[5] memory calls = [
            abi.encodeCall(fairshare.multicall, (none)),
            abi.encodeCall(fairshare.setRecipient, (taskId, ANYONE)),
            abi.encodeCall(court.challengeBond, (taskId)),
            abi.encodeCall(fairshare.task, (taskId)),
            bytes("")
        ];
        for (uint256 i; i < calls.length; i++) {
            (bool done,) = address(fairshare).call{value: 1}(calls[i]);
            vm.assertFalse(done);
        }
    }

    /* ADDED MONEY AND ENDINGS */

    /// @dev What was added while a round was posted and not final is shared with all else if that round is proven wrong.
    function test_addedMoney_isSharedWithAllElseIfARoundIsProvenWrong() public {
        _begin();
        _rounds(1);
        _fund(ANYONE, 300 ether);
        vm.prank(ANYONE);
        fairshare.addBudget(taskId, 300 ether); // counts from round 3
        _wait(1 hours);
        _rounds(1);
        vm.assertEq(_state().budget, 1300 ether);
        _fund(ANYONE, 50 ether);
        vm.prank(ANYONE);
        vm.expectRevert(abi.encodeWithSelector(ITask.EnrolmentOver.selector, taskId, 4, 3));
        fairshare.addBudget(taskId, 50 ether);
        _request(2, 1);
        _wait(30 minutes);
        court.upholdRequest(headers[1], _client(1));
        fairshare.closeHalted(headers[0]);
        ITask.State memory state = _state();
        uint256 refund = _credit(SPONSOR);
        vm.assertEq(refund + state.pool + state.cumulative, 1300 ether + 1000 ether);
        vm.assertLe(refund, 1000 ether);
        _use(1);
        fairshare.claimRange(payroll(headers[0]), 0, leaves, "");
        fairshare.releaseRange(taskId, clients);
        _wait(30 days);
        fairshare.sweep(taskId);
        fairshare.withdrawFor(address(token), SPONSOR);
        fairshare.withdrawFor(address(token), ANYONE);
        vm.assertEq(token.balanceOf(address(fairshare)), 0);
    }

    /// @dev A tree that was signed before somebody added, or before the sponsor stopped, is posted or refused; it convicts nobody.
    function test_addingAndStopping_convictNobodysSignedTree() public {
        _begin();
        ITask.Header memory header = _next(_even());
        _fund(ANYONE, 100 ether);
        vm.prank(ANYONE);
        fairshare.addBudget(taskId, 100 ether);
        _send(header);
        header = _next(_even());
        vm.prank(SPONSOR);
        fairshare.stop(taskId);
        ITask.Signature[] memory signatures = _signed(header, 2);
        bytes memory wrong =
            abi.encodeWithSelector(ITask.WrongCumulative.selector, header.cumulative, 1100 ether - 2, 1100 ether);
        vm.expectRevert(wrong);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        _wait(1 hours);
        leaves = earlier;
        _send(_next(_even()));
        vm.assertEq(_state().posted, 2);
    }

    function _even() internal pure returns (int128[] memory scores) {
        scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (2 ** 30, 2 ** 30, 2 ** 30);
    }

    /* HAND-OVERS AND DISPUTES */

    function _handOver() internal returns (address next) {
        next = vm.addr(0xC0D);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
    }

    /// @dev The bond is the task's whoever coordinates: handing over in a dispute saves none of it.
    function test_handingOverInADispute_savesNoBond() public {
        _begin();
        _rounds(1);
        _request(1, 1);
        address next = _handOver();
        _wait(30 minutes);
        court.upholdRequest(headers[0], _client(1));
        ITask.Header memory none;
        none.taskId = taskId;
        fairshare.closeHalted(none);
        vm.assertEq(_credit(COORDINATOR) + _credit(next), 0);
    }

    /// @dev Who takes over answers for what is asked of the rounds before, and gets the bond when all is done.
    function test_whoTakesOver_endsADisputeAndTheTask() public {
        _begin();
        _rounds(1);
        _challengeRound(1, 0);
        address next = _handOver();
        _refute(0, _false(0));
        for (uint256 i; i < 2; i++) {
            ITask.Header memory header = _next(_even());
            bytes32 after_ = _nextCover(header.cumulative);
            ITask.Signature[] memory signatures = _signed(header, 2);
            vm.prank(next);
            fairshare.post(header, signatures, cover);
            headers.push(header);
            (cover, due) = (after_, enrolment);
        }
        _wait(1 hours);
        fairshare.close(taskId);
        vm.assertEq(_credit(next), 1000 ether);
        vm.assertEq(_credit(COORDINATOR), 0);
    }

    /// @dev Once the task is halted the bond waits for its end, and nobody can be put in the culprit's place.
    function test_anOffer_lapsesWhenTheTaskIsHalted() public {
        _begin();
        _rounds(1);
        address next = vm.addr(0xC0D);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        _request(1, 1);
        _wait(30 minutes);
        court.upholdRequest(headers[0], _client(1));
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongStatus.selector, taskId, ITask.Status.Halted, ITask.Status.Started)
        );
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
    }

    /// @dev An offer can be taken back, and is gone once it was taken.
    function test_anOffer_isTakenBackByAnotherOne() public {
        _begin();
        address next = vm.addr(0xC0D);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, next);
        vm.prank(COORDINATOR);
        fairshare.offerCoordinator(taskId, address(0));
        vm.expectRevert(abi.encodeWithSelector(ITask.NotCoordinator.selector, next, address(0)));
        vm.prank(next);
        fairshare.takeCoordinator(taskId);
    }

    /* CLOSED DOORS AND GROUPS */

    /// @dev Closing shuts members out too, and opening again lets in members only.
    function test_closingAGroupsTask_shutsMembersOutAndOpeningLetsNobodyElseIn() public {
        ITask.Terms memory terms = _terms();
        terms.members = keccak256(abi.encode(keccak256(abi.encode(_client(0))))); // a group of one
        _open(terms);
        bytes32[] memory none = new bytes32[](0);
        vm.prank(SPONSOR);
        fairshare.setJoining(taskId, true);
        _fund(_client(0), 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ITask.JoiningClosed.selector, taskId));
        vm.prank(_client(0));
        fairshare.join(taskId, 1 ether, "", 0, none);
        vm.prank(SPONSOR);
        fairshare.setJoining(taskId, false);
        _fund(_client(1), 1 ether);
        address stranger = _client(1);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotMember.selector, taskId, stranger));
        vm.prank(stranger);
        fairshare.join(taskId, 1 ether, "", 0, none);
        _join(0, 1 ether);
        vm.assertEq(fairshare.clientCount(taskId), 1);
    }
}
