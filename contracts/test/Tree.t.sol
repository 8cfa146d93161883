// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {RoundTree} from "../src/libraries/RoundTree.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";

contract RoundTreeDoor {
    function check(
        ITask.Payroll calldata roll,
        ITask.Leaf calldata leaf,
        ITask.Proof calldata proof
    ) external pure {
        RoundTree.check(roll, leaf, proof);
    }

    function checkRange(
        ITask.Payroll calldata roll,
        uint256 from,
        ITask.Leaf[] calldata leaves,
        bytes calldata siblings
    ) external pure {
        RoundTree.checkRange(roll, from, leaves, siblings);
    }

    function hashLeaf(ITask.Leaf calldata leaf) external pure returns (bytes32) {
        return RoundTree.hashLeaf(leaf);
    }
}

/// @notice A proof is taken in its one right form, and refused after any damage.
contract TreeTest {
    RoundTreeDoor internal door = new RoundTreeDoor();

    function _leaves(uint256 count, uint256 seed) internal pure returns (ITask.Leaf[] memory leaves) {
        leaves = new ITask.Leaf[](count);
        for (uint256 i; i < count; i++) {
            uint256 luck = uint256(keccak256(abi.encode(seed, i)));
            leaves[i] = ITask.Leaf({
                account: address(uint160((i + 1) << 140 | uint136(luck))),
                updateRoot: bytes32(luck),
                weight: uint64(luck),
                score: int128(uint128(luck >> 64)),
                total: int128(uint128(luck >> 128)),
                cumulative: uint128(luck) / 64
            });
        }
    }

    function _header(ITask.Leaf[] memory leaves) internal pure returns (ITask.Header memory header) {
        Tree.Node memory top = Tree.root(leaves);
        header.leafCount = uint32(leaves.length);
        (header.treeRoot, header.cumulative) = (top.node, top.cumulative);
    }

    function _refuses(ITask.Header memory header, ITask.Leaf memory leaf, ITask.Proof memory proof)
        internal
        view
        returns (bool)
    {
        try door.check(payroll(header), leaf, proof) {
            return false;
        } catch {
            return true;
        }
    }

    /// forge-config: default.fuzz.runs = 400
    function testFuzz_check_acceptsEveryLeafOfEveryTree(uint256 count, uint256 seed) public view {
        ITask.Leaf[] memory leaves = _leaves(count % 40 + 1, seed);
        ITask.Header memory header = _header(leaves);
        Tree.Node[][] memory levels = Tree.levels(leaves);
        for (uint256 i; i < leaves.length; i++) {
            ITask.Proof memory proof = Tree.prove(leaves, i);
            vm.assertEq(abi.encode(proof), abi.encode(Tree.proveIn(levels, i)));
            door.check(payroll(header), leaves[i], proof);
        }
    }

    function testFuzz_hashLeaf_isTheHashOfThePackedFields(ITask.Leaf memory leaf) public view {
        vm.assertEq(door.hashLeaf(leaf), Tree.leafNode(leaf).node);
    }

    /// forge-config: default.fuzz.runs = 1000
    function testFuzz_check_refusesADamagedLeaf(uint256 count, uint256 seed, uint256 at, uint256 field, uint256 bit)
        public
        view
    {
        ITask.Leaf[] memory leaves = _leaves(count % 20 + 1, seed);
        ITask.Header memory header = _header(leaves);
        uint256 i = at % leaves.length;
        ITask.Proof memory proof = Tree.prove(leaves, i);
        ITask.Leaf memory leaf = leaves[i];
        if (field % 6 == 0) leaf.account = address(uint160(leaf.account) ^ uint160(1 << bit % 160));
        if (field % 6 == 1) leaf.updateRoot ^= bytes32(1 << bit % 256);
        if (field % 6 == 2) leaf.weight ^= uint64(1 << bit % 64);
        if (field % 6 == 3) leaf.score ^= int128(uint128(1 << bit % 128));
        if (field % 6 == 4) leaf.total ^= int128(uint128(1 << bit % 128));
        if (field % 6 == 5) leaf.cumulative ^= uint128(1 << bit % 128);
        vm.assertTrue(_refuses(header, leaf, proof));
    }

    /// forge-config: default.fuzz.runs = 1000
    function testFuzz_check_refusesADamagedProof(uint256 count, uint256 seed, uint256 at, uint256 which, uint256 bit)
        public
        view
    {
        ITask.Leaf[] memory leaves = _leaves(count % 20 + 2, seed);
        ITask.Header memory header = _header(leaves);
        uint256 i = at % leaves.length;
        ITask.Proof memory proof = Tree.prove(leaves, i);
        if (bit % 3 == 0) proof.index = uint32((i + 1) % leaves.length); // another leaf's place
        else proof.siblings[which % proof.siblings.length] ^= bytes1(uint8(1 << (bit >> 8) % 8));
        vm.assertTrue(_refuses(header, leaves[i], proof));
    }

    function test_check_revertsIfTheIndexIsBeyondTheLeaves() public {
        ITask.Leaf[] memory leaves = _leaves(5, 1);
        ITask.Header memory header = _header(leaves);
        ITask.Proof memory proof = Tree.prove(leaves, 4);
        proof.index = 5;
        vm.expectRevert(abi.encodeWithSelector(ITask.IndexOutOfRange.selector, 5, 5));
        door.check(payroll(header), leaves[4], proof);
    }

    function test_check_revertsIfTheProofIsTruncated() public {
        ITask.Leaf[] memory leaves = _leaves(5, 1);
        ITask.Header memory header = _header(leaves);
        ITask.Proof memory proof = Tree.prove(leaves, 0);
        bytes memory siblings = proof.siblings;
        assembly ("memory-safe") {
            mstore(siblings, 143) // the last byte is missing
        }
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongProofLength.selector, 143, 144));
        door.check(payroll(header), leaves[0], proof);
    }

    function test_check_revertsIfTheProofIsPadded() public {
        ITask.Leaf[] memory leaves = _leaves(5, 1);
        ITask.Header memory header = _header(leaves);
        ITask.Proof memory proof = Tree.prove(leaves, 4); // the odd one: a single sibling
        proof.siblings = bytes.concat(proof.siblings, hex"00");
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongProofLength.selector, 49, 48));
        door.check(payroll(header), leaves[4], proof);
    }

    function test_check_revertsIfASingleLeafComesWithASibling() public {
        ITask.Leaf[] memory leaves = _leaves(1, 1);
        ITask.Header memory header = _header(leaves);
        ITask.Proof memory proof = Tree.prove(leaves, 0);
        door.check(payroll(header), leaves[0], proof);
        proof.siblings = new bytes(48);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongProofLength.selector, 48, 0));
        door.check(payroll(header), leaves[0], proof);
    }

    function test_check_revertsIfAnInnerNodeIsGivenAsALeafsSibling() public {
        // Four leaves whose header says two: leaf 0 with the right half as its sibling is not the root's preimage.
        ITask.Leaf[] memory leaves = _leaves(4, 1);
        ITask.Header memory header = _header(leaves);
        header.leafCount = 2;
        Tree.Node memory right = Tree.levels(leaves)[1][1];
        ITask.Proof memory proof;
        proof.siblings = Tree.pack(right);
        Tree.Node memory wrong = Tree.join(Tree.leafNode(leaves[0]), right);
        vm.expectRevert(
            abi.encodeWithSelector(ITask.WrongRoot.selector, wrong.node, header.treeRoot)
        );
        door.check(payroll(header), leaves[0], proof);
    }

    function test_check_revertsIfTheSumIsNotTheHeaders() public {
        ITask.Leaf[] memory leaves = _leaves(5, 1);
        ITask.Header memory header = _header(leaves);
        ITask.Proof memory proof = Tree.prove(leaves, 2);
        uint256 cumulative = header.cumulative;
        header.cumulative -= 1; // a tree that promises one wei more than its header
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongSum.selector, cumulative, cumulative - 1));
        door.check(payroll(header), leaves[2], proof);
    }

    function test_check_revertsIfSumsWrapAround() public {
        // Two leaves with 2^127 each wrap to a sum of 0 in 128 bits; a header that promises 0 does not open.
        ITask.Leaf[] memory leaves = _leaves(2, 1);
        leaves[0].cumulative = leaves[1].cumulative = 1 << 127;
        Tree.Node memory left = Tree.leafNode(leaves[0]);
        Tree.Node memory right = Tree.leafNode(leaves[1]);
        ITask.Header memory header;
        header.leafCount = 2;
        bytes memory sums = bytes.concat(bytes16(uint128(1 << 127)), bytes16(uint128(1 << 127)));
        header.treeRoot = keccak256(bytes.concat(hex"01", left.node, right.node, sums));
        ITask.Proof memory proof;
        proof.siblings = Tree.pack(right);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongSum.selector, 1 << 128, 0));
        door.check(payroll(header), leaves[0], proof);
    }

    /* ranges */

    function _some(ITask.Leaf[] memory leaves, uint256 from, uint256 count)
        internal
        pure
        returns (ITask.Leaf[] memory some)
    {
        some = new ITask.Leaf[](count);
        for (uint256 i; i < count; i++) {
            some[i] = leaves[from + i];
        }
    }

    /// forge-config: default.fuzz.runs = 200
    function testFuzz_checkRange_acceptsEveryRangeOfEveryTree(uint256 size, uint256 seed) public view {
        ITask.Leaf[] memory leaves = _leaves(size % 20 + 1, seed);
        ITask.Header memory header = _header(leaves);
        Tree.Node[][] memory levels = Tree.levels(leaves);
        for (uint256 from; from < leaves.length; from++) {
            for (uint256 count = 1; from + count <= leaves.length; count++) {
                door.checkRange(payroll(header), from, _some(leaves, from, count), Tree.proveRange(levels, from, count));
            }
        }
    }

    /// forge-config: default.fuzz.runs = 500
    function testFuzz_checkRange_refusesAnyDamage(uint256 size, uint256 seed, uint256 luck) public view {
        ITask.Leaf[] memory leaves = _leaves(size % 20 + 3, seed);
        ITask.Header memory header = _header(leaves);
        uint256 from = luck % (leaves.length - 2);
        uint256 count = (luck >> 8) % (leaves.length - from) + 1;
        ITask.Leaf[] memory some = _some(leaves, from, count);
        bytes memory siblings = Tree.proveRange(Tree.levels(leaves), from, count);
        uint256 at = (luck >> 16) % count;
        uint256 bit = luck >> 32;
        uint256 field = (luck >> 24) % (siblings.length == 0 ? 4 : 5);
        if (field == 0) some[at].cumulative ^= uint128(1 << bit % 128);
        if (field == 1) some[at].total ^= int128(uint128(1 << bit % 128));
        if (field == 2) some[at].updateRoot ^= bytes32(1 << bit % 256);
        if (field == 3) from = from + 1; // other places
        if (field == 4) siblings[bit % siblings.length] ^= bytes1(uint8(1 << (bit >> 16) % 8));
        try door.checkRange(payroll(header), from, some, siblings) {
            revert("accepted");
        } catch (bytes memory reason) {
            vm.assertGe(reason.length, 4);
            vm.assertNotEq(bytes32(bytes4(reason)), bytes32(bytes4(0x08c379a0)));
        }
    }

    function test_checkRange_revertsIfItIsEmptyOrTooLong() public {
        ITask.Leaf[] memory leaves = _leaves(3, 1);
        ITask.Header memory header = _header(leaves);
        vm.expectRevert(abi.encodeWithSelector(ITask.IndexOutOfRange.selector, 1, 3));
        door.checkRange(payroll(header), 1, _some(leaves, 0, 0), "");
        vm.expectRevert(abi.encodeWithSelector(ITask.IndexOutOfRange.selector, 4, 3));
        door.checkRange(payroll(header), 1, leaves, "");
    }

    function test_checkRange_revertsIfSiblingsAreMissingOrTooMany() public {
        ITask.Leaf[] memory leaves = _leaves(3, 1);
        ITask.Header memory header = _header(leaves);
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongProofLength.selector, 0, 48));
        door.checkRange(payroll(header), 1, _some(leaves, 1, 2), "");
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongProofLength.selector, 48, 0));
        door.checkRange(payroll(header), 0, leaves, new bytes(48));
    }

    function test_checkRange_revertsIfTheSumIsNotTheHeaders() public {
        ITask.Leaf[] memory leaves = _leaves(3, 1);
        ITask.Header memory header = _header(leaves);
        uint256 cumulative = header.cumulative;
        header.cumulative += 1;
        vm.expectRevert(abi.encodeWithSelector(ITask.WrongSum.selector, cumulative, cumulative + 1));
        door.checkRange(payroll(header), 0, leaves, "");
    }
}
