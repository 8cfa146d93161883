// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";

bytes constant REST_TYPE =
    "Rest(bytes32 previous,bytes32 validation,bytes32 baseModel,bytes32 nextModel,bytes32 directionRoot,bytes32 enrolment,uint128 price,bytes32 bundle)";
bytes constant HEADER_TYPE =
    "Header(bytes32 taskId,uint32 round,bytes32 treeRoot,uint32 leafCount,uint128 cumulative,Rest rest)";

/// @notice What a claim brings of a header, hashed field by field.
function payroll(ITask.Header memory header) pure returns (ITask.Payroll memory roll) {
    bytes memory models = abi.encode(header.previous, header.validation, header.baseModel, header.nextModel);
    bytes memory others = abi.encode(header.directionRoot, header.enrolment, header.price, header.bundle);
    roll.taskId = header.taskId;
    roll.round = header.round;
    roll.treeRoot = header.treeRoot;
    roll.leafCount = header.leafCount;
    roll.cumulative = header.cumulative;
    roll.rest = keccak256(bytes.concat(keccak256(REST_TYPE), models, others));
}

/// @notice The EIP-712 struct hash of a header.
function hashOf(ITask.Header memory header) pure returns (bytes32) {
    return keccak256(abi.encode(keccak256(bytes.concat(HEADER_TYPE, REST_TYPE)), payroll(header)));
}
