// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";
import {Disputes} from "../../src/Disputes.sol";

/// @notice The rule by which proveTransition judges a leaf, proved by Halmos to be the formula of the design, for every
/// leaf and price.
contract TransitionSymbolicTest is Disputes(address(0)) {
    /// @dev total = total before + score; cumulative = max(cumulative before, floor(price · max(0, total) / 2^64)). Written
    /// with a division, where the code shifts.
    function check_follows_isTheFormula(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        int128 total,
        uint128 cumulative
    ) public pure {
        uint256 positive = leaf.total > 0 ? uint256(int256(leaf.total)) : 0;
        uint256 worth = uint256(header.price) * positive / 2 ** 64;
        if (worth < cumulative) worth = cumulative;
        bool sound = int256(leaf.total) - leaf.score == total && leaf.cumulative == worth;
        assert(_follows(header, leaf, total, cumulative) == sound);
    }
}
