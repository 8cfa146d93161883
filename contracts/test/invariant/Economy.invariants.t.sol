// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {deployEscrow} from "../world/Escrow.sol";
import {vm} from "../world/Vm.sol";
import {Economy} from "./Economy.sol";

/// @notice No coalition of sponsor, coordinator, clients and fewer than a quorum of evaluators ends with more than honest
/// play would have left it, and no honest client with less than its final pay and its stake. See README.md.
contract EconomyInvariants {
    Economy internal economy;

    function setUp() public {
        economy = new Economy(deployEscrow(), new DevToken());
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(economy);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(economy), plays());
    }

    /// forge-config: default.invariant.depth = 40
    /// forge-config: default.invariant.runs = 500
    /// forge-config: quick.invariant.depth = 40
    /// forge-config: quick.invariant.runs = 64
    /// forge-config: ci.invariant.depth = 40
    /// forge-config: ci.invariant.runs = 3200
    /// forge-config: long.invariant.depth = 40
    /// forge-config: long.invariant.runs = 250000
    function invariant_honestPeopleCanDoTheirDuty() public view {
        vm.assertEq(economy.broken(), "");
    }

    function afterInvariant() public {
        economy.drain();
        vm.assertEq(economy.broken(), "");
        vm.assertEq(economy.token().balanceOf(address(economy.escrow())), economy.burned(), "did not drain");
    }
}

/// @dev The plays that the fuzzer draws from.
function plays() pure returns (bytes4[] memory selectors) {
    selectors = new bytes4[](18);
    selectors[17] = Economy.slash.selector;
    selectors[0] = Economy.open.selector;
    selectors[1] = Economy.open.selector;
    (selectors[2], selectors[3], selectors[4]) = (Economy.post.selector, Economy.post.selector, Economy.post.selector);
    selectors[5] = Economy.omit.selector;
    selectors[6] = Economy.challenge.selector;
    selectors[7] = Economy.request.selector;
    selectors[8] = Economy.stop.selector;
    selectors[9] = Economy.equivocate.selector;
    selectors[10] = Economy.handOver.selector;
    selectors[11] = Economy.claim.selector;
    (selectors[12], selectors[13]) = (Economy.wait_.selector, Economy.wait_.selector);
    (selectors[14], selectors[15], selectors[16]) = (Economy.demandOwn.selector, Economy.lie.selector, Economy.hide.selector);
}

/// @notice The same by fixed seeds, and that every play and every ending happened: the invariant would hold in an idle world.
contract ReachEconomyInvariants {
    function test_everyPlayAndEveryEndingHappens() public {
        bytes4[] memory calls = plays();
        uint256 random = 7;
        Economy[] memory runs = new Economy[](300);
        for (uint256 i; i < runs.length; i++) {
            runs[i] = new Economy(deployEscrow(), new DevToken());
            for (uint256 j; j < 40; j++) {
                random = uint256(keccak256(abi.encode(random)));
                bytes memory arguments = abi.encode(random >> 3, random << 5, random >> 7);
                (bool done,) = address(runs[i]).call(bytes.concat(calls[random % calls.length], arguments));
                vm.assertTrue(done);
            }
            runs[i].drain();
            vm.assertEq(runs[i].broken(), "");
        }
        bytes4[] memory steps = new bytes4[](calls.length + 10);
        for (uint256 i; i < calls.length; i++) {
            steps[i] = calls[i];
        }
        bytes4[7] memory named = [bytes4("rfut"), "show", "uphd", "uprq", "dsms", "wtch", "home"];
        for (uint256 i; i < 7; i++) {
            steps[calls.length + i] = named[i];
        }
        Economy any = runs[0];
        steps[calls.length + 7] = any.escrow().expire.selector;
        steps[calls.length + 8] = any.escrow().close.selector;
        steps[calls.length + 9] = any.escrow().closeHalted.selector;
        for (uint256 i; i < steps.length; i++) {
            uint256 count;
            for (uint256 j; j < runs.length; j++) {
                count += runs[j].done(steps[i]);
            }
            vm.assertGe(count, 1, string.concat("never happened: step ", vm.toString(i)));
        }
    }
}
