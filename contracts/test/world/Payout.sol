// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";

/// @notice Balance, payout and cumulative of a whole round, as an honest coordinator computes them.
library Payout {
    /// @dev Moves every leaf on by one round: `leaves` come with the balances and cumulatives of the round before.
    function settle(ITask.Leaf[] memory leaves, int128[] memory scores, uint256 pot)
        internal
        pure
        returns (uint256 entitlement)
    {
        for (uint256 i; i < leaves.length; i++) {
            ITask.Leaf memory leaf = leaves[i];
            leaf.score = scores[i];
            leaf.balance = (leaf.balance < 0 ? leaf.balance : int128(0)) + scores[i];
            if (leaf.balance > 0) entitlement += uint128(leaf.balance);
        }
        if (entitlement == 0) return 0;
        uint256 left = pot;
        uint256[] memory remainders = new uint256[](leaves.length);
        for (uint256 i; i < leaves.length; i++) {
            uint256 share = leaves[i].balance > 0 ? uint128(leaves[i].balance) : 0;
            uint256 pay = pot * share / entitlement;
            remainders[i] = pot * share % entitlement + 1; // 0 is for those that had their extra wei
            leaves[i].cumulative += uint128(pay);
            left -= pay;
        }
        for (; left > 0; left--) {
            uint256 best;
            for (uint256 i = 1; i < leaves.length; i++) {
                if (remainders[i] > remainders[best]) best = i; // leaves are sorted: the first of equals has the lower address
            }
            remainders[best] = 0;
            leaves[best].cumulative += 1;
        }
    }
}
