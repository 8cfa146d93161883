// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";
import {RoundTree} from "../../src/libraries/RoundTree.sol";
import {ScoreMath} from "../../src/libraries/ScoreMath.sol";
import {Progress} from "../../src/types/Progress.sol";

/// @notice Proofs for all inputs, by Halmos: `npm run symbolic`. forge itself does not run what is named `check`.
contract SymbolicTest {
    function door(ITask.Header calldata header, ITask.Leaf calldata leaf, ITask.Proof calldata proof) external pure {
        RoundTree.check(header, leaf, proof);
    }

    /// @dev A round moves the total up by exactly the pay and the round by exactly one, and touches no other field.
    function check_withRound_isExact(uint256 word, uint96 pay, bytes32 digest) public pure {
        Progress p = Progress.wrap(word);
        if (uint8(word >> 168) > 4) return; // no such status is ever written
        if (p.cumulative() + pay > type(uint96).max || p.posted() == type(uint24).max) return;
        if (p.counted() + p.arriving() > type(uint24).max) return;
        Progress q = p.withRound(pay, digest);
        assert(q.cumulative() == p.cumulative() + pay);
        assert(q.posted() == p.posted() + 1);
        assert(q.counted() == p.counted() + p.arriving());
        assert(q.arriving() == 0);
        assert(q.status() == p.status());
        assert(q.last() == bytes10(digest));
    }

    /// @dev Going back before a round writes exactly that round and that total.
    function check_withVoid_isExact(uint256 word, uint24 round, uint96 total) public pure {
        Progress p = Progress.wrap(word);
        if (uint8(word >> 168) > 4 || round == 0) return;
        Progress q = p.withVoid(round, total);
        assert(q.cumulative() == total);
        assert(q.posted() == round - 1);
        assert(q.counted() == p.counted());
        assert(q.arriving() == p.arriving());
        assert(q.status() == p.status());
        assert(q.last() == p.last());
    }

    /// @dev A budget's pot never exceeds what is left, and what is left after it still has a pot for the rounds left.
    function check_pot_isWithinWhatIsLeft(uint96 budget, uint96 total, uint24 rounds, uint24 posted) public pure {
        if (total > budget || posted >= rounds) return;
        uint256 left = uint256(budget) - total;
        uint256 pot = left / (rounds - posted);
        assert(pot <= left);
        if (rounds - posted == 1) assert(pot == left); // the last round pays all of it
    }

    /// @dev Whatever siblings a prover makes up: a leaf that opens under a header adds no more than the header's totals.
    function check_sumTree_paysNoLeafBeyondItsTotal(
        ITask.Header calldata header,
        ITask.Leaf calldata leaf,
        bytes32 node,
        uint128 entitlement,
        uint128 cumulative
    ) public view {
        if (header.leafCount != 2) return;
        ITask.Proof memory proof;
        proof.siblings = new ITask.Sibling[](1);
        proof.siblings[0] = ITask.Sibling(node, entitlement, cumulative);
        try this.door(header, leaf, proof) {
            assert(uint256(leaf.cumulative) + cumulative == header.cumulative);
            uint256 own = leaf.balance > 0 ? uint128(leaf.balance) : 0;
            assert(own + entitlement == header.entitlement);
        } catch {}
    }

    /// @dev The score rounds down and never beyond one unit.
    function check_score_roundsDown(int128 raw, uint64 weight) public pure {
        int256 score = ScoreMath.score(raw, weight);
        int256 product = int256(raw) * int256(uint256(weight));
        assert(score * 2 ** 32 <= product);
        assert(product - score * 2 ** 32 < 2 ** 32);
    }

    /// @dev A pot splits to the wei: what rounding down leaves is at most one wei for each account with a remainder, so
    /// `floor` or, with a remainder, `floor + 1` always sums to the pot. Fuzzed here; split.py beside this
    /// file proves it for any number of clients, by induction: divisions by a symbolic sum are beyond the solver.
    function testFuzz_split_sumsToThePot(uint96 pot_, uint120 a_, uint120 b_, uint120 c_) public pure {
        (uint256 pot, uint256 a, uint256 b, uint256 c) = (pot_, a_, b_, c_);
        uint256 all = a + b + c;
        if (all == 0) return;
        uint256 floors = pot * a / all + pot * b / all + pot * c / all;
        uint256 remainders = (pot * a % all == 0 ? 0 : 1) + (pot * b % all == 0 ? 0 : 1) + (pot * c % all == 0 ? 0 : 1);
        assert(floors <= pot);
        assert(pot - floors <= remainders);
    }
}
