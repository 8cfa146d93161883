// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice A wallet that takes what its owner's key signed, until the owner is exchanged.
contract Wallet is IERC1271 {
    address public owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function setOwner(address next) external {
        owner = next;
    }

    function isValidSignature(bytes32 hash, bytes memory signature) external view returns (bytes4) {
        (address signer,,) = ECDSA.tryRecover(hash, signature);
        return signer == owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @notice Wallets that answer what no wallet should, by kind.
contract BadWallet {
    enum Kind {
        Reverts,
        EatsGas,
        AnswersNothing,
        AnswersShort,
        AnswersLong,
        AnswersDirty,
        AnswersOther,
        AnswersMuch
    }

    Kind public kind;

    constructor(Kind kind_) {
        kind = kind_;
    }

    function isValidSignature(bytes32, bytes memory) external view {
        Kind seen = kind;
        bytes32 magic = bytes32(IERC1271.isValidSignature.selector);
        if (seen == Kind.Reverts) revert("no");
        if (seen == Kind.EatsGas) for (uint256 i;; i++) {}
        if (seen == Kind.AnswersDirty) magic |= bytes32(uint256(1));
        if (seen == Kind.AnswersOther) magic = bytes32(bytes4(0xffffffff));
        uint256 length = 32;
        if (seen == Kind.AnswersNothing) length = 0;
        if (seen == Kind.AnswersShort) length = 4;
        if (seen == Kind.AnswersLong) length = 64;
        if (seen == Kind.AnswersMuch) length = 300_000; // 500,000 gas suffice for them; copying them would cost as much again
        assembly {
            mstore(0, magic)
            return(0, length)
        }
    }
}
