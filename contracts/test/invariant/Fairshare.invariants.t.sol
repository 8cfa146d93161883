// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {Fairshare} from "../../src/Fairshare.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {vm} from "../world/Vm.sol";
import {Handler} from "./Handler.sol";

/// @notice See README.md for the invariants in words.
contract FairshareInvariants {
    Handler internal handler;
    mapping(bytes32 id => ITask.Status) internal statusOf;
    mapping(bytes32 id => uint256) internal totalOf;
    mapping(bytes32 id => mapping(uint256 client => uint256)) internal claimedOf;

    function setUp() public {
        handler = new Handler(new Fairshare(), new DevToken());
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        bytes4[] memory selectors = new bytes4[](20);
        selectors[0] = Handler.open.selector;
        selectors[1] = Handler.join.selector;
        selectors[2] = Handler.join.selector;
        selectors[3] = Handler.start.selector;
        selectors[4] = Handler.post.selector;
        selectors[5] = Handler.post.selector;
        selectors[6] = Handler.post.selector;
        selectors[7] = Handler.claim.selector;
        selectors[8] = Handler.claim.selector;
        selectors[9] = Handler.claimRange.selector;
        selectors[10] = Handler.leave.selector;
        selectors[11] = Handler.release.selector;
        selectors[12] = Handler.prove.selector;
        selectors[13] = Handler.challenge.selector;
        selectors[14] = Handler.refute.selector;
        selectors[15] = Handler.uphold.selector;
        selectors[16] = Handler.end.selector;
        selectors[17] = Handler.withdraw.selector;
        selectors[18] = Handler.wait_.selector;
        selectors[19] = Handler.wait_.selector;
        targets[0].selectors = selectors;
    }

    function invariant_everyPromiseHolds() public {
        vm.assertEq(handler.broken(), "");
        Fairshare fairshare = handler.fairshare();
        uint256 owed = handler.credits() + handler.challengeBonds();
        bytes32[] memory ids = handler.tasks();
        for (uint256 i; i < ids.length; i++) {
            (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(ids[i]);
            ITask.Client[] memory all = handler.accounts(ids[i]);
            owed += _owed(terms, state, all);
            // 2.
            vm.assertLe(state.paid, state.cumulative, "paid more than the total");
            vm.assertLe(state.cumulative, terms.budget, "promised more than the budget");
            if (statusOf[ids[i]] == ITask.Status.Closed) vm.assertEq(state.cumulative, totalOf[ids[i]]);
            // 3.
            vm.assertEq(_claimed(ids[i], all), state.paid);
            // 5.
            if (!handler.lied(ids[i])) {
                vm.assertTrue(state.status != ITask.Status.Halted, "an honest task was halted");
                vm.assertEq(state.voidFrom, 0);
            }
            // 6.
            vm.assertGe(uint256(state.status), uint256(statusOf[ids[i]]));
            (statusOf[ids[i]], totalOf[ids[i]]) = (state.status, state.cumulative);
        }
        // 1.
        vm.assertEq(handler.token().balanceOf(address(fairshare)), owed, "holds other than it owes");
    }

    function afterInvariant() public {
        handler.drain();
        vm.assertEq(handler.broken(), "");
        vm.assertEq(handler.token().balanceOf(address(handler.fairshare())), 0, "did not drain");
    }

    function _claimed(bytes32 id, ITask.Client[] memory all) internal returns (uint256 sum) {
        for (uint256 i; i < all.length; i++) {
            uint256 claimed = all[i].claimed;
            sum += claimed;
            if (claimed == claimedOf[id][i]) continue;
            vm.assertGe(claimed, claimedOf[id][i], "a claim shrank");
            vm.assertEq(claimed, handler.received(id, handler.clients(i)), "claimed other than received");
            claimedOf[id][i] = claimed;
        }
    }

    function _owed(ITask.Terms memory terms, ITask.State memory state, ITask.Client[] memory all)
        internal
        pure
        returns (uint256 owed)
    {
        for (uint256 i; i < all.length; i++) {
            owed += all[i].stake;
        }
        owed += state.burned;
        if (state.status == ITask.Status.Closed) {
            owed += uint256(state.bondShare) * state.staked;
            if (!state.swept) owed += state.cumulative - state.paid;
        } else {
            owed += terms.budget - state.paid;
            if (state.status != ITask.Status.Halted) owed += terms.bond;
        }
    }
}
