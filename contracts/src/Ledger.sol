// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {ITask} from "./interfaces/ITask.sol";
import {Posting} from "./types/Posting.sol";
import {Progress} from "./types/Progress.sol";
import {Purse} from "./types/Purse.sol";
import {Seat, toSeat} from "./types/Seat.sol";

/// @title What the contract stores, reads and owes
/// @notice Storage and the internal steps that Fairshare and Disputes share.
/// @dev Slots are cut so that `post` writes two (one of them new) and reads one more, a claim writes two and reads one more,
/// and a refutation writes three and the refuter's credit; amounts are uint96, which one check in `open` and one in `join`
/// make safe.
abstract contract Ledger is ITask, EIP712 {
    using SafeERC20 for IERC20;

    /* TYPES */

    /// @dev What finality depends on but the time of the post; one slot.
    struct Clock {
        uint32 challengeWindow; // seconds
        uint32 responseWindow; // seconds
        uint24 voidFrom; // round, 0 if none
        uint24 heldFrom; // the first round with an open challenge or request, 0 if none
        uint32 holds; // open challenges and requests
        uint40 heldUntil; // something was held until then
        uint24 reopenedFrom; // the round whose window is open until then, again; 0 if none was
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
        bool wentAway; // before the start: no order of its to join counts any more
    }

    /// @dev A sum of a challenge that has to be broken down.
    struct Demand {
        address demander; // 0 if there is none
        uint40 since;
        uint32 number; // of this demander's demands, from 1; its bond is as many times minStake
    }

    /// @dev What stands behind an evaluator; one slot.
    struct Backing {
        address payer; // staked for it, and gets the stake back; it stays here, since an evaluator stakes once
        uint96 stake; // wei, held now
    }

    /// @dev A client's request for its leaf, whose folder is withheld.
    struct Request {
        address asker; // 0 if there is none
        uint40 deadline;
    }

    /// @dev What makes a round wait, and what was forfeited over it.
    struct Hold {
        uint32 count; // open challenges and requests
        bool reopened; // its window was opened once more
        bool evident; // it was proven wrong in a way that the evaluators who signed it could have seen
        uint128 burned; // wei that nobody gets; kept here until somebody sends it to where nobody can spend it
    }

    /// @dev Slots are marked by empty lines.
    struct Task {
        Purse purse;

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

        uint40 since; // when the status last changed, or the sponsor stopped the task
        uint32 roundTimeout; // seconds
        uint32 claimPeriod; // seconds
        uint24 reached; // the round under way when the task was halted
        bool joiningClosed;
        uint96 evaluatorStake; // wei
        uint24 seated; // evaluators that staked

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
        mapping(address evaluator => Backing) backings;
    }

    /* STORAGE */

    address internal constant BURNED = address(0xdEaD); // nobody has its key; many tokens refuse to go to address 0

    bytes32 internal constant HEADER_TYPEHASH = keccak256(
        "Header(bytes32 taskId,uint32 round,bytes32 treeRoot,uint32 leafCount,uint128 cumulative,Rest rest)Rest(bytes32 previous,bytes32 validation,bytes32 baseModel,bytes32 nextModel,bytes32 directionRoot,bytes32 enrolment,uint128 price,bytes32 bundle)"
    );
    bytes32 internal constant REST_TYPEHASH = keccak256(
        "Rest(bytes32 previous,bytes32 validation,bytes32 baseModel,bytes32 nextModel,bytes32 directionRoot,bytes32 enrolment,uint128 price,bytes32 bundle)"
    );

    mapping(bytes32 taskId => Task) internal _tasks;
    mapping(bytes32 key => Seat) internal _seats;
    mapping(address token => mapping(address account => uint256 amount)) internal _credits; // wei
    mapping(bytes32 challenge => IDisputes.Standing) internal _standings;
    mapping(bytes32 challenge => mapping(uint64 sum => Demand)) internal _demands;
    mapping(bytes32 challenge => mapping(address demander => uint32)) internal _demanded; // sums so far
    mapping(bytes32 challenge => mapping(uint64 sum => bytes32 root)) internal _answers; // tree of the partial sums
    // slither-disable-next-line uninitialized-state (Lifecycle writes it, called by delegatecall)
    mapping(bytes32 digest => mapping(address evaluator => bool)) internal _approved; // headers, by contracts

    constructor() EIP712("Fairshare", "1") {}

    /* INTERNAL */

    /// @dev The EIP-712 struct hash of a header: of its type hash, its first 5 words as they came, and the struct hash of the
    /// other 8. A field with dirty high bits would hash to something that no evaluator signed.
    function _headerHash(Header calldata header) internal pure returns (bytes32 hash) {
        (bytes32 typehash, bytes32 typehashOfRest) = (HEADER_TYPEHASH, REST_TYPEHASH);
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 288 bytes behind the free memory pointer
            mstore(buffer, typehashOfRest)
            calldatacopy(add(buffer, 32), add(header, 160), 256)
            let rest := keccak256(buffer, 288)
            mstore(buffer, typehash)
            calldatacopy(add(buffer, 32), header, 160)
            mstore(add(buffer, 192), rest)
            hash := keccak256(buffer, 224)
        }
    }

    /// @dev The same of a header that is known by its payroll: its 6 words are all that is hashed.
    function _headerHash(Payroll calldata roll) internal pure returns (bytes32 hash) {
        bytes32 typehash = HEADER_TYPEHASH;
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 224 bytes behind the free memory pointer
            mstore(buffer, typehash)
            calldatacopy(add(buffer, 32), roll, 192)
            hash := keccak256(buffer, 224)
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

    /// @dev Gives the evaluators of a task their seats under its coordinator and budget, or takes them away. Where they have to
    /// stake, a seat waits for that.
    function _seat(bytes32 taskId, Task storage t, bool given) internal {
        Seat seat;
        if (given) seat = _seatOf(t);
        (address coordinator, bytes32 validation) = (t.coordinator, t.validationHash);
        bool free = t.evaluatorStake == 0;
        uint256 count = t.evaluators.length;
        for (uint256 i; i < count; i++) {
            address evaluator = t.evaluators[i];
            if (free || t.backings[evaluator].stake != 0) {
                _seats[_seatKey(taskId, coordinator, validation, evaluator)] = seat;
            }
        }
    }

    /// @dev What a seat of the task says.
    function _seatOf(Task storage t) internal view returns (Seat) {
        return toSeat(t.budget, t.bond, t.clock.challengeWindow, t.rounds, t.quorum);
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
    function _heldFrom(Clock memory clock) internal view returns (uint32 from) {
        from = clock.heldFrom;
        uint32 reopened = clock.reopenedFrom;
        if (reopened != 0 && block.timestamp < clock.heldUntil && (from == 0 || reopened < from)) from = reopened;
    }

    /// @dev Whether a round was posted, is not void, is not held, and its challenge window is over.
    function _isFinal(Task storage t, uint32 round) internal view returns (bool) {
        uint256 windowEnd = t.postings[round].windowEnd();
        if (windowEnd == 0 || block.timestamp < windowEnd) return false;
        Clock memory clock = _clock(t);
        uint32 held = _heldFrom(clock);
        return (clock.voidFrom == 0 || round < clock.voidFrom) && (held == 0 || round < held);
    }

    /// @dev Reverts unless the header is the posted one of its round.
    function _requirePosted(Task storage t, Header calldata header) internal view {
        _requirePosted(t, header.taskId, header.round, _headerHash(header));
    }

    /// @dev Reverts unless this is the hash of the round's posted header.
    function _requirePosted(Task storage t, bytes32 taskId, uint32 round, bytes32 hash)
        internal
        view
        returns (uint256 windowEnd)
    {
        Posting posting = t.postings[round];
        windowEnd = posting.windowEnd();
        if (windowEnd == 0 || posting.digest() != bytes27(hash)) revert UnknownHeader(taskId, round, hash);
    }

    /// @dev What finality depends on. A function, since the copy takes 300 bytes of code.
    function _clock(Task storage t) internal view returns (Clock memory) {
        return t.clock;
    }

    /// @dev The token of a task.
    function _token(Task storage t) internal view returns (IERC20) {
        return IERC20(t.purse.token());
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
    function _deadline(Task storage t, Progress p) internal view returns (uint256 deadline) {
        uint256 since = t.since;
        if (p.status() == Status.Open) return since + t.roundTimeout;
        deadline = t.postings[p.posted()].windowEnd(); // 0 before the first
        uint256 postedAt = deadline == 0 ? 0 : deadline - t.clock.challengeWindow;
        uint256 heldUntil = t.clock.heldUntil;
        if (heldUntil > deadline) deadline = heldUntil;
        if (p.status() == Status.Started && p.posted() != t.rounds) {
            uint256 silent = postedAt > since ? postedAt : since;
            if (heldUntil > silent) silent = heldUntil;
            silent += t.roundTimeout;
            if (silent > deadline) deadline = silent;
        }
    }
}
