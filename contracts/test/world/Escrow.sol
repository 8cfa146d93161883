// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Disputes} from "../../src/Disputes.sol";
import {Fairshare} from "../../src/Fairshare.sol";
import {Lifecycle} from "../../src/Lifecycle.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IEvaluators} from "../../src/interfaces/IEvaluators.sol";
import {IFairshare} from "../../src/interfaces/IFairshare.sol";
import {ILifecycle} from "../../src/interfaces/ILifecycle.sol";

/// @notice All that the one address answers to.
interface Escrow is IFairshare, ILifecycle, IEvaluators, IDisputes {
    function disputes() external view returns (address);
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);
}

function deployEscrow() returns (Escrow) {
    address lifecycle = address(new Lifecycle());
    address disputes = address(new Disputes(lifecycle));
    return Escrow(address(new Fairshare(disputes)));
}
