// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";

/// @notice Total, price and cumulative of a whole round, as an honest coordinator computes them.
library Payout {
    /// @dev Moves every leaf on by one round: `leaves` come with the totals and cumulatives of the round before.
    function settle(ITask.Leaf[] memory leaves, int128[] memory scores, uint256 allowed)
        internal
        pure
        returns (uint128 price)
    {
        for (uint256 i; i < leaves.length; i++) {
            leaves[i].score = scores[i];
            leaves[i].total += scores[i];
        }
        // The largest price that the schedule can pay, bit by bit.
        for (uint256 bit = 128; bit > 0; bit--) {
            uint128 more = price | uint128(1 << (bit - 1));
            if (sum(leaves, more) <= allowed) price = more;
        }
        for (uint256 i; i < leaves.length; i++) {
            leaves[i].cumulative = uint128(worth(leaves[i], price));
        }
    }

    /// @dev What an account has at a price: never less than before.
    function worth(ITask.Leaf memory leaf, uint128 price) internal pure returns (uint256 cumulative) {
        cumulative = leaf.total > 0 ? uint256(price) * uint256(int256(leaf.total)) / 2 ** 64 : 0;
        if (cumulative < leaf.cumulative) cumulative = leaf.cumulative;
    }

    function sum(ITask.Leaf[] memory leaves, uint128 price) internal pure returns (uint256 total) {
        for (uint256 i; i < leaves.length; i++) {
            total += worth(leaves[i], price);
        }
    }
}
