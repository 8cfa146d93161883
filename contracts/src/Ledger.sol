// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {ITask} from "./interfaces/ITask.sol";
import {Posting} from "./types/Posting.sol";
import {Progress} from "./types/Progress.sol";
import {Seat, toSeat} from "./types/Seat.sol";

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
        uint24 voidFrom; // round, 0 if none
        uint24 heldFrom; // the first round with an open challenge or request, 0 if none
        uint40 since; // when the status last changed
        uint32 holds; // open challenges and requests
        bool reopened; // a round's window was opened once more; when and which is in another slot
        bool swept;
        bool pooled; // the task ended otherwise than planned, and its clients share the pool
    }

    /// @dev A client; one slot.
    struct Account {
        uint96 stake; // wei
        uint96 claimed; // wei
        uint24 firstRound;
        uint24 leftRound;
        bool redirected; // it has a standing payee
    }

    /// @dev A sum of a challenge that has to be broken down.
    struct Demand {
        address demander; // 0 if there is none
        uint40 since;
        uint32 number; // of this demander's demands, from 1; its bond is as many times minStake
    }

    /// @dev A client's request for its leaf, whose folder is withheld.
    struct Request {
        address asker; // 0 if there is none
        uint40 deadline;
    }

    /// @dev What makes a round wait.
    struct Hold {
        uint32 count; // open challenges and requests
        bool reopened; // its window was opened once more
    }

    /// @dev Slots are marked by empty lines.
    struct Task {
        IERC20 token;
        uint96 paid; // wei

        Clock clock;

        Progress progress;

        uint160 enrolment; // rolling hash of joins and leaves, see _enrol
        uint96 stakes; // wei; of the clients with a place in the round under way

        uint160 due; // the enrolment that the next header has to carry
        uint96 arriving; // wei; stakes of clients whose first round is the one after

        uint96 minStake; // wei
        uint96 maxStake; // wei
        uint24 rounds;
        uint8 quorum;
        bool attested;
        bool guarded; // not anyone may join, or not now
        bool mayStop;
        bool mayCloseJoining;

        address sponsor;
        uint96 bond; // wei

        address coordinator;
        uint96 budget; // wei

        uint96 added; // wei, to the budget from the round after the one under way
        uint96 pool; // wei
        bool poolByStake; // nobody earned anything
        bool revealEachRound;

        uint96 poolBase; // wei
        uint96 bounty; // wei, that was paid out of the bond

        // Not zero from `open` on, which makes refuting cheaper.
        uint128 burned; // wei that nobody gets; kept here until somebody sends it to where nobody can spend it
        uint40 heldUntil; // something was held until then
        uint24 reopenedFrom; // the round whose window is open until then, again
        uint24 reached; // the round under way when the task was halted
        bool joiningClosed;
        uint32 claimPeriod; // seconds

        address offered; // may take the coordinator's place

        bytes32 members;
        bytes32 specHash;
        bytes32 validationHash;
        bytes32 baseModel;
        bytes32 salt;
        address[] evaluators;
        mapping(uint32 round => Posting) postings;
        mapping(address account => Account) accounts;
        mapping(address account => address) recipients;
        mapping(address former => uint32 round) signedUntil; // coordinators that were: their receipts count up to there
        mapping(uint32 round => Hold) holds;
        mapping(bytes32 headerHash => mapping(address account => Request)) requests;
    }

    /* STORAGE */

    address internal constant BURNED = address(0xdEaD); // nobody has its key; many tokens refuse to go to address 0

    bytes32 internal constant HEADER_TYPEHASH = keccak256(
        "Header(bytes32 taskId,uint32 round,bytes32 previous,bytes32 baseModel,bytes32 nextModel,bytes32 validation,bytes32 directionRoot,bytes32 treeRoot,uint32 leafCount,bytes32 enrolment,uint128 cumulative,uint128 price,bytes32 bundle)"
    );

    mapping(bytes32 taskId => Task) internal _tasks;
    mapping(bytes32 key => Seat) internal _seats;
    mapping(address token => mapping(address account => uint256 amount)) internal _credits; // wei
    mapping(bytes32 challenge => IDisputes.Standing) internal _standings;
    mapping(bytes32 challenge => mapping(uint64 sum => Demand)) internal _demands;
    mapping(bytes32 challenge => mapping(address demander => uint32)) internal _demanded; // sums so far
    mapping(bytes32 challenge => mapping(uint64 sum => bytes32 root)) internal _answers; // tree of the partial sums

    constructor() EIP712("Fairshare", "1") {}

    /* INTERNAL */

    /// @dev The EIP-712 struct hash of a header: of its type hash and its 13 words as they came. A field with dirty high
    /// bits would hash to something that no evaluator signed.
    function _headerHash(Header calldata header) internal pure returns (bytes32 hash) {
        bytes32 typehash = HEADER_TYPEHASH;
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 448 bytes behind the free memory pointer
            mstore(buffer, typehash)
            calldatacopy(add(buffer, 32), header, 416)
            hash := keccak256(buffer, 448)
        }
    }

    function _seatKey(bytes32 taskId, address coordinator, bytes32 validation, address evaluator)
        internal
        pure
        returns (bytes32 key)
    {
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 128 bytes behind the free memory pointer
            mstore(buffer, taskId)
            mstore(add(buffer, 32), coordinator)
            mstore(add(buffer, 64), validation)
            mstore(add(buffer, 96), evaluator)
            key := keccak256(buffer, 128)
        }
    }

    /// @dev Gives all evaluators of a task their seats under its coordinator and budget, or takes them away.
    function _seat(bytes32 taskId, Task storage t, bool given) internal {
        Seat seat;
        if (given) seat = toSeat(t.budget, t.bond, t.clock.challengeWindow, t.rounds, t.quorum);
        (address coordinator, bytes32 validation) = (t.coordinator, t.validationHash);
        uint256 count = t.evaluators.length;
        for (uint256 i; i < count; i++) {
            _seats[_seatKey(taskId, coordinator, validation, t.evaluators[i])] = seat;
        }
    }

    /// @dev Moves what was added into the budget that the schedule pays out.
    function _addToBudget(bytes32 taskId, Task storage t) internal {
        uint96 added = t.added;
        if (added == 0) return;
        t.budget += added;
        t.added = 0;
        _seat(taskId, t, true);
    }

    /// @dev The first round that waits for a challenge or whose window is open once more, 0 if there is none; all after it
    /// wait with it.
    function _heldFrom(Task storage t, Clock memory clock) internal view returns (uint32 from) {
        from = clock.heldFrom;
        if (clock.reopened && block.timestamp < t.heldUntil) {
            uint32 reopened = t.reopenedFrom;
            if (from == 0 || reopened < from) from = reopened;
        }
    }

    /// @dev Whether a round was posted, is not void, is not held, and its challenge window is over.
    function _isFinal(Task storage t, uint32 round) internal view returns (bool) {
        Clock memory clock = t.clock;
        uint256 postedAt = t.postings[round].postedAt();
        uint32 held = _heldFrom(t, clock);
        return postedAt != 0 && (clock.voidFrom == 0 || round < clock.voidFrom) && (held == 0 || round < held)
            && block.timestamp >= postedAt + clock.challengeWindow;
    }

    /// @dev Reverts unless the header is the posted one of its round.
    function _requirePosted(Task storage t, Header calldata header) internal view returns (uint256 postedAt) {
        bytes32 hash = _headerHash(header);
        Posting posting = t.postings[header.round];
        postedAt = posting.postedAt();
        if (postedAt == 0 || posting.digest() != bytes27(hash)) {
            revert UnknownHeader(header.taskId, header.round, hash);
        }
    }

    /// @dev Notes a join (kind 1) or a leave (2) in the rolling hash; its low 12 bytes are cut off.
    function _enrol(Task storage t, uint8 kind, address account, uint32 round, uint256 stake) internal {
        bytes32 before = bytes32(bytes20(t.enrolment));
        t.enrolment = uint160(bytes20(keccak256(abi.encodePacked(before, kind, account, round, uint128(stake)))));
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

    /// @dev Who is paid for an account.
    function _payee(Task storage t, address account) internal view returns (address) {
        return t.accounts[account].redirected ? t.recipients[account] : account;
    }

    /// @dev Whether the client has a place in the round under way, or had one when the task was halted.
    function _placed(Task storage t, Account storage a) internal view returns (bool) {
        uint256 reached = t.reached;
        return a.firstRound <= (reached == 0 ? t.progress.posted() + 1 : reached);
    }

    /// @dev Until when the task can go on, and after which it can end: its last round's window is over, nothing is held
    /// any more and, if rounds are missing from a task that was not halted, so is the time to post the next: a whole
    /// timeout after the last post and after the last hold.
    function _deadline(Task storage t, Progress p, Clock memory clock) internal view returns (uint256 deadline) {
        if (p.status() == Status.Open) return uint256(clock.since) + clock.roundTimeout;
        uint256 postedAt = t.postings[p.posted()].postedAt(); // 0 before the first
        if (postedAt != 0) deadline = postedAt + clock.challengeWindow;
        uint256 heldUntil = t.heldUntil;
        if (heldUntil > deadline) deadline = heldUntil;
        if (p.status() == Status.Started && p.posted() != t.rounds) {
            uint256 silent = postedAt > clock.since ? postedAt : clock.since;
            if (heldUntil > silent) silent = heldUntil;
            silent += clock.roundTimeout;
            if (silent > deadline) deadline = silent;
        }
    }
}
