// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {MOST} from "../src/types/Purse.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

contract OpenTest is World {
    function _expectRange(bytes32 term, uint256 seen, uint256 least, uint256 most) internal {
        vm.expectRevert(abi.encodeWithSelector(ITask.TermOutOfRange.selector, term, seen, least, most));
    }

    function _refused(ITask.Terms memory terms) internal {
        vm.prank(SPONSOR);
        fairshare.open(terms);
    }

    function test_open_revertsIfTheSponsorUsedTheSaltBefore() public {
        _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(ITask.TaskExists.selector, taskId));
        _refused(_terms());
    }

    function test_open_revertsWithoutACoordinator() public {
        ITask.Terms memory terms = _terms();
        terms.coordinator = address(0);
        _expectRange("coordinator", 0, 1, type(uint160).max);
        _refused(terms);
    }

    function test_open_revertsIfTheQuorumIsZeroOrMoreThanAll() public {
        ITask.Terms memory terms = _terms();
        terms.quorum = 0;
        _expectRange("quorum", 0, 1, 3);
        _refused(terms);
        terms.quorum = 4;
        _expectRange("quorum", 4, 1, 3);
        _refused(terms);
    }

    function test_open_revertsIfEvaluatorsAreNotAscending() public {
        ITask.Terms memory terms = _terms();
        (address first, address second) = (terms.evaluators[0], terms.evaluators[1]);
        (terms.evaluators[0], terms.evaluators[1]) = (second, first);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, second, first));
        _refused(terms);
        terms.evaluators[0] = first; // twice
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, first, first));
        _refused(terms);
        terms.evaluators[0] = address(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.NotAscending.selector, address(0), address(0)));
        _refused(terms);
    }

    function test_open_revertsIfRoundsAreOutOfRange() public {
        ITask.Terms memory terms = _terms();
        terms.rounds = 0;
        _expectRange("rounds", 0, 1, 2 ** 24 - 3);
        _refused(terms);
        terms.rounds = 2 ** 24 - 2;
        _expectRange("rounds", 2 ** 24 - 2, 1, 2 ** 24 - 3);
        _refused(terms);
    }

    function test_open_revertsIfATimeIsBelowItsFloor() public {
        ITask.Terms memory terms = _terms();
        terms.challengeWindow = 9;
        _expectRange("challengeWindow", 9, 10, type(uint32).max);
        _refused(terms);
        terms = _terms();
        terms.responseWindow = 9;
        _expectRange("responseWindow", 9, 10, type(uint32).max);
        _refused(terms);
        terms = _terms();
        terms.roundTimeout = 2 hours - 1;
        _expectRange("roundTimeout", 2 hours - 1, 2 hours, type(uint32).max);
        _refused(terms);
        terms = _terms();
        terms.claimPeriod = 1 hours - 1;
        _expectRange("claimPeriod", 1 hours - 1, 1 hours, type(uint32).max);
        _refused(terms);
    }

    function test_open_revertsIfAnAmountIsOutOfRange() public {
        ITask.Terms memory terms = _terms();
        terms.budget = 0;
        _expectRange("budget", 0, 1, MOST);
        _refused(terms);
        terms.budget = 2 ** 95;
        _expectRange("budget", 2 ** 95, 1, MOST);
        _refused(terms);
        terms = _terms();
        terms.bond = uint128(MOST - 1000 ether + 1);
        _expectRange("bond", terms.bond, 1 ether, MOST - 1000 ether);
        _refused(terms);
        terms.bond = 1 ether - 1; // less than a client risks
        _expectRange("bond", 1 ether - 1, 1 ether, MOST - 1000 ether);
        _refused(terms);
        terms = _terms();
        terms.maxStake = 2 ** 95;
        _expectRange("maxStake", 2 ** 95, 1, MOST);
        _refused(terms);
        terms = _terms();
        terms.minStake = 0;
        _expectRange("minStake", 0, 1, 10 ether);
        _refused(terms);
        terms.minStake = 10 ether + 1;
        _expectRange("minStake", 10 ether + 1, 1, 10 ether);
        _refused(terms);
    }

    function test_open_revertsIfTheBudgetIsNotThere() public {
        token.mint(SPONSOR, 1);
        vm.prank(SPONSOR);
        token.approve(address(fairshare), type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, SPONSOR, 1, 1000 ether)
        );
        _refused(_terms());
    }

    function test_open_escrowsTheBudgetAndKeepsEveryTerm() public {
        ITask.Terms memory terms = _terms();
        bytes32 expected = keccak256(abi.encode(SPONSOR, terms.salt));
        _fund(SPONSOR, 1000 ether);
        vm.expectEmit(address(fairshare));
        emit ITask.Opened(expected, SPONSOR, address(token), terms);
        vm.prank(SPONSOR);
        taskId = fairshare.open(terms);
        vm.assertEq(taskId, expected);
        vm.assertEq(token.balanceOf(address(fairshare)), 1000 ether);
        (ITask.Terms memory kept, ITask.State memory state) = fairshare.task(taskId);
        vm.assertEq(abi.encode(kept), abi.encode(terms));
        vm.assertEq(state.sponsor, SPONSOR);
        vm.assertEq(uint256(state.status), uint256(ITask.Status.Open));
        vm.assertEq(state.since, clock);
    }

    function test_open_keepsEachOfItsFlags() public {
        ITask.Terms memory terms = _terms();
        for (uint256 i; i < 16; i++) {
            terms.salt = bytes32(i + 1);
            (terms.revealEachRound, terms.attested) = (i & 1 != 0, i & 2 != 0);
            (terms.mayStop, terms.mayCloseJoining) = (i & 4 != 0, i & 8 != 0);
            _open(terms);
            (ITask.Terms memory kept,) = fairshare.task(taskId);
            vm.assertEq(abi.encode(kept), abi.encode(terms));
        }
    }

    function test_open_keepsTheLargestTerms() public {
        ITask.Terms memory terms = _terms();
        terms.budget = uint128(MOST - 1 ether);
        terms.bond = 1 ether;
        terms.members = keccak256("root");
        terms.maxStake = uint128(MOST);
        terms.rounds = 2 ** 24 - 3;
        terms.claimPeriod = type(uint32).max;
        _open(terms);
        (ITask.Terms memory kept,) = fairshare.task(taskId);
        vm.assertEq(abi.encode(kept), abi.encode(terms));
    }
}
