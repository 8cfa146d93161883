// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFairshare} from "../src/interfaces/IFairshare.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice What a transaction costs: 21,000, its calldata, and the call with every slot cold. Each measurement is one
/// isolated call (forge test --isolate), written to snapshots/ by Foundry.
/// forge-config: default.isolate = true
contract GasTest is World {
    uint256 internal constant CLIENTS = 1000;

    function _terms() internal view override returns (IFairshare.Terms memory terms) {
        terms = super._terms();
        terms.rounds = 10;
    }

    function _many(uint256 clients, uint8 quorum) internal {
        clientKeys = _keys(0xA0000, clients);
        IFairshare.Terms memory terms = _terms();
        terms.quorum = quorum;
        _begin(terms);
    }

    function _scores() internal view returns (int128[] memory scores) {
        scores = new int128[](clientKeys.length);
        for (uint256 i; i < scores.length; i++) {
            scores[i] = int128(int256(uint256(keccak256(abi.encode(i, headers.length))) % 2 ** 34));
        }
    }

    function _round(uint256 signers) internal returns (uint256 gas) {
        IFairshare.Header memory header = _next(_scores());
        IFairshare.Signature[] memory signatures = _signed(header, signers);
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
}
