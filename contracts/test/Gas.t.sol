// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice What a transaction costs: 21,000, its calldata, and the call with every slot cold. Each measurement is one
/// isolated call (forge test --isolate), written to snapshots/ by Foundry.
/// forge-config: default.isolate = true
contract GasTest is World {
    uint256 internal constant CLIENTS = 1000;

    function _terms() internal view override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.rounds = 10;
    }

    function _many(uint256 count, uint8 quorum) internal {
        delete clients;
        for (uint256 i; i < count; i++) {
            // Ascending, and with as few zero bytes as a real address.
            clients.push(address(uint160((i + 1) << 144 | uint144(uint256(keccak256(abi.encode(i)))))));
        }
        ITask.Terms memory terms = _terms();
        terms.quorum = quorum;
        _begin(terms);
    }

    function _scores() internal view returns (int128[] memory scores) {
        scores = new int128[](clients.length);
        for (uint256 i; i < scores.length; i++) {
            scores[i] = int128(int256(uint256(keccak256(abi.encode(i, headers.length))) % 2 ** 34));
        }
    }

    function _round(uint256 signers) internal returns (uint256 gas) {
        ITask.Header memory header = _next(_scores());
        ITask.Signature[] memory signatures = _signed(header, signers);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
        headers.push(header);
        gas = vm.snapshotGasLastCall("gas", string.concat("post_", vm.toString(signers)));
        _wait(1 hours);
    }

    function test_post_1() public {
        _many(10, 1);
        _round(1);
        _round(1);
    }

    function test_post_3() public {
        _many(10, 3);
        _round(3);
        _round(3);
    }

    /// @dev First: the account holds no token yet. Later: it was paid before. Batched: 100 of them at once.
    function _claims(uint256 size, string memory suffix) internal {
        _many(size, 1);
        _round(1);
        ITask.Header memory header = headers[0];
        uint256 who = size / 3;
        // One payment before, so that the task's own counters are not zero any more.
        fairshare.claim(header, leaves[0], _proof(0));
        fairshare.claim(header, leaves[who], Tree.proveIn(Tree.levels(leaves), who));
        vm.snapshotGasLastCall("gas", string.concat("claim_first_", suffix));
        uint256 count = size < 100 ? size : 100;
        _claimBatch(header, 0, count);
        _round(1);
        header = headers[1];
        fairshare.claim(header, leaves[who], Tree.proveIn(Tree.levels(leaves), who));
        vm.snapshotGasLastCall("gas", string.concat("claim_later_", suffix));
        vm.snapshotValue("gas", string.concat("claim_batched_later_", suffix), _claimBatch(header, 0, count) / count);
        _round(1);
        vm.snapshotValue("gas", string.concat("claim_ranged_later_", suffix), _claimRange(headers[2], 0, count) / count);
    }

    function _claimRange(ITask.Header memory header, uint256 from, uint256 count) internal returns (uint256) {
        ITask.Leaf[] memory some = new ITask.Leaf[](count);
        for (uint256 i; i < count; i++) {
            some[i] = leaves[from + i];
        }
        fairshare.claimRange(header, uint32(from), some, Tree.proveRange(Tree.levels(leaves), from, count));
        return vm.snapshotGasLastCall("gas", "claim_range");
    }

    function _claimBatch(ITask.Header memory header, uint256 from, uint256 count) internal returns (uint256) {
        ITask.Leaf[] memory some = new ITask.Leaf[](count);
        ITask.Proof[] memory proofs = new ITask.Proof[](count);
        Tree.Node[][] memory levels = Tree.levels(leaves);
        for (uint256 i; i < count; i++) {
            some[i] = leaves[from + i];
            proofs[i] = Tree.proveIn(levels, from + i);
        }
        fairshare.claimBatch(header, some, proofs);
        return vm.snapshotGasLastCall("gas", "claim_batch");
    }

    function test_claim_10() public {
        _claims(10, "10");
    }

    function test_claim_100() public {
        _claims(100, "100");
    }

    function test_claim_1000() public {
        _claims(1000, "1000");
    }
}
