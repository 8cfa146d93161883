// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFairshare} from "../src/interfaces/IFairshare.sol";
import {RoundTree} from "../src/libraries/RoundTree.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";

contract RoundTreeDoor {
    function check(
        IFairshare.Header calldata header,
        IFairshare.Leaf calldata leaf,
        IFairshare.Proof calldata proof
    ) external pure {
        RoundTree.check(header, leaf, proof);
    }

    function hashLeaf(IFairshare.Leaf calldata leaf) external pure returns (bytes32) {
        return RoundTree.hashLeaf(leaf);
    }
}

/// @notice A proof is taken in its one right form, and refused after any damage.
contract TreeTest {
    RoundTreeDoor internal door = new RoundTreeDoor();

    function _leaves(uint256 count, uint256 seed) internal pure returns (IFairshare.Leaf[] memory leaves) {
        leaves = new IFairshare.Leaf[](count);
        for (uint256 i; i < count; i++) {
            uint256 luck = uint256(keccak256(abi.encode(seed, i)));
            leaves[i] = IFairshare.Leaf({
                account: address(uint160((i + 1) << 140 | uint136(luck))),
                updateRoot: bytes32(luck),
                weight: uint64(luck),
                score: int128(uint128(luck >> 64)),
                balance: int128(uint128(luck >> 128)) / 64,
                cumulative: uint128(luck) / 64
            });
        }
    }

    function _header(IFairshare.Leaf[] memory leaves) internal pure returns (IFairshare.Header memory header) {
        Tree.Node memory top = Tree.root(leaves);
        header.leafCount = uint32(leaves.length);
        (header.treeRoot, header.entitlement, header.cumulative) = (top.node, top.entitlement, top.cumulative);
    }

    function _refuses(IFairshare.Header memory header, IFairshare.Leaf memory leaf, IFairshare.Proof memory proof)
        internal
        view
        returns (bool)
    {
        try door.check(header, leaf, proof) {
            return false;
        } catch {
            return true;
        }
    }

    /// forge-config: default.fuzz.runs = 400
    function testFuzz_check_acceptsEveryLeafOfEveryTree(uint256 count, uint256 seed) public view {
        IFairshare.Leaf[] memory leaves = _leaves(count % 40 + 1, seed);
        IFairshare.Header memory header = _header(leaves);
        Tree.Node[][] memory levels = Tree.levels(leaves);
        for (uint256 i; i < leaves.length; i++) {
            IFairshare.Proof memory proof = Tree.prove(leaves, i);
            vm.assertEq(abi.encode(proof), abi.encode(Tree.proveIn(levels, i)));
            door.check(header, leaves[i], proof);
        }
    }

    function testFuzz_hashLeaf_isTheHashOfThePackedFields(IFairshare.Leaf memory leaf) public view {
        vm.assertEq(door.hashLeaf(leaf), Tree.leafNode(leaf).node);
    }

    /// forge-config: default.fuzz.runs = 1000
    function testFuzz_check_refusesADamagedLeaf(uint256 count, uint256 seed, uint256 at, uint256 field, uint256 bit)
        public
        view
    {
        IFairshare.Leaf[] memory leaves = _leaves(count % 20 + 1, seed);
        IFairshare.Header memory header = _header(leaves);
        uint256 i = at % leaves.length;
        IFairshare.Proof memory proof = Tree.prove(leaves, i);
        IFairshare.Leaf memory leaf = leaves[i];
        if (field % 6 == 0) leaf.account = address(uint160(leaf.account) ^ uint160(1 << bit % 160));
        if (field % 6 == 1) leaf.updateRoot ^= bytes32(1 << bit % 256);
        if (field % 6 == 2) leaf.weight ^= uint64(1 << bit % 64);
        if (field % 6 == 3) leaf.score ^= int128(uint128(1 << bit % 128));
        if (field % 6 == 4) leaf.balance ^= int128(uint128(1 << bit % 128));
        if (field % 6 == 5) leaf.cumulative ^= uint128(1 << bit % 128);
        vm.assertTrue(_refuses(header, leaf, proof));
    }

    /// forge-config: default.fuzz.runs = 1000
    function testFuzz_check_refusesADamagedProof(uint256 count, uint256 seed, uint256 at, uint256 which, uint256 bit)
        public
        view
    {
        IFairshare.Leaf[] memory leaves = _leaves(count % 20 + 2, seed);
        IFairshare.Header memory header = _header(leaves);
        uint256 i = at % leaves.length;
        IFairshare.Proof memory proof = Tree.prove(leaves, i);
        IFairshare.Sibling memory sibling = proof.siblings[which % proof.siblings.length];
        if (bit % 4 == 0) sibling.node ^= bytes32(1 << (bit >> 8) % 256);
        if (bit % 4 == 1) sibling.entitlement ^= uint128(1 << (bit >> 8) % 128);
        if (bit % 4 == 2) sibling.cumulative ^= uint128(1 << (bit >> 8) % 128);
        if (bit % 4 == 3) proof.index = uint32((i + 1) % leaves.length); // another leaf's place
        vm.assertTrue(_refuses(header, leaves[i], proof));
    }

    function test_check_revertsIfTheIndexIsBeyondTheLeaves() public {
        IFairshare.Leaf[] memory leaves = _leaves(5, 1);
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 4);
        proof.index = 5;
        vm.expectRevert(abi.encodeWithSelector(IFairshare.IndexOutOfRange.selector, 5, 5));
        door.check(header, leaves[4], proof);
    }

    function test_check_revertsIfTheProofIsTruncated() public {
        IFairshare.Leaf[] memory leaves = _leaves(5, 1);
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 0);
        IFairshare.Sibling[] memory fewer = new IFairshare.Sibling[](2);
        (fewer[0], fewer[1]) = (proof.siblings[0], proof.siblings[1]);
        proof.siblings = fewer;
        vm.expectRevert(abi.encodeWithSelector(IFairshare.WrongProofLength.selector, 2, 3));
        door.check(header, leaves[0], proof);
    }

    function test_check_revertsIfTheProofIsPadded() public {
        IFairshare.Leaf[] memory leaves = _leaves(5, 1);
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 4); // the odd one: a single sibling
        IFairshare.Sibling[] memory more = new IFairshare.Sibling[](2);
        more[0] = proof.siblings[0];
        proof.siblings = more;
        vm.expectRevert(abi.encodeWithSelector(IFairshare.WrongProofLength.selector, 2, 1));
        door.check(header, leaves[4], proof);
    }

    function test_check_revertsIfASingleLeafComesWithASibling() public {
        IFairshare.Leaf[] memory leaves = _leaves(1, 1);
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 0);
        door.check(header, leaves[0], proof);
        proof.siblings = new IFairshare.Sibling[](1);
        vm.expectRevert(abi.encodeWithSelector(IFairshare.WrongProofLength.selector, 1, 0));
        door.check(header, leaves[0], proof);
    }

    function test_check_revertsIfAnInnerNodeIsGivenAsALeafsSibling() public {
        // Four leaves whose header says two: leaf 0 with the right half as its sibling is not the root's preimage.
        IFairshare.Leaf[] memory leaves = _leaves(4, 1);
        IFairshare.Header memory header = _header(leaves);
        header.leafCount = 2;
        Tree.Node memory right = Tree.levels(leaves)[1][1];
        IFairshare.Proof memory proof;
        proof.siblings = new IFairshare.Sibling[](1);
        proof.siblings[0] = IFairshare.Sibling(right.node, right.entitlement, right.cumulative);
        Tree.Node memory wrong = Tree.join(Tree.leafNode(leaves[0]), right);
        vm.expectRevert(
            abi.encodeWithSelector(IFairshare.WrongRoot.selector, wrong.node, header.treeRoot)
        );
        door.check(header, leaves[0], proof);
    }

    function test_check_revertsIfTheSumsAreNotTheHeaders() public {
        IFairshare.Leaf[] memory leaves = _leaves(5, 1);
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 2);
        (uint256 entitlement, uint256 cumulative) = (header.entitlement, header.cumulative);
        header.cumulative -= 1; // a tree that promises one wei more than its header
        vm.expectRevert(
            abi.encodeWithSelector(IFairshare.WrongSums.selector, entitlement, cumulative, entitlement, cumulative - 1)
        );
        door.check(header, leaves[2], proof);
        header.cumulative += 1;
        header.entitlement += 1;
        vm.expectRevert(
            abi.encodeWithSelector(IFairshare.WrongSums.selector, entitlement, cumulative, entitlement + 1, cumulative)
        );
        door.check(header, leaves[2], proof);
    }

    function test_check_revertsIfSumsWrapAround() public {
        // Two leaves with 2^127 each wrap to a sum of 0 in 128 bits; a header that promises 0 does not open.
        IFairshare.Leaf[] memory leaves = _leaves(2, 1);
        leaves[0].cumulative = leaves[1].cumulative = 1 << 127;
        leaves[0].balance = leaves[1].balance = 0;
        Tree.Node memory left = Tree.leafNode(leaves[0]);
        Tree.Node memory right = Tree.leafNode(leaves[1]);
        IFairshare.Header memory header;
        header.leafCount = 2;
        bytes memory sums = bytes.concat(bytes16(0), bytes16(uint128(1 << 127)), bytes16(0), bytes16(uint128(1 << 127)));
        header.treeRoot = keccak256(bytes.concat(hex"01", left.node, right.node, sums));
        IFairshare.Proof memory proof;
        proof.siblings = new IFairshare.Sibling[](1);
        proof.siblings[0] = IFairshare.Sibling(right.node, 0, 1 << 127);
        vm.expectRevert(abi.encodeWithSelector(IFairshare.WrongSums.selector, 0, 1 << 128, 0, 0));
        door.check(header, leaves[0], proof);
    }

    function test_check_revertsIfASiblingsSumHasMoreThan128Bits() public {
        IFairshare.Leaf[] memory leaves = _leaves(2, 1);
        leaves[0].balance = leaves[1].balance = -1;
        IFairshare.Header memory header = _header(leaves);
        IFairshare.Proof memory proof = Tree.prove(leaves, 0);
        bytes memory call = abi.encodeCall(door.check, (header, leaves[0], proof));
        // The sibling's entitlement lies in the last but one word; OR-ing it in changes nothing that is hashed.
        call[call.length - 64] = 0x01;
        (bool done, bytes memory reason) = address(door).call(call);
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(IFairshare.WrongSums.selector));
    }
}
