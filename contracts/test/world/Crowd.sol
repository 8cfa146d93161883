// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Fairshare} from "../../src/Fairshare.sol";
import {Ledger} from "../../src/Ledger.sol";
import {vm} from "./Vm.sol";

/// @notice Code that stands in for Disputes for one call, on the escrow's storage as the compiler lays it out.
contract Crowd is Ledger {
    /// @notice As if `count` challenges of a round were open.
    function crowd(bytes32 taskId, uint32 round, uint32 count) external {
        Task storage t = _tasks[taskId];
        (t.holds[round].count, t.clock.holds, t.clock.heldFrom) = (count, count, uint24(round));
    }
}

function crowd(address escrow, bytes32 taskId, uint32 round, uint32 count) {
    address disputes = Fairshare(escrow).disputes();
    bytes memory code = disputes.code;
    vm.etch(disputes, address(new Crowd()).code);
    Crowd(escrow).crowd(taskId, round, count);
    vm.etch(disputes, code);
}
