// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";
import {Disputes} from "../../src/Disputes.sol";

/// @notice The rule by which proveTransition judges a leaf, proved by Halmos to be the formula of the design, for every
/// leaf, pot and total.
contract TransitionSymbolicTest is Disputes {
    /// @dev balance = min(0, balance before) + score; cumulative = cumulative before + floor(pot · entitlement / E), or one
    /// wei more where something was cut off; nothing while nobody is entitled. Written in signed integers, where the code
    /// compares and subtracts unsigned ones.
    function check_follows_isTheFormula(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        int128 balance,
        uint128 cumulative
    ) public pure {
        int256 carried = balance > 0 ? int256(0) : int256(balance);
        bool sound = int256(leaf.balance) - leaf.score == carried;
        int256 pay = int256(uint256(leaf.cumulative)) - int256(uint256(cumulative));
        if (header.entitlement == 0) {
            sound = sound && pay == 0;
        } else {
            uint256 share = uint256(header.pot) * (leaf.balance > 0 ? uint128(leaf.balance) : 0);
            int256 extra = pay - int256(share / header.entitlement);
            sound = sound && (extra == 0 || (extra == 1 && share % header.entitlement > 0));
        }
        assert(_follows(header, leaf, balance, cumulative) == sound);
    }
}
