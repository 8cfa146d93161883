// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Escrow, deployEscrow} from "../world/Escrow.sol";
import {vm} from "../world/Vm.sol";
import {Challenges} from "./Challenges.sol";
import {Handler} from "./Handler.sol";
import {Proofs} from "./Proofs.sol";

/// @notice See README.md for the invariants in words.
abstract contract FairshareInvariants {
    Handler internal handler;
    mapping(bytes32 id => ITask.Status) internal statusOf;
    mapping(bytes32 id => uint256) internal totalOf;
    mapping(bytes32 id => mapping(uint256 client => uint256)) internal claimedOf;

    function setUp() public {
        handler = new Handler(deployEscrow(), new DevToken());
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
        targets[0].selectors = _selectors();
    }

    function _selectors() internal pure virtual returns (bytes4[] memory);

    function invariant_everyPromiseHolds() public {
        vm.assertEq(handler.broken(), "");
        Escrow fairshare = handler.fairshare();
        uint256 owed = handler.credits() + handler.held();
        bytes32[] memory ids = handler.tasks();
        for (uint256 i; i < ids.length; i++) {
            (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(ids[i]);
            ITask.Client[] memory all = handler.accounts(ids[i]);
            owed += _owed(state, all);
            // The round under way is one more than those that are posted.
            for (uint32 round = 1; round <= state.rounds + 1; round++) {
                owed += fairshare.burnedIn(ids[i], round);
            }
            // 2.
            vm.assertLe(state.paid, state.cumulative + state.pool, "paid more than the total");
            vm.assertLe(state.cumulative, state.budget + state.added, "promised more than the budget");
            vm.assertLe(state.cumulative + state.pool, state.budget + state.added + terms.bond);
            if (statusOf[ids[i]] == ITask.Status.Closed) vm.assertEq(state.cumulative, totalOf[ids[i]]);
            // 3.
            vm.assertEq(_claimed(ids[i], all) + handler.shares(ids[i]), state.paid);
            // 5.
            if (!handler.lied(ids[i])) {
                vm.assertTrue(state.status != ITask.Status.Halted, "an honest task was halted");
                vm.assertEq(state.voidFrom, 0);
            }
            for (uint256 j; j < all.length; j++) {
                vm.assertEq(all[j].stake, handler.staked(ids[i], handler.clients(j)), "a stake is not what was staked");
            }
            for (uint256 j; j < 3; j++) {
                uint256 backing = fairshare.backerOf(ids[i], terms.evaluators[j]).stake;
                vm.assertEq(backing, handler.backing(ids[i], j), "an evaluator's stake is not what was staked");
                owed += backing;
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

    function _owed(ITask.State memory state, ITask.Client[] memory all) internal pure returns (uint256 owed) {
        for (uint256 i; i < all.length; i++) {
            owed += all[i].stake;
        }
        if (state.status != ITask.Status.Closed) owed += state.budget + state.added + state.bond - state.paid;
        else if (!state.swept) owed += state.cumulative + state.pool - state.paid;
    }
}

/// @notice Tasks as they are meant to run: mostly rounds and claims.
contract RoundsInvariants is FairshareInvariants {
    function _selectors() internal pure override returns (bytes4[] memory selectors) {
        selectors = new bytes4[](26);
        selectors[25] = Handler.slash.selector;
        selectors[24] = Handler.steer.selector;
        selectors[0] = Handler.open.selector;
        selectors[1] = Handler.join.selector;
        selectors[2] = Handler.join.selector;
        selectors[3] = Handler.joinFor.selector;
        selectors[4] = Handler.start.selector;
        selectors[5] = Handler.post.selector;
        selectors[6] = Handler.post.selector;
        selectors[7] = Handler.post.selector;
        selectors[8] = Handler.forge.selector;
        selectors[9] = Handler.claim.selector;
        selectors[10] = Handler.claimMany.selector;
        selectors[11] = Handler.claimTo.selector;
        selectors[12] = Handler.leave.selector;
        selectors[13] = Handler.release.selector;
        selectors[14] = Proofs.prove.selector;
        selectors[15] = Proofs.equivocate.selector;
        selectors[16] = Challenges.challenge.selector;
        selectors[17] = Challenges.refute.selector;
        selectors[18] = Challenges.uphold.selector;
        selectors[19] = Handler.end.selector;
        selectors[20] = Handler.withdraw.selector;
        selectors[21] = Handler.wait_.selector;
        selectors[22] = Handler.wait_.selector;
        selectors[23] = Challenges.dismiss.selector;
    }
}

/// @notice Tasks in dispute: mostly challenges, demands and proofs, so that fewer rounds come to be final.
contract DisputesInvariants is FairshareInvariants {
    function _selectors() internal pure override returns (bytes4[] memory selectors) {
        selectors = new bytes4[](25);
        selectors[24] = Handler.slash.selector;
        selectors[0] = Handler.open.selector;
        selectors[1] = Handler.join.selector;
        selectors[2] = Handler.join.selector;
        selectors[3] = Handler.start.selector;
        selectors[4] = Handler.post.selector;
        selectors[5] = Handler.post.selector;
        selectors[6] = Handler.post.selector;
        selectors[7] = Challenges.challenge.selector;
        selectors[8] = Challenges.challenge.selector;
        selectors[9] = Challenges.challenge.selector;
        selectors[10] = Challenges.attack.selector;
        selectors[11] = Challenges.attack.selector;
        selectors[12] = Challenges.answer.selector;
        selectors[13] = Challenges.answer.selector;
        selectors[14] = Challenges.refute.selector;
        selectors[15] = Challenges.uphold.selector;
        selectors[16] = Challenges.dismiss.selector;
        selectors[17] = Proofs.prove.selector;
        selectors[18] = Proofs.equivocate.selector;
        selectors[19] = Handler.claimMany.selector;
        selectors[20] = Handler.leave.selector;
        selectors[21] = Handler.end.selector;
        selectors[22] = Handler.wait_.selector;
        selectors[23] = Handler.wait_.selector;
    }
}

/// @notice That what the invariants are held against really happens: every action of every party succeeds in some of these
/// runs, every lie is told and proven.
contract ReachInvariants {
    function test_everyActionSucceeds() public {
        bytes4[] memory calls = _calls();
        uint256 random = 1;
        Handler[] memory runs = new Handler[](160);
        for (uint256 i; i < runs.length; i++) {
            runs[i] = new Handler(deployEscrow(), new DevToken());
            for (uint256 j; j < 350; j++) {
                random = uint256(keccak256(abi.encode(random)));
                bytes memory arguments = abi.encode(random >> 3, random >> 5, random >> 7, random >> 11, random >> 13);
                (bool done,) = address(runs[i]).call(bytes.concat(calls[random % calls.length], arguments));
                vm.assertTrue(done);
            }
            runs[i].drain();
            vm.assertEq(runs[i].broken(), "");
        }
        bytes4[] memory steps = _steps();
        for (uint256 i; i < steps.length; i++) {
            uint256 count;
            for (uint256 j; j < runs.length; j++) {
                count += runs[j].done(steps[i]);
            }
            vm.assertGe(count, 1, string.concat("never happened: step ", vm.toString(i)));
        }
    }

    /// @dev Those of the fuzzer.
    function _calls() internal pure returns (bytes4[] memory calls) {
        calls = new bytes4[](30);
        (calls[27], calls[28], calls[29]) = (Handler.slash.selector, Proofs.prove.selector, Proofs.prove.selector);
        calls[26] = Handler.steer.selector;
        calls[0] = Handler.open.selector;
        (calls[1], calls[2], calls[3]) = (Handler.join.selector, Handler.joinFor.selector, Handler.start.selector);
        (calls[4], calls[5], calls[6]) = (Handler.post.selector, Handler.post.selector, Handler.post.selector);
        (calls[7], calls[8], calls[9]) = (Handler.claim.selector, Handler.claimMany.selector, Handler.claimTo.selector);
        (calls[10], calls[11], calls[12]) = (Handler.leave.selector, Handler.release.selector, Handler.forge.selector);
        (calls[13], calls[14], calls[15]) = (Handler.end.selector, Handler.withdraw.selector, Handler.wait_.selector);
        (calls[16], calls[17]) = (Challenges.challenge.selector, Challenges.challenge.selector);
        (calls[18], calls[19]) = (Challenges.answer.selector, Challenges.attack.selector);
        (calls[20], calls[21]) = (Challenges.refute.selector, Challenges.uphold.selector);
        (calls[22], calls[23]) = (Challenges.dismiss.selector, Handler.wait_.selector);
        (calls[24], calls[25]) = (Proofs.prove.selector, Proofs.equivocate.selector);
    }

    /// @dev What a call counts: its selector, or what it came to.
    function _steps() internal pure returns (bytes4[] memory steps) {
        bytes4[] memory calls = _calls();
        bytes4[12] memory named =
            [bytes4("many"), "dmnd", "deep", "owed", "lies", "btch", "paid", "thin", "halt", "stop", "more", "home"];
        steps = new bytes4[](calls.length + 19);
        for (uint256 i; i < calls.length; i++) {
            steps[i] = calls[i];
        }
        for (uint256 i; i < 12; i++) {
            steps[calls.length + i] = named[i];
        }
        for (uint32 lie = 2; lie < 9; lie++) {
            steps[calls.length + 10 + lie] = bytes4(lie); // proven
        }
    }
}
