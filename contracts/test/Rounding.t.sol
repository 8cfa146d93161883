// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {Tree} from "./world/Tree.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice Pots of two units for three clients: who gets what rounding leaves is most of the pay.
contract RoundingTest is World {
    function _terms() internal view override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.budget = 6; // two a round
    }

    function setUp() public override {
        super.setUp();
        _begin();
    }

    function _scores(int128 a, int128 b, int128 c) internal pure returns (int128[] memory scores) {
        scores = new int128[](3);
        (scores[0], scores[1], scores[2]) = (a, b, c);
    }

    /// @dev A round that takes one unit from a client and gives it to another.
    function _moved(int128[] memory scores, uint256 from, uint256 to) internal {
        ITask.Header memory header = _next(scores);
        (leaves[from].cumulative, leaves[to].cumulative) = (leaves[from].cumulative - 1, leaves[to].cumulative + 1);
        _reseal(header);
        _send(header);
    }

    /// @dev The call that says that client `first` should have had the unit that `second` got in the last round.
    function _call(uint256 first, uint256 second) internal view returns (bytes memory) {
        ITask.Leaf[2] memory before;
        ITask.Proof[2] memory proofsBefore;
        uint256[2] memory who = [first, second];
        for (uint256 i; i < 2; i++) {
            if (who[i] < earlier.length) (before[i], proofsBefore[i]) = (earlier[who[i]], Tree.prove(earlier, who[i]));
        }
        return _call(before, proofsBefore, [leaves[first], leaves[second]], [_proof(first), _proof(second)]);
    }

    function _call(
        ITask.Leaf[2] memory before,
        ITask.Proof[2] memory proofsBefore,
        ITask.Leaf[2] memory of_,
        ITask.Proof[2] memory proofs
    ) internal view returns (bytes memory) {
        ITask.Header memory header = headers[headers.length > 1 ? headers.length - 2 : 0];
        return abi.encodeCall(
            court.proveRounding, (header, before, proofsBefore, headers[headers.length - 1], of_, proofs)
        );
    }

    function _refused(bytes memory call, bytes4 reason) internal {
        (bool done, bytes memory said) = address(fairshare).call(call);
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(said)), bytes32(reason));
    }

    function _convicts(uint256 first, uint256 second) internal {
        bytes memory call = _call(first, second);
        vm.prank(ANYONE);
        (bool done,) = address(fairshare).call(call);
        vm.assertTrue(done);
        vm.assertEq(_credit(ANYONE), 50 ether);
        vm.assertEq(_state().voidFrom, headers.length);
    }

    function test_proveRounding_convictsAUnitForAHigherAddressWithTheSameRemainder() public {
        _moved(_scores(1, 1, 1), 1, 2);
        _refused(_call(0, 2), IDisputes.NoFraud.selector); // both got one
        _refused(_call(2, 1), IDisputes.NoFraud.selector); // the right order
        _convicts(1, 2);
    }

    function test_proveRounding_convictsAUnitForASmallerRemainder() public {
        _moved(_scores(1, 2, 2), 2, 0); // remainders 2, 4, 4
        _refused(_call(0, 2), IDisputes.NoFraud.selector);
        _convicts(2, 0);
    }

    function test_proveRounding_countsAUnitFromTheFloor() public {
        _moved(_scores(3, 1, 0), 0, 1); // 1 and 0 are due to them, remainders 2 and 2
        _refused(_call(1, 0), IDisputes.NoFraud.selector);
        _convicts(0, 1);
    }

    function test_proveRounding_startsFromTheRoundBefore() public {
        _send(_next(_scores(1, 1, 1)));
        _moved(_scores(1, 1, 1), 0, 2);
        _convicts(0, 2);
    }

    function test_proveRounding_readsNoLeafBeforeAnAccountsFirstRound() public {
        clients.push(address(type(uint160).max));
        _join(3, 1 ether);
        _send(_next(_scores(1, 1, 1)));
        int128[] memory scores = new int128[](4);
        (scores[1], scores[2], scores[3]) = (1, 1, 1);
        _moved(scores, 2, 3);
        _convicts(2, 3);
    }

    function test_proveRounding_revertsIfTheSecondGotMoreThanOneUnit() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        (leaves[0].cumulative, leaves[1].cumulative, leaves[2].cumulative) = (0, 0, 2);
        _reseal(header);
        _send(header);
        _refused(_call(0, 2), IDisputes.NoFraud.selector); // proveTransition's
    }

    function test_proveRounding_revertsForTwoLeavesOfOneAccount() public {
        ITask.Header memory header = _next(_scores(1, 1, 1));
        leaves[2] = leaves[1];
        leaves[2].cumulative = 0;
        _reseal(header);
        _send(header);
        _refused(_call(2, 1), IDisputes.NoFraud.selector); // proveDisorder's
    }

    function test_proveRounding_revertsIfNobodyIsEntitled() public {
        _send(_next(_scores(-1, -1, -1)));
        _refused(_call(0, 1), IDisputes.NoFraud.selector);
    }

    function test_proveRounding_revertsUnlessTheHeaderBeforeIsOfTheRoundBefore() public {
        _send(_next(_scores(1, 1, 1)));
        _moved(_scores(1, 1, 1), 0, 2);
        headers[0] = headers[1];
        _refused(_call(0, 2), IDisputes.NotConsecutive.selector);
    }

    function test_proveRounding_revertsAcrossARound() public {
        for (uint256 i; i < 3; i++) {
            _send(_next(_scores(1, 1, 1)));
        }
        headers[1] = headers[0]; // what was earned in between would count as the round's
        _refused(_call(0, 2), IDisputes.NotConsecutive.selector);
    }

    function test_proveRounding_revertsIfALeafIsNotInItsTreeOrOfAnother() public {
        _send(_next(_scores(1, 1, 1)));
        _moved(_scores(1, 1, 1), 0, 2);
        ITask.Leaf[2] memory before = [earlier[0], earlier[2]];
        ITask.Proof[2] memory proofsBefore = [Tree.prove(earlier, 0), Tree.prove(earlier, 2)];
        ITask.Leaf[2] memory of_ = [leaves[0], leaves[2]];
        ITask.Proof[2] memory proofs = [_proof(0), _proof(2)];
        for (uint256 i; i < 2; i++) {
            before[i].weight += 1;
            _refused(_call(before, proofsBefore, of_, proofs), ITask.WrongRoot.selector);
            before[i].weight -= 1;
            of_[i].weight += 1;
            _refused(_call(before, proofsBefore, of_, proofs), ITask.WrongRoot.selector);
            of_[i].weight -= 1;
        }
        (before[1], proofsBefore[1]) = (earlier[1], Tree.prove(earlier, 1));
        _refused(_call(before, proofsBefore, of_, proofs), IDisputes.DifferentAccounts.selector);
    }

    /// forge-config: default.fuzz.runs = 64
    function testFuzz_proveRounding_findsNoFraudInHonestRounds(uint8[3] memory a, uint8[3] memory b) public {
        for (uint256 round; round < 2; round++) {
            uint8[3] memory scores = round == 0 ? a : b;
            _send(_next(_scores(int8(scores[0]), int8(scores[1]), int8(scores[2]))));
            for (uint256 i; i < 9; i++) {
                _refused(_call(i / 3, i % 3), IDisputes.NoFraud.selector);
            }
        }
    }
}
