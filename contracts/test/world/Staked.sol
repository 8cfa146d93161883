// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IEvaluators} from "../../src/interfaces/IEvaluators.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Disputed} from "./Disputed.sol";
import {Tree} from "./Tree.sol";
import {vm} from "./Vm.sol";

/// @notice A task whose evaluators stake.
abstract contract Staked is Disputed {
    uint128 internal constant STAKE = 20 ether;
    bytes32 internal constant BACK = keccak256("Back(bytes32 taskId,address evaluator,address payer)");

    uint256 internal staking = 2; // so many of the three stake before the start

    function _terms() internal view virtual override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.evaluatorStake = STAKE;
    }

    function _evaluator(uint256 index) internal view returns (address) {
        return vm.addr(evaluatorKeys[index]);
    }

    function _stake(uint256 index) internal {
        _fund(_evaluator(index), STAKE);
        vm.prank(_evaluator(index));
        fairshare.stakeEvaluator(taskId, _evaluator(index), "");
    }

    /// @dev A started task with all clients in it, for which the first evaluators have staked.
    function _ready() internal {
        _open(_terms());
        for (uint256 i; i < clients.length; i++) {
            _join(i, 1 ether);
        }
        for (uint256 i; i < staking; i++) {
            _stake(i);
        }
        _start();
    }

    function _held(uint256 index) internal view returns (uint256) {
        return fairshare.backerOf(taskId, _evaluator(index)).stake;
    }

    function _revertsWith(bytes4 selector, bytes memory arguments) internal {
        vm.expectRevert(bytes.concat(selector, arguments));
    }

    /// @dev A posted round whose first leaf has a wei too much, made to fit by the second, and the proof of it.
    function _theft() internal returns (ITask.Header memory header) {
        int128[] memory scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (2 ** 30, 2 ** 31, 2 ** 32);
        header = _next(scores);
        (leaves[0].cumulative, leaves[1].cumulative) = (leaves[0].cumulative + 1, leaves[1].cumulative - 1);
        _reseal(header);
        _send(header);
    }

    function _prove(ITask.Header memory header) internal {
        ITask.Header memory before = headers.length > 1 ? headers[headers.length - 2] : header;
        ITask.Leaf memory leafBefore = earlier.length == 0 ? leaves[0] : earlier[0];
        ITask.Proof memory proofBefore = earlier.length == 0 ? _proof(0) : Tree.prove(earlier, 0);
        vm.prank(ANYONE);
        court.proveTransition(before, leafBefore, proofBefore, header, leaves[0], _proof(0));
    }

    function _slash(ITask.Header memory header) internal {
        vm.prank(ANYONE);
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    function _costsNobody(ITask.Header memory header, uint32 number) internal {
        _revertsWith(IEvaluators.SignersNotAtFault.selector, abi.encode(taskId, number));
        fairshare.slashEvaluators(header, _signed(header, 2));
    }

    /// @dev A receipt of the coordinator's for bytes that nobody sent convicts it, and no evaluator could have known of it.
    function _omission(ITask.Header memory header) internal {
        bytes32 receipt = keccak256(
            abi.encode(
                keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)"),
                taskId, header.round, _client(0), keccak256("invented")
            )
        );
        court.proveOmission(
            header, leaves[0], _proof(0), keccak256("invented"), _sign(COORDINATOR_KEY, _typed(receipt))
        );
    }
}
