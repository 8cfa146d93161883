// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFairshare} from "../interfaces/IFairshare.sol";

/// @title The Merkle-sum tree under a round's header
/// @notice leaf = keccak256(0x00 ‖ account ‖ updateRoot ‖ weight ‖ score ‖ balance ‖ cumulative), packed big-endian
///         node = keccak256(0x01 ‖ left ‖ right ‖ E_left ‖ C_left ‖ E_right ‖ C_right), sums as uint128
/// Leaves are sorted by account. A leaf adds max(0, balance) to the entitlement E and its cumulative to C. An odd node
/// is promoted as it is; a single leaf is the root. Since sums are hashed with the nodes, no set of leaves that opens
/// under one header can promise more than its totals.
library RoundTree {
    /// @notice Reverts unless `leaf` is the leaf at `proof.index` of the tree under `header`.
    /// @dev The index and the leaf count fix the number of siblings and their sides, so a proof has one form.
    function check(
        IFairshare.Header calldata header,
        IFairshare.Leaf calldata leaf,
        IFairshare.Proof calldata proof
    ) internal pure {
        uint256 index = proof.index;
        uint256 width = header.leafCount;
        if (index >= width) revert IFairshare.IndexOutOfRange(index, width);

        bytes32 node = hashLeaf(leaf);
        // Sums are kept in 256 bits and only grow on the way up (at most 32 terms below 2^128), so if they end at the
        // header's uint128 totals, none of them was cut when it was hashed as a uint128.
        uint256 entitlement = leaf.balance > 0 ? uint256(int256(leaf.balance)) : 0;
        uint256 cumulative = leaf.cumulative;
        uint256 used;
        IFairshare.Sibling[] calldata siblings = proof.siblings;
        for (; width > 1; width = (width + 1) >> 1) {
            bool right = index & 1 == 1;
            if (right || index + 1 < width) {
                if (used == siblings.length) {
                    revert IFairshare.WrongProofLength(siblings.length, length(proof.index, header.leafCount));
                }
                IFairshare.Sibling calldata other = siblings[used];
                uint256 otherEntitlement = other.entitlement;
                uint256 otherCumulative = other.cumulative;
                uint256 own = entitlement << 128 | cumulative;
                uint256 its = otherEntitlement << 128 | otherCumulative;
                node = right ? hashNode(other.node, node, its, own) : hashNode(node, other.node, own, its);
                entitlement += otherEntitlement;
                cumulative += otherCumulative;
                used++;
            }
            index >>= 1;
        }
        if (used != siblings.length) revert IFairshare.WrongProofLength(siblings.length, used);
        if (node != header.treeRoot) revert IFairshare.WrongRoot(node, header.treeRoot);
        if (entitlement != header.entitlement || cumulative != header.cumulative) {
            revert IFairshare.WrongSums(entitlement, cumulative, header.entitlement, header.cumulative);
        }
    }

    /// @notice The hash of a leaf.
    function hashLeaf(IFairshare.Leaf calldata leaf) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                bytes1(0x00), leaf.account, leaf.updateRoot, leaf.weight, leaf.score, leaf.balance, leaf.cumulative
            )
        );
    }

    /// @notice The hash of an inner node; sums are entitlement ‖ cumulative.
    function hashNode(bytes32 left, bytes32 right, uint256 leftSums, uint256 rightSums) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x01), left, right, leftSums, rightSums));
    }

    /// @notice The number of siblings in the proof of leaf `index` of `width` leaves.
    function length(uint256 index, uint256 width) internal pure returns (uint256 count) {
        for (; width > 1; width = (width + 1) >> 1) {
            if (index ^ 1 < width) count++;
            index >>= 1;
        }
    }
}
