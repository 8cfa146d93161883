// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice One posted round in one word: the leading 27 bytes of its header's hash, then when its challenge window ends in
/// 5. 216 bits against a second preimage, 108 against a collision, which would need the evaluators' signatures under
/// one of both headers anyway.
type Posting is bytes32;

using {digest, windowEnd} for Posting global;

function digest(Posting p) pure returns (bytes27) {
    return bytes27(Posting.unwrap(p));
}

/// @notice Seconds; 0 if the round was not posted.
function windowEnd(Posting p) pure returns (uint256) {
    return uint40(uint256(Posting.unwrap(p)));
}

function toPosting(bytes32 fullDigest, uint256 time) pure returns (Posting) {
    return Posting.wrap(bytes27(fullDigest) | bytes32(uint256(uint40(time))));
}
