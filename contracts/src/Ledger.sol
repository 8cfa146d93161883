// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {ITask} from "./interfaces/ITask.sol";
import {Posting} from "./types/Posting.sol";
import {Progress} from "./types/Progress.sol";

/// @title What the contract stores, reads and owes
/// @notice Storage and the internal steps that Fairshare and Disputes share.
/// @dev Slots are cut so that `post` writes two (one of them new) and reads two more, and a claim writes two and reads
/// two more; amounts are uint96, which one check in `open` and one in `join` make safe.
abstract contract Ledger is ITask, EIP712 {
    using SafeERC20 for IERC20;

    /* TYPES */

    /// @dev What finality depends on; one slot.
    struct Clock {
        uint32 challengeWindow; // seconds
        uint32 responseWindow; // seconds
        uint32 roundTimeout; // seconds
        uint32 claimPeriod; // seconds
        uint24 voidFrom; // round, 0 if none
        uint24 heldFrom; // round, 0 if none
        uint40 since; // when the status last changed
        uint16 challenges; // open ones
        uint16 holds; // of them, those that hold their round
        bool swept;
    }

    /// @dev A client. Stake and claimed share a slot that is not zero from `join` on: first claims are cheaper.
    struct Account {
        uint96 stake; // wei
        uint96 claimed; // wei
        uint32 firstRound;
        uint32 leftRound;
        bytes32 nodeKeyHash;
        bytes32 dataset;
    }

    /// @dev What stays the same from round to round and `post` has to know, in the slot that it has to read anyway to
    /// know the signer. Its key binds task, coordinator, validation set and evaluator: one read checks all four.
    struct Seat {
        uint96 budget; // wei
        uint32 rounds;
        uint8 quorum; // at least 1, so an empty seat is known by its 0
    }

    /// @dev A sum of a challenge that has to be broken down.
    struct Demand {
        address demander; // 0 if there is none
        uint40 since;
        uint32 number; // of the challenge's demands, from 1; its bond is as many times minStake
    }

    struct Task {
        IERC20 token;
        uint96 paid; // wei
        Clock clock;
        Progress progress;
        address sponsor;
        uint96 bond; // wei
        address coordinator;
        uint96 budget; // wei
        uint96 minStake; // wei
        uint96 maxStake; // wei
        uint32 rounds;
        uint8 quorum;
        bool revealEachRound;
        bool attested;
        uint96 bondShare; // wei
        uint32 staked; // clients whose stake is here
        uint128 burned; // wei that nobody gets; kept here until somebody sends it to where nobody can spend it
        bytes32 specHash;
        bytes32 validationHash;
        bytes32 baseModel;
        bytes32 salt;
        address[] evaluators;
        mapping(uint32 round => Posting) postings;
        mapping(address account => Account) accounts;
        mapping(uint32 round => uint256 count) holds; // open challenges that hold the round
    }

    /* STORAGE */

    address internal constant BURNED = address(0xdEaD); // nobody has its key; many tokens refuse to go to address 0

    bytes32 internal constant HEADER_TYPEHASH = keccak256(
        "Header(bytes32 taskId,uint32 round,bytes32 previous,bytes32 baseModel,bytes32 nextModel,bytes32 validation,bytes32 directionRoot,bytes32 treeRoot,uint32 leafCount,uint128 entitlement,uint128 cumulative,uint128 pot,bytes32 bundle)"
    );

    mapping(bytes32 taskId => Task) internal _tasks;
    mapping(bytes32 key => Seat) internal _seats;
    mapping(address token => mapping(address account => uint256 amount)) internal _credits; // wei
    mapping(bytes32 challenge => IDisputes.Standing) internal _standings;
    mapping(bytes32 challenge => mapping(uint64 sum => Demand)) internal _demands;
    mapping(bytes32 challenge => mapping(uint64 sum => bytes32 root)) internal _answers; // tree of the partial sums

    constructor() EIP712("Fairshare", "1") {}

    /* INTERNAL */

    function _headerDigest(Header calldata header) internal view returns (bytes32) {
        return _hashTypedDataV4(keccak256(_words(header)));
    }

    /// @dev The EIP-712 encoding of a header: its type hash and its 13 words as they came. A field with dirty high bits
    /// would hash to something that no evaluator signed.
    function _words(Header calldata header) internal pure returns (bytes memory words) {
        bytes calldata raw;
        assembly ("memory-safe") {
            raw.offset := header
            raw.length := 416
        }
        return bytes.concat(HEADER_TYPEHASH, raw);
    }

    function _seatKey(bytes32 taskId, address coordinator, bytes32 validation, address evaluator)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(taskId, coordinator, validation, evaluator));
    }

    /// @dev Whether a round was posted, is not void, is not held, and its challenge window is over.
    function _isFinal(Task storage t, uint32 round) internal view returns (bool) {
        Clock memory clock = t.clock;
        uint256 postedAt = t.postings[round].postedAt();
        return postedAt != 0 && (clock.voidFrom == 0 || round < clock.voidFrom)
            && (clock.heldFrom == 0 || round < clock.heldFrom) && block.timestamp >= postedAt + clock.challengeWindow;
    }

    /// @dev Reverts unless the header is the posted one of its round.
    function _requirePosted(Task storage t, Header calldata header) internal view returns (uint256 postedAt) {
        bytes32 digest = _headerDigest(header);
        Posting posting = t.postings[header.round];
        postedAt = posting.postedAt();
        if (postedAt == 0 || posting.digest() != bytes27(digest)) {
            revert UnknownHeader(header.taskId, header.round, digest);
        }
    }

    /// @dev Pulls `amount` from `from`; refuses a token that delivers anything else.
    function _pull(IERC20 token, address from, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(from, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TokenTookFee(address(token), received, amount);
    }

    function _credit(IERC20 token, address account, uint256 amount) internal {
        if (amount != 0) _credits[address(token)][account] += amount;
    }

    /// @dev Whether the client has no place yet in the round that is under way.
    function _arriving(Task storage t, Account storage a) internal view returns (bool) {
        return a.firstRound > t.progress.posted() + 1;
    }

    /// @dev What comes with the stake of an expired task's client.
    function _bondShare(Task storage t, Account storage a) internal view returns (uint256) {
        return _arriving(t, a) ? 0 : t.bondShare;
    }

    /// @dev Until when the task's rounds can be challenged and after which it can end: its last round's window is over
    /// and, if rounds are missing from a task that was not halted, so is the time to post the next.
    function _deadline(Task storage t, Progress p, Clock memory clock) internal view returns (uint256 deadline) {
        uint256 postedAt = t.postings[p.posted()].postedAt(); // 0 before the first
        if (postedAt != 0) deadline = postedAt + clock.challengeWindow;
        if (p.status() != Status.Halted && p.posted() != t.rounds) {
            uint256 silent = (postedAt > clock.since ? postedAt : clock.since) + clock.roundTimeout;
            if (silent > deadline) deadline = silent;
        }
    }
}
