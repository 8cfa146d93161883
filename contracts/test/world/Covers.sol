// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../../src/interfaces/ITask.sol";

/// @dev The cover after a post at `time`, written a second time.
function coverAfter(
    bytes32 cover,
    ITask.Terms memory terms,
    ITask.State memory state,
    uint256 time,
    uint256 total
) pure returns (bytes32) {
    uint256 word = uint256(cover);
    (uint256 base, uint256 later) = (word % 2 ** 96, (word / 2 ** 96) % 2 ** 96);
    (uint256 noted, uint256 last) = ((word / 2 ** 192) % 2 ** 32, word / 2 ** 224);
    if (state.heldFrom == 0) {
        if (last + terms.challengeWindow <= time) (base, noted) = (state.cumulative, 0);
        else if (noted != 0 && noted + terms.challengeWindow <= time) (base, noted) = (later, 0);
    }
    if (noted == 0) (noted, later) = (time, total);
    return bytes32(base + later * 2 ** 96 + noted * 2 ** 192 + time * 2 ** 224);
}

/// @dev The rolling hash after one more join (kind 1) or leave (2), written a second time.
function enrolmentAfter(bytes32 before, uint8 kind, address account, uint32 round, uint128 stake) pure returns (bytes32) {
    bytes memory words = bytes.concat(before, bytes1(kind), bytes20(account), bytes4(round), bytes16(stake));
    return bytes32(bytes20(keccak256(words)));
}
