// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "../world/Blocks.sol";
import {vm} from "../world/Vm.sol";
import {Stage} from "./Stage.sol";

/// @notice Challenges of small updates and of large ones, by who is right and by who is not, and what is done about them.
abstract contract Challenges is Stage {
    struct Open {
        IDisputes.Challenge challenge;
        bool right; // the posted score is wrong
        bool positive; // which of the two updates the leaf has
        int128 each; // the right partial sum of a block
        int128 lie; // that the challenger adds to its first sum
    }

    struct Demand {
        uint64 sum;
        uint256 bond;
        bool answered;
    }

    struct Owed {
        IDisputes.Challenge challenge;
        uint64 sum;
        uint256 bond;
    }

    mapping(bytes32 id => Open[]) internal challenges; // open ones
    mapping(bytes32 challenge => Demand[]) internal demands; // of open ones
    mapping(bytes32 challenge => mapping(address => uint256)) internal demandedBy;
    Owed[] internal owed; // bonds of demands of settled ones

    /* THE CHALLENGER */

    /// @dev The watcher if the score is wrong, the liar if it is right. Every other call is for the last wrong one, if there
    /// is one.
    function challenge(uint256 which, uint256 whichRound, uint256 who, uint256 wrong) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        for (uint32 i = 1; wrong % 2 == 0 && i <= posted[id].length; i++) {
            if (posted[id][i - 1].lie == Lie.Score) (round, who) = (i, 0);
        }
        uint256 index = who % 2 == 0 ? 0 : who % leavesOf[id][round].length; // wrong scores are the first leaf's
        ITask.Leaf memory leaf = leavesOf[id][round][index];
        ITask.Header memory header = _header(id, round);
        Open memory o;
        uint64 blocks = posted[id][round - 1].blocks;
        o.positive = leaf.updateRoot == _updateRoot(true, blocks);
        o.each = o.positive ? upSum : downSum;
        o.right = int256(o.each) * int256(uint256(blocks)) * int256(uint256(leaf.weight)) >> 32 != leaf.score;
        if (!o.right) o.lie = (int128(int64(uint64(wrong))) | 1) * 2 ** 40;
        bytes memory sums = _sums(o, blocks);
        bytes32 top = o.positive ? upTop[blocks] : downTop[blocks];
        ITask.Proof memory proof = _proof(id, round, index);
        address challenger = o.right ? WATCHER : LIAR;
        uint256 bond = court.challengeBond(id);
        _fund(challenger, bond);
        vm.prank(challenger);
        try court.challengeScore(header, leaf, proof, blocks, top, sums) returns (bytes32 made) {
            o.challenge = IDisputes.Challenge({
                taskId: id,
                round: round,
                account: leaf.account,
                challenger: challenger,
                updateRoot: leaf.updateRoot,
                directionRoot: header.directionRoot,
                blocks: blocks,
                sumsRoot: _sumsRoot(o, blocks),
                openedAt: uint40(clock)
            });
            if (made != keccak256(abi.encode(o.challenge))) broken = "a challenge is another than its call";
            challenges[id].push(o);
            held += bond;
            done[blocks == 1 ? this.challenge.selector : bytes4("many")]++;
        } catch {}
    }

    /// @dev The challenger breaks down what was demanded of it: rightly, or as its lie wants it.
    function answer(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, uint256 at, bool ok) = _pickOpen(which, whichChallenge);
        if (ok) _answer(id, at);
    }

    function _answer(bytes32 id, uint256 place) internal {
        Open memory o = challenges[id][place];
        Demand[] storage list = demands[keccak256(abi.encode(o.challenge))];
        for (uint256 i; i < list.length; i++) {
            if (list[i].answered) continue;
            int128 lie = list[i].sum == 0 ? o.lie : int128(0);
            bytes memory partials = _wrongBlock(o) == 0
                ? abi.encodePacked(o.each + lie, o.each)
                : abi.encodePacked(o.each, o.each + lie);
            bytes32[] memory path = _sumPath(o.each * 2);
            vm.prank(o.challenge.challenger);
            // A liar's sums beyond the first have other siblings than these: it gives up there.
            try court.answer(o.challenge, list[i].sum, 2 * o.each + lie, path, partials) {
                list[i].answered = true;
                done[this.answer.selector]++;
            } catch {
                if (o.right) broken = "a right challenge could not be answered for";
            }
        }
    }

    /* WHO IS AGAINST IT */

    /// @dev Somebody refutes what is false; a large one has to be broken down before.
    function refute(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, uint256 at, bool ok) = _pickOpen(which, whichChallenge);
        if (ok && !challenges[id][at].right) _oppose(id, at);
    }

    /// @dev A coordinator whose lie was challenged does what it can: shows blocks that multiply out, demands sums, breaks
    /// them down wrongly in the challenger's place, and calls time.
    function attack(uint256 which, uint256 whichChallenge, uint256 which4096) external {
        (bytes32 id, uint256 at, bool ok) = _pickOpen(which, whichChallenge);
        if (!ok || !challenges[id][at].right) return;
        Open memory o = challenges[id][at];
        // With the partial sum that was given, which is right, or a wrong one, which was not given.
        if (_refuted(o, COORDINATOR, 0, o.each + int128(int256(which4096 % 2)))) broken = "a right challenge was refuted";
        done[this.attack.selector]++;
        if (o.challenge.blocks == 1) return;
        uint64 sum = uint64(which4096 % 4096);
        _demand(o, sum, COORDINATOR);
        bytes memory wrong = abi.encodePacked(o.each + 1, o.each - 1);
        vm.prank(COORDINATOR);
        try court.answer(o.challenge, sum, 2 * o.each, _sumPath(2 * o.each), wrong) {
            broken = "another than the challenger answered for it";
        } catch {}
        if (_dismissed(o.challenge, sum)) broken = "a right challenge was dismissed in time";
    }

    function _oppose(bytes32 id, uint256 place) internal {
        Open memory o = challenges[id][place];
        Demand[] storage list = demands[keccak256(abi.encode(o.challenge))];
        if (o.challenge.blocks != 1 && list.length == 0) {
            _demand(o, 0, REFUTER);
            if (list.length == 0) broken = "nothing could be demanded of a false challenge";
            return;
        }
        if (o.challenge.blocks != 1 && !list[0].answered) return _dismissOpen(id, place);
        uint64 index = o.challenge.blocks == 1 ? 0 : _wrongBlock(o);
        if (!_refuted(o, REFUTER, index, o.each + o.lie)) {
            broken = "a false challenge could not be refuted";
            return;
        }
        _settled(id, place);
        done[o.challenge.blocks == 1 ? this.refute.selector : bytes4("deep")]++;
    }

    function _demand(Open memory o, uint64 sum, address demander) internal {
        bytes32 made = keccak256(abi.encode(o.challenge));
        uint256 bond = MIN_STAKE * ++demandedBy[made][demander];
        _fund(demander, bond);
        vm.prank(demander);
        try court.demand(o.challenge, sum) {
            demands[made].push(Demand(sum, bond, false));
            held += bond;
            done[bytes4("dmnd")]++;
        } catch {
            demandedBy[made][demander]--;
        }
    }

    function _refuted(Open memory o, address refuter, uint64 index, int128 said) internal returns (bool) {
        uint64 blocks = o.challenge.blocks;
        bytes memory one = o.positive ? _opening(up, upPath, blocks) : _opening(down, downPath, blocks);
        bytes memory two = _opening(direction, directionPath, blocks);
        bytes32[] memory path = new bytes32[](blocks == 1 ? 0 : 1);
        if (blocks != 1) path[0] = Blocks.sumLeaf(o.each);
        vm.prank(refuter);
        try court.refute(o.challenge, index, one, two, said, path) {
            return true;
        } catch {
            return false;
        }
    }

    /* WHAT ANYONE MAY CALL */

    function uphold(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, uint256 at, bool ok) = _pickOpen(which, whichChallenge);
        if (ok) _uphold(id, at);
    }

    function _uphold(bytes32 id, uint256 place) internal {
        Open memory o = challenges[id][place];
        try court.uphold(o.challenge, _header(id, o.challenge.round)) {
            if (!o.right) broken = "a false challenge was upheld";
            _settled(id, place);
            done[this.uphold.selector]++;
        } catch {}
    }

    function dismiss(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, uint256 at, bool ok) = _pickOpen(which, whichChallenge);
        if (ok && demands[keccak256(abi.encode(challenges[id][at].challenge))].length != 0) _dismissOpen(id, at);
        else if (owed.length != 0) _payOwed(whichChallenge % owed.length);
    }

    function _dismissOpen(bytes32 id, uint256 place) internal {
        Open memory o = challenges[id][place];
        Demand[] storage list = demands[keccak256(abi.encode(o.challenge))];
        for (uint256 i; i < list.length; i++) {
            if (list[i].answered || !_dismissed(o.challenge, list[i].sum)) continue;
            if (o.right) broken = "a right challenge was dismissed";
            held -= list[i].bond;
            list[i] = list[list.length - 1];
            list.pop();
            _settled(id, place);
            done[this.dismiss.selector]++;
            return;
        }
    }

    function _dismissed(IDisputes.Challenge memory made, uint64 sum) internal returns (bool) {
        try court.dismiss(made, sum) {
            return true;
        } catch {
            return false;
        }
    }

    function _payOwed(uint256 place) internal {
        Owed memory one = owed[place];
        if (!_dismissed(one.challenge, one.sum)) broken = "the bond of a demand was not paid out";
        held -= one.bond;
        owed[place] = owed[owed.length - 1];
        owed.pop();
        done[bytes4("owed")]++;
    }

    /// @dev Before time passes: challengers who are right answer, and who is awake opposes what is false.
    function _awake() internal {
        for (uint256 i; i < taskIds.length; i++) {
            bytes32 id = taskIds[i];
            for (uint256 j = challenges[id].length; j > 0; j--) {
                if (challenges[id][j - 1].right) _answer(id, j - 1);
                else _oppose(id, j - 1);
            }
        }
    }

    function _settle(bytes32 id) internal {
        while (challenges[id].length > 0) {
            uint256 before = challenges[id].length;
            if (challenges[id][before - 1].right) _uphold(id, before - 1);
            else _oppose(id, before - 1);
            if (challenges[id].length != before) continue;
            broken = "a challenge could not be settled";
            return;
        }
    }

    /* INTERNAL */

    function _pickOpen(uint256 which, uint256 whichChallenge) internal view returns (bytes32 id, uint256 at, bool ok) {
        (id, ok) = _pick(which);
        if (!ok || challenges[id].length == 0) return (id, 0, false);
        at = whichChallenge % challenges[id].length;
    }

    function _settled(bytes32 id, uint256 place) internal {
        Open[] storage list = challenges[id];
        IDisputes.Challenge memory made = list[place].challenge;
        Demand[] storage asked = demands[keccak256(abi.encode(made))];
        for (uint256 i; i < asked.length; i++) {
            owed.push(Owed(made, asked[i].sum, asked[i].bond));
        }
        list[place] = list[list.length - 1];
        list.pop();
        held -= court.challengeBond(made.taskId);
    }

    /// @dev In which of the two blocks of its first sum a liar says its lie is.
    function _wrongBlock(Open memory o) internal pure returns (uint64) {
        return o.lie < 0 ? 0 : 1;
    }

    /// @dev One sum, or 4,096 of two blocks each; the first has the lie.
    function _sums(Open memory o, uint64 blocks) internal pure returns (bytes memory sums) {
        if (blocks == 1) return abi.encodePacked(o.each + o.lie);
        int128 both = 2 * o.each;
        int128 first = both + o.lie;
        sums = new bytes(4096 * 16);
        assembly ("memory-safe") {
            let half := and(both, 0xffffffffffffffffffffffffffffffff)
            let word := or(shl(128, half), half)
            let next := add(sums, 32)
            for { let end := add(next, 65536) } lt(next, end) { next := add(next, 32) } { mstore(next, word) }
            mstore(add(sums, 32), or(shl(128, first), half))
        }
    }

    function _sumPath(int128 sum) internal pure returns (bytes32[] memory path) {
        path = new bytes32[](LEVELS - 1);
        bytes32 node = Blocks.sumLeaf(sum);
        for (uint256 i; i < path.length; i++) {
            path[i] = node;
            node = keccak256(bytes.concat(hex"01", node, node));
        }
    }

    function _sumsRoot(Open memory o, uint64 blocks) internal pure returns (bytes32 node) {
        if (blocks == 1) return Blocks.sumLeaf(o.each + o.lie);
        bytes32[] memory path = _sumPath(2 * o.each);
        node = Blocks.sumLeaf(2 * o.each + o.lie);
        for (uint256 i; i < path.length; i++) {
            node = keccak256(bytes.concat(hex"01", node, path[i]));
        }
    }
}
