// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "./Blocks.sol";
import {vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice The steps of a challenge: rounds whose first update has blocks, sums over them, right or wrong, and what is done about
/// them.
abstract contract Disputed is World {
    address internal constant CHALLENGER = address(0xC4A);
    address internal constant REFUTER = address(0x4EF);

    uint64 internal count = 5; // blocks of client 0's update
    bytes[] internal updates; // one of them stands for all blocks beyond
    bytes[] internal directions;
    IDisputes.Challenge internal open; // the last one

    function _block(bytes[] storage data, uint256 i) internal view returns (bytes memory) {
        return data[i < data.length ? i : data.length - 1];
    }

    function _leafHashes(bytes[] storage data) internal view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](count);
        bytes32 rest = Blocks.leaf(data[data.length - 1]);
        for (uint256 i; i < count; i++) {
            hashes[i] = i < data.length ? Blocks.leaf(data[i]) : rest;
        }
    }

    function _partials() internal view returns (int128[] memory partials) {
        partials = new int128[](count);
        int128 rest = int128(Blocks.partialSum(updates[updates.length - 1], directions[directions.length - 1]));
        for (uint256 i; i < count; i++) {
            partials[i] = i < updates.length ? int128(Blocks.partialSum(updates[i], directions[i])) : rest;
        }
    }

    function _raw() internal view returns (int256 raw) {
        int128[] memory partials = _partials();
        for (uint256 i; i < count; i++) {
            raw += partials[i];
        }
    }

    function _pack(int128[] memory sums) internal pure returns (bytes memory packed) {
        packed = new bytes(sums.length * 16);
        for (uint256 i; i < sums.length; i++) {
            bytes16 one = bytes16(uint128(sums[i]));
            for (uint256 j; j < 16; j++) {
                packed[i * 16 + j] = one[j];
            }
        }
    }

    function _sumHashes(int128[] memory sums) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](sums.length);
        for (uint256 i; i < sums.length; i++) {
            hashes[i] = Blocks.sumLeaf(sums[i]);
        }
    }

    /// @dev A round in which client 0's update scores what its blocks say, plus `lie`.
    function _round(int128 lie) internal returns (ITask.Header memory header) {
        for (uint256 i; i < 5; i++) {
            updates.push(Blocks.random(i + headers.length * 100, -30));
            directions.push(Blocks.random(1000 + i, -31));
        }
        uint64 weight = 2 ** 30;
        int128[] memory scores = new int128[](3);
        scores[0] = int128(_raw() * int256(uint256(weight)) >> 32) + lie;
        (scores[1], scores[2]) = (5, 6);
        header = _next(scores);
        leaves[0].updateRoot = Blocks.root(count, Blocks.top(_leafHashes(updates), true));
        leaves[0].weight = weight;
        header.directionRoot = Blocks.root(count, Blocks.top(_leafHashes(directions), true));
        _reseal(header);
        _send(header);
    }

    function _begun() internal returns (ITask.Header memory) {
        _begin();
        return _round(0);
    }

    function _lied() internal returns (ITask.Header memory) {
        _begin();
        return _round(1);
    }

    /// @dev Challenges client 0's score with these sums.
    function _challenge(ITask.Header memory header, int128[] memory sums) internal returns (bytes32 id) {
        _fund(CHALLENGER, CHALLENGE);
        bytes32 top = Blocks.top(_leafHashes(updates), true);
        ITask.Proof memory proof = _proof(0);
        bytes memory packed = _pack(sums);
        open = IDisputes.Challenge({
            taskId: taskId,
            round: header.round,
            account: _client(0),
            challenger: CHALLENGER,
            updateRoot: leaves[0].updateRoot,
            directionRoot: header.directionRoot,
            blocks: count,
            sumsRoot: Blocks.top(_sumHashes(sums), false),
            openedAt: uint40(clock)
        });
        vm.expectEmit(address(fairshare));
        emit IDisputes.Challenged(keccak256(abi.encode(open)), taskId, header.round, open, packed);
        vm.prank(CHALLENGER);
        id = court.challengeScore(header, leaves[0], proof, count, top, packed);
        vm.assertEq(id, keccak256(abi.encode(open)));
    }

    /// @dev True sums but for block `at`.
    function _false(uint256 at) internal view returns (int128[] memory sums) {
        sums = _partials();
        sums[at] += 2 ** 20;
    }

    function _opening(bytes[] storage data, uint256 at) internal view returns (bytes memory) {
        return bytes.concat(_block(data, at), abi.encodePacked(Blocks.path(_leafHashes(data), at, true)));
    }

    function _refute(uint256 at, int128[] memory sums) internal {
        bytes memory update = _opening(updates, at);
        bytes memory direction = _opening(directions, at);
        bytes32[] memory path = Blocks.path(_sumHashes(sums), at, false);
        IDisputes.Challenge memory challenge = open;
        vm.prank(REFUTER);
        court.refute(challenge, uint64(at), update, direction, sums[at], path);
    }

    /* LARGE UPDATES */

    function _large(int128 lie) internal returns (ITask.Header memory) {
        count = 4097; // two blocks a sum, one in the last
        _begin();
        return _round(lie);
    }

    function _pairs(int128[] memory partials) internal pure returns (int128[] memory sums) {
        sums = new int128[]((partials.length + 1) / 2);
        for (uint256 i; i < partials.length; i++) {
            sums[i / 2] += partials[i];
        }
    }

    function _demand(uint64 sum) internal {
        _fund(REFUTER, 10 ether);
        vm.prank(REFUTER);
        court.demand(open, sum);
    }

    /// @dev Refutes block `at`, whose sum of two was answered with these partials.
    function _refutePart(uint256 at, int128[] memory partials) internal {
        bytes memory update = _opening(updates, at);
        bytes memory direction = _opening(directions, at);
        uint256 first = at - at % 2;
        bytes32[] memory path = Blocks.path(_sumHashes(_two(partials[first], partials[first + 1])), at % 2, false);
        vm.prank(REFUTER);
        court.refute(open, uint64(at), update, direction, partials[at], path);
    }

    function _answer(uint64 sum, int128[] memory sums, bytes memory partials) internal {
        bytes32[] memory path = Blocks.path(_sumHashes(sums), sum, false);
        vm.prank(CHALLENGER);
        court.answer(open, sum, sums[sum], path, partials);
    }

    function _two(int128 a, int128 b) internal pure returns (int128[] memory both) {
        both = new int128[](2);
        (both[0], both[1]) = (a, b);
    }
}
