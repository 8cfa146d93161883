// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Fairshare} from "../src/Fairshare.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {RoundTreeDoor} from "./Tree.t.sol";
import {Payout} from "./world/Payout.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";

interface Etch {
    function etch(address account, bytes calldata code) external;
}

/// @notice The vectors of tests/vectors, written by the Python side from exact arithmetic.
contract VectorsTest {
    RoundTreeDoor internal door = new RoundTreeDoor();

    function _read(string memory name) internal view returns (string memory) {
        return vm.readFile(string.concat(vm.projectRoot(), "/../tests/vectors/", name, ".json"));
    }

    function _item(string memory list, uint256 i) internal pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]");
    }

    function _leaf(string memory json, string memory path) internal pure returns (ITask.Leaf memory) {
        return ITask.Leaf({
            account: vm.parseJsonAddress(json, string.concat(path, ".account")),
            updateRoot: vm.parseJsonBytes32(json, string.concat(path, ".updateRoot")),
            weight: uint64(vm.parseJsonUint(json, string.concat(path, ".weight"))),
            score: int128(vm.parseJsonInt(json, string.concat(path, ".score"))),
            balance: int128(vm.parseJsonInt(json, string.concat(path, ".balance"))),
            cumulative: uint128(vm.parseJsonUint(json, string.concat(path, ".cumulative")))
        });
    }

    function test_roundTrees_haveTheRootsSumsAndProofsOfThePythonSide() public view {
        string memory json = _read("round_tree");
        uint256 cases;
        for (; vm.keyExistsJson(json, _item(".cases", cases)); cases++) {
            string memory path = _item(".cases", cases);
            uint256 count;
            while (vm.keyExistsJson(json, _item(string.concat(path, ".leaves"), count))) count++;
            ITask.Leaf[] memory leaves = new ITask.Leaf[](count);
            for (uint256 i; i < count; i++) {
                leaves[i] = _leaf(json, _item(string.concat(path, ".leaves"), i));
                bytes32 expected = vm.parseJsonBytes32(json, _item(string.concat(path, ".leafHashes"), i));
                vm.assertEq(door.hashLeaf(leaves[i]), expected);
            }
            ITask.Header memory header;
            header.leafCount = uint32(count);
            header.treeRoot = vm.parseJsonBytes32(json, string.concat(path, ".root"));
            header.entitlement = uint128(vm.parseJsonUint(json, string.concat(path, ".entitlement")));
            header.cumulative = uint128(vm.parseJsonUint(json, string.concat(path, ".cumulative")));
            vm.assertEq(Tree.root(leaves).node, header.treeRoot);
            for (uint256 i; i < count; i++) {
                ITask.Proof memory proof = _proof(json, _item(string.concat(path, ".proofs"), i), i);
                vm.assertEq(abi.encode(proof), abi.encode(Tree.prove(leaves, i)));
                door.check(header, leaves[i], proof);
            }
        }
        vm.assertGe(cases, 8);
    }

    function _proof(string memory json, string memory path, uint256 index)
        internal
        view
        returns (ITask.Proof memory proof)
    {
        uint256 count;
        while (vm.keyExistsJson(json, _item(path, count))) count++;
        proof.index = uint32(index);
        proof.siblings = new ITask.Sibling[](count);
        for (uint256 i; i < count; i++) {
            string memory sibling = _item(path, i);
            proof.siblings[i] = ITask.Sibling({
                node: vm.parseJsonBytes32(json, string.concat(sibling, ".node")),
                entitlement: uint128(vm.parseJsonUint(json, string.concat(sibling, ".entitlement"))),
                cumulative: uint128(vm.parseJsonUint(json, string.concat(sibling, ".cumulative")))
            });
        }
    }

    function test_headerDigest_isThePythonSides() public {
        string memory json = _read("eip712");
        string memory path = ".cases[0].message";
        vm.assertEq(vm.parseJsonString(json, ".cases[0].struct"), "Header");
        ITask.Header memory header = ITask.Header({
            taskId: vm.parseJsonBytes32(json, string.concat(path, ".taskId")),
            round: uint32(vm.parseJsonUint(json, string.concat(path, ".round"))),
            previous: vm.parseJsonBytes32(json, string.concat(path, ".previous")),
            baseModel: vm.parseJsonBytes32(json, string.concat(path, ".baseModel")),
            nextModel: vm.parseJsonBytes32(json, string.concat(path, ".nextModel")),
            validation: vm.parseJsonBytes32(json, string.concat(path, ".validation")),
            directionRoot: vm.parseJsonBytes32(json, string.concat(path, ".directionRoot")),
            treeRoot: vm.parseJsonBytes32(json, string.concat(path, ".treeRoot")),
            leafCount: uint32(vm.parseJsonUint(json, string.concat(path, ".leafCount"))),
            entitlement: uint128(vm.parseJsonUint(json, string.concat(path, ".entitlement"))),
            cumulative: uint128(vm.parseJsonUint(json, string.concat(path, ".cumulative"))),
            pot: uint128(vm.parseJsonUint(json, string.concat(path, ".pot"))),
            bundle: vm.parseJsonBytes32(json, string.concat(path, ".bundle"))
        });
        address there = vm.parseJsonAddress(json, ".contract");
        Etch(address(vm)).etch(there, address(new Fairshare()).code);
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        vm.assertEq(Fairshare(there).headerDigest(header), vm.parseJsonBytes32(json, ".cases[0].digest"));
    }

    function test_payouts_areThePythonSides() public view {
        string memory json = _read("payout");
        uint256 cases;
        for (; vm.keyExistsJson(json, _item(".cases", cases)); cases++) {
            string memory path = _item(".cases", cases);
            uint256 budget = vm.parseJsonUint(json, string.concat(path, ".budget"));
            uint256 rounds = vm.parseJsonUint(json, string.concat(path, ".rounds"));
            path = string.concat(path, ".history");
            ITask.Leaf[] memory leaves = new ITask.Leaf[](0);
            uint256 total;
            for (uint256 r; vm.keyExistsJson(json, _item(path, r)); r++) {
                uint256 pot = (budget - total) / (rounds - r);
                (leaves, total) = _checkRound(json, _item(path, r), leaves, pot);
            }
        }
        vm.assertGe(cases, 4);
    }

    function _checkRound(string memory json, string memory path, ITask.Leaf[] memory before, uint256 pot)
        internal
        view
        returns (ITask.Leaf[] memory leaves, uint256 total)
    {
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".pot")), pot);
        string memory list = string.concat(path, ".accounts");
        uint256 count;
        while (vm.keyExistsJson(json, _item(list, count))) count++;
        leaves = new ITask.Leaf[](count);
        int128[] memory scores = new int128[](count);
        for (uint256 i; i < count; i++) {
            leaves[i].account = vm.parseJsonAddress(json, string.concat(_item(list, i), ".account"));
            scores[i] = int128(vm.parseJsonInt(json, string.concat(_item(list, i), ".score")));
            for (uint256 j; j < before.length; j++) {
                if (before[j].account == leaves[i].account) {
                    leaves[i].balance = before[j].balance;
                    leaves[i].cumulative = before[j].cumulative;
                }
            }
        }
        uint256 entitlement = Payout.settle(leaves, scores, pot);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".entitlement")), entitlement);
        for (uint256 i; i < count; i++) {
            vm.assertEq(vm.parseJsonUint(json, string.concat(_item(list, i), ".cumulative")), leaves[i].cumulative);
            vm.assertEq(vm.parseJsonInt(json, string.concat(_item(list, i), ".balance")), leaves[i].balance);
            total += leaves[i].cumulative;
        }
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".cumulative")), total);
    }
}
