// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Disputes} from "../src/Disputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {BlockTree} from "../src/libraries/BlockTree.sol";
import {RoundTree} from "../src/libraries/RoundTree.sol";
import {ScoreMath} from "../src/libraries/ScoreMath.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {toPosting} from "../src/types/Posting.sol";
import {Progress} from "../src/types/Progress.sol";

/// @title The libraries' internal functions, callable from Python
/// @notice tests/chain/test_differential.py holds them against the Python side on random inputs.
contract Mirror {
    function hashLeaf(ITask.Leaf calldata leaf) external pure returns (bytes32) {
        return RoundTree.hashLeaf(leaf);
    }

    function hashNode(ITask.Sibling calldata left, ITask.Sibling calldata right) external pure returns (bytes32) {
        return RoundTree.hashNode(left, right);
    }

    function checkLeaf(ITask.Payroll calldata roll, ITask.Leaf calldata leaf, ITask.Proof calldata proof)
        external
        pure
    {
        RoundTree.check(roll, leaf, proof);
    }

    function checkRange(
        ITask.Payroll calldata roll,
        uint32 from,
        ITask.Leaf[] calldata leaves,
        bytes calldata siblings
    ) external pure {
        RoundTree.checkRange(roll, from, leaves, siblings);
    }

    function checkBlock(bytes32 root, uint64 blocks, uint64 index, bytes calldata opening) external view {
        BlockTree.check(root, blocks, index, opening);
    }

    function blockRoot(uint64 blocks, bytes32 top) external pure returns (bytes32) {
        return BlockTree.root(blocks, top);
    }

    function partialSum(bytes calldata update, bytes calldata direction) external pure returns (int256) {
        return ScoreMath.partialSum(update, direction);
    }

    function score(int256 raw, uint64 weight) external pure returns (int256) {
        return ScoreMath.score(raw, weight);
    }

    function buildSums(bytes calldata sums) external pure returns (bytes32 root, int256 total) {
        return SumTree.build(sums);
    }

    function checkSum(bytes32 root, uint256 width, uint256 index, int128 sum, bytes32[] calldata path) external pure {
        SumTree.check(root, width, index, sum, path);
    }
}

/// @title The rule by which proveTransition judges
contract TransitionMirror is Disputes(address(0)) {
    function follows(ITask.Header calldata header, ITask.Leaf calldata leaf, int128 total, uint128 cumulative)
        external
        pure
        returns (bool)
    {
        return _follows(header, leaf, total, cumulative);
    }
}

/// @title What Disputes takes for a signed update, callable from Python for any task, round and account
/// @dev A contract of its own, and so is ReceiptMirror: with both functions Disputes is larger than a chain takes.
contract UpdateMirror is Disputes(address(0)) {
    function updateDigest(bytes32 taskId, uint32 round, address client, SignedUpdate calldata update)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(_updateHash(taskId, round, client, update));
    }
}

/// @title What Disputes takes for a signed receipt
contract ReceiptMirror is Disputes(address(0)) {
    /// @notice proveOmission itself, as if this header were posted and nobody were coordinator: it refuses every receipt
    /// and names the account that it takes for its signer.
    function refuseReceipt(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        ITask.Proof calldata proof,
        bytes32 updateRoot,
        ITask.Signature calldata receipt
    ) external {
        Task storage t = _tasks[header.taskId];
        t.progress = Progress.wrap(uint256(type(uint24).max) << 96).withStatus(Status.Started); // all rounds are posted
        t.postings[header.round] = toPosting(_headerHash(header), type(uint40).max); // and may still be disputed
        this.proveOmission(header, leaf, proof, updateRoot, receipt);
    }
}
