// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";
import {RoundTree} from "../../src/libraries/RoundTree.sol";
import {ScoreMath} from "../../src/libraries/ScoreMath.sol";
import {CHANGED, Progress} from "../../src/types/Progress.sol";

/// @notice Proofs for all inputs, by Halmos: `npm run symbolic`. forge itself does not run what is named `check`.
contract SymbolicTest {
    function door(ITask.Header calldata header, ITask.Leaf calldata leaf, ITask.Proof calldata proof) external pure {
        RoundTree.check(header, leaf, proof);
    }

    /// @dev A round sets the total and moves the round up by exactly one, and touches no other field.
    function check_withRound_isExact(uint256 word, uint96 total) public pure {
        Progress p = Progress.wrap(word);
        if (uint8(word >> 168) & 15 > 4) return; // no such status is ever written
        if (p.posted() == type(uint24).max || p.counted() + p.arriving() > type(uint24).max) return;
        Progress q = p.withRound(total);
        assert(q.cumulative() == total);
        assert(q.posted() == p.posted() + 1);
        assert(q.counted() == p.counted() + p.arriving());
        assert(q.arriving() == 0);
        assert(q.status() == p.status());
        assert(!q.has(CHANGED));
        assert(Progress.unwrap(q) >> 173 == Progress.unwrap(p) >> 173);
    }

    /// @dev Going back before a round writes exactly that round.
    function check_withVoid_isExact(uint256 word, uint24 round) public pure {
        Progress p = Progress.wrap(word);
        if (round == 0) return;
        Progress q = p.withVoid(round);
        assert(q.cumulative() == p.cumulative());
        assert(q.posted() == round - 1);
        assert(Progress.unwrap(q) >> 120 == Progress.unwrap(p) >> 120);
    }

    /// @dev What an unplanned end shares out: budget and bond to the wei, and never more to the sponsor than was lost.
    function check_unplannedEnd_sharesToTheWei(uint96 budget, uint96 bond, uint96 valid, uint96 posted, uint96 bounty)
        public
        pure
    {
        if (valid > posted || posted > budget || bounty > bond) return;
        uint256 rest = uint256(budget) - valid;
        uint256 void = uint256(posted) - valid;
        uint256 refund = rest > void ? rest - void : 0;
        uint256 left = uint256(bond) - bounty;
        if (refund > left) refund = left;
        uint256 pool = rest + left - refund;
        assert(refund + bounty <= bond);
        assert(pool >= void || refund == 0);
        assert(uint256(valid) + refund + pool + bounty == uint256(budget) + bond);
    }

    /// @dev Whatever siblings a prover makes up: a leaf that opens under a header adds no more than the header's totals.
    function check_sumTree_paysNoLeafBeyondItsTotal(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        bytes32 node,
        uint128 cumulative
    ) public view {
        if (header.leafCount != 2) return;
        ITask.Proof memory proof;
        proof.siblings = bytes.concat(node, bytes16(cumulative));
        try this.door(header, leaf, proof) {
            assert(uint256(leaf.cumulative) + cumulative == header.cumulative);
        } catch {}
    }

    /// @dev The score rounds down and never beyond one unit.
    function check_score_roundsDown(int128 raw, uint64 weight) public pure {
        int256 score = ScoreMath.score(raw, weight);
        int256 product = int256(raw) * int256(uint256(weight));
        assert(score * 2 ** 32 <= product);
        assert(product - score * 2 ** 32 < 2 ** 32);
    }
}
