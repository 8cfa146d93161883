// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Fairshare} from "../src/Fairshare.sol";
import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {BlockTree} from "../src/libraries/BlockTree.sol";
import {ScoreMath} from "../src/libraries/ScoreMath.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {RoundTreeDoor} from "./Tree.t.sol";
import {enrolmentAfter} from "./world/Covers.sol";
import {Payout} from "./world/Payout.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";

contract ScoreDoor {
    function check(bytes32 root, uint64 blocks, uint64 index, bytes calldata opening) external view {
        BlockTree.check(root, blocks, index, opening);
    }

    function partialSum(bytes calldata update, bytes calldata direction) external pure returns (int256) {
        return ScoreMath.partialSum(update, direction);
    }

    function score(bytes calldata sums, uint64 weight) external pure returns (int256 raw, int256) {
        (, raw) = SumTree.build(sums);
        return (raw, ScoreMath.score(raw, weight));
    }
}

interface Etch {
    function etch(address account, bytes calldata code) external;
}

/// @notice The vectors of tests/vectors, written by the Python side from exact arithmetic.
contract VectorsTest {
    RoundTreeDoor internal door = new RoundTreeDoor();
    ScoreDoor internal scores_ = new ScoreDoor();

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
            total: int128(vm.parseJsonInt(json, string.concat(path, ".total"))),
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
            header.cumulative = uint128(vm.parseJsonUint(json, string.concat(path, ".cumulative")));
            vm.assertEq(Tree.root(leaves).node, header.treeRoot);
            for (uint256 i; i < count; i++) {
                ITask.Proof memory proof = _proof(json, _item(string.concat(path, ".proofs"), i), i);
                vm.assertEq(abi.encode(proof), abi.encode(Tree.prove(leaves, i)));
                door.check(payroll(header), leaves[i], proof);
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
        for (uint256 i; i < count; i++) {
            string memory sibling = _item(path, i);
            bytes32 node = vm.parseJsonBytes32(json, string.concat(sibling, ".node"));
            uint128 cumulative = uint128(vm.parseJsonUint(json, string.concat(sibling, ".cumulative")));
            proof.siblings = bytes.concat(proof.siblings, node, bytes16(cumulative));
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
            enrolment: vm.parseJsonBytes32(json, string.concat(path, ".enrolment")),
            cumulative: uint128(vm.parseJsonUint(json, string.concat(path, ".cumulative"))),
            price: uint128(vm.parseJsonUint(json, string.concat(path, ".price"))),
            bundle: vm.parseJsonBytes32(json, string.concat(path, ".bundle"))
        });
        address there = vm.parseJsonAddress(json, ".contract");
        Etch(address(vm)).etch(there, address(new Fairshare(address(0))).code);
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        vm.assertEq(Fairshare(there).headerDigest(header), vm.parseJsonBytes32(json, ".cases[0].digest"));
        vm.assertEq(Fairshare(there).headerHash(header), vm.parseJsonBytes32(json, ".cases[0].structHash"));
    }

    function test_enrolments_areThePythonSides() public view {
        string memory json = _read("enrolment");
        uint256 steps;
        for (uint256 i; vm.keyExistsJson(json, _item(".cases", i)); i++) {
            string memory list = string.concat(_item(".cases", i), ".steps");
            bytes32 hash;
            for (uint256 j; vm.keyExistsJson(json, _item(list, j)); j++) {
                string memory path = _item(list, j);
                hash = enrolmentAfter({
                    before: hash,
                    kind: uint8(vm.parseJsonUint(json, string.concat(path, ".kind"))),
                    account: vm.parseJsonAddress(json, string.concat(path, ".account")),
                    round: uint32(vm.parseJsonUint(json, string.concat(path, ".round"))),
                    stake: uint128(vm.parseJsonUint(json, string.concat(path, ".stake")))
                });
                vm.assertEq(hash, vm.parseJsonBytes32(json, string.concat(path, ".hash")));
                steps++;
            }
        }
        vm.assertGe(steps, 4);
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
            for (uint256 r; vm.keyExistsJson(json, _item(path, r)); r++) {
                uint256 allowed = r + 1 == rounds ? budget : budget * (r + 1) / rounds;
                leaves = _checkRound(json, _item(path, r), leaves, allowed);
            }
        }
        vm.assertGe(cases, 4);
    }

    function _checkRound(string memory json, string memory path, ITask.Leaf[] memory before, uint256 allowed)
        internal
        view
        returns (ITask.Leaf[] memory leaves)
    {
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".allowed")), allowed);
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
                    leaves[i].total = before[j].total;
                    leaves[i].cumulative = before[j].cumulative;
                }
            }
        }
        uint128 price = Payout.settle(leaves, scores, allowed);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".price")), price);
        uint256 total;
        for (uint256 i; i < count; i++) {
            vm.assertEq(vm.parseJsonUint(json, string.concat(_item(list, i), ".cumulative")), leaves[i].cumulative);
            vm.assertEq(vm.parseJsonInt(json, string.concat(_item(list, i), ".total")), leaves[i].total);
            total += leaves[i].cumulative;
        }
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".cumulative")), total);
    }

    function test_blockTrees_openWithThePythonSidesPaths() public view {
        string memory json = _read("block_tree");
        uint256 cases;
        for (; vm.keyExistsJson(json, _item(".cases", cases)); cases++) {
            string memory path = _item(".cases", cases);
            uint64 count = uint64(vm.parseJsonUint(json, string.concat(path, ".count")));
            bytes32 root = vm.parseJsonBytes32(json, string.concat(path, ".root"));
            for (uint64 i; i < count; i++) {
                bytes memory opening = vm.parseJsonBytes(json, _item(string.concat(path, ".blocks"), i));
                string memory list = _item(string.concat(path, ".paths"), i);
                for (uint256 j; vm.keyExistsJson(json, _item(list, j)); j++) {
                    opening = bytes.concat(opening, vm.parseJsonBytes32(json, _item(list, j)));
                }
                scores_.check(root, count, i, opening);
            }
        }
        vm.assertGe(cases, 8);
    }

    function test_scores_areThePythonSides() public view {
        string memory json = _read("score");
        uint256 cases;
        for (; vm.keyExistsJson(json, _item(".cases", cases)); cases++) {
            string memory path = _item(".cases", cases);
            bytes memory sums;
            for (uint256 i; vm.keyExistsJson(json, _item(string.concat(path, ".partials"), i)); i++) {
                int256 expected = vm.parseJsonInt(json, _item(string.concat(path, ".partials"), i));
                bytes memory update = vm.parseJsonBytes(json, _item(string.concat(path, ".update"), i));
                bytes memory direction = vm.parseJsonBytes(json, _item(string.concat(path, ".direction"), i));
                vm.assertEq(scores_.partialSum(update, direction), expected);
                sums = bytes.concat(sums, bytes16(uint128(int128(expected))));
            }
            uint64 weight = uint64(vm.parseJsonUint(json, string.concat(path, ".weight")));
            (int256 raw, int256 score) = scores_.score(sums, weight);
            vm.assertEq(raw, vm.parseJsonInt(json, string.concat(path, ".raw")));
            vm.assertEq(score, vm.parseJsonInt(json, string.concat(path, ".score")));
        }
        vm.assertGe(cases, 5);
    }

    /// @dev foundry.toml compiles as solc.json says, which the Python side reads.
    function test_settings_areTheSameForForgeAndPython() public view {
        string memory json = vm.readFile(string.concat(vm.projectRoot(), "/solc.json"));
        string memory toml = vm.readFile(string.concat(vm.projectRoot(), "/foundry.toml"));
        vm.assertTrue(vm.parseJsonBool(json, ".optimizer.enabled"));
        _assertLine(toml, "optimizer = true");
        _assertLine(toml, string.concat("optimizer_runs = ", vm.toString(vm.parseJsonUint(json, ".optimizer.runs"))));
        _assertLine(toml, string.concat("evm_version = \"", vm.parseJsonString(json, ".evmVersion"), "\""));
        _assertLine(toml, string.concat("bytecode_hash = \"", vm.parseJsonString(json, ".metadata.bytecodeHash"), "\""));
        vm.assertFalse(vm.parseJsonBool(json, ".metadata.appendCBOR"));
        _assertLine(toml, "cbor_metadata = false");
        _assertLine(toml, "via_ir = false");
    }

    function _assertLine(string memory text, string memory line) internal pure {
        bytes memory hay = bytes(text);
        bytes memory needle = bytes.concat("\n", bytes(line), "\n");
        for (uint256 i; i + needle.length <= hay.length; i++) {
            uint256 j;
            while (j < needle.length && hay[i + j] == needle[j]) j++;
            if (j == needle.length) return;
        }
        vm.assertEq(line, "a line of foundry.toml");
    }
}
