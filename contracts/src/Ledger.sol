// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {Posting} from "./types/Posting.sol";
import {Progress} from "./types/Progress.sol";

/// @title What the contract stores, reads and owes
/// @notice Storage, views and the internal steps that rounds, payouts and disputes share.
/// @dev Slots are cut so that `post` writes two (one of them new) and reads two more, and a claim writes two and reads
/// two more; amounts are uint96, which one check in `open` and one in `join` make safe.
abstract contract Ledger is IFairshare, EIP712 {
    using SafeERC20 for IERC20;

    /* TYPES */

    /// @dev What finality depends on; one slot.
    struct Clock {
        uint32 challengeWindow; // seconds
        uint32 responseWindow; // seconds
        uint32 roundTimeout; // seconds
        uint32 claimPeriod; // seconds
        uint32 voidFrom; // round, 0 if none
        uint32 heldFrom; // round, 0 if none
        uint40 since; // when the status last changed
        uint16 challenges; // open ones
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
        uint96 bondShare; // wei
        uint32 staked; // clients whose stake is here
        bytes32 specHash;
        bytes32 validationHash;
        bytes32 baseModel;
        bytes32 salt;
        address[] evaluators;
        mapping(uint32 round => Posting) postings;
        mapping(address account => Account) accounts;
    }

    /* STORAGE */

    bytes32 internal constant HEADER_TYPEHASH = keccak256(
        "Header(bytes32 taskId,uint32 round,bytes32 previous,bytes32 baseModel,bytes32 nextModel,bytes32 validation,bytes32 directionRoot,bytes32 treeRoot,uint32 leafCount,uint128 entitlement,uint128 cumulative,uint128 pot,bytes32 bundle)"
    );

    mapping(bytes32 taskId => Task) internal _tasks;
    mapping(bytes32 key => Seat) internal _seats;
    mapping(address token => mapping(address account => uint256 amount)) internal _credits; // wei

    constructor() EIP712("Fairshare", "1") {}

    /* VIEWS */

    /// @inheritdoc IFairshare
    function task(bytes32 taskId) external view returns (Terms memory terms, State memory state) {
        Task storage t = _tasks[taskId];
        terms = Terms({
            token: address(t.token),
            coordinator: t.coordinator,
            evaluators: t.evaluators,
            quorum: t.quorum,
            revealEachRound: t.revealEachRound,
            rounds: t.rounds,
            challengeWindow: t.clock.challengeWindow,
            responseWindow: t.clock.responseWindow,
            roundTimeout: t.clock.roundTimeout,
            claimPeriod: t.clock.claimPeriod,
            budget: t.budget,
            bond: t.bond,
            minStake: t.minStake,
            maxStake: t.maxStake,
            specHash: t.specHash,
            validationHash: t.validationHash,
            baseModel: t.baseModel,
            salt: t.salt
        });
        Progress p = t.progress;
        state = State({
            sponsor: t.sponsor,
            status: p.status(),
            swept: t.clock.swept,
            posted: p.posted(),
            voidFrom: t.clock.voidFrom,
            heldFrom: t.clock.heldFrom,
            clients: p.counted() + p.arriving(),
            staked: t.staked,
            openChallenges: t.clock.challenges,
            since: t.clock.since,
            cumulative: uint128(p.cumulative()),
            paid: t.paid,
            bondShare: t.bondShare
        });
    }

    /// @inheritdoc IFairshare
    function clientOf(bytes32 taskId, address account) external view returns (Client memory) {
        Account storage a = _tasks[taskId].accounts[account];
        return Client({
            stake: a.stake,
            claimed: a.claimed,
            firstRound: a.firstRound,
            leftRound: a.leftRound,
            nodeKeyHash: a.nodeKeyHash,
            dataset: a.dataset
        });
    }

    /// @inheritdoc IFairshare
    function clientCount(bytes32 taskId) external view returns (uint32) {
        Progress p = _tasks[taskId].progress;
        return p.counted() + p.arriving();
    }

    /// @inheritdoc IFairshare
    function roundOf(bytes32 taskId, uint32 round) external view returns (bytes27 headerHash, uint40 postedAt) {
        Posting posting = _tasks[taskId].postings[round];
        return (posting.digest(), uint40(posting.postedAt()));
    }

    /// @inheritdoc IFairshare
    function isFinal(bytes32 taskId, uint32 round) external view returns (bool) {
        return _isFinal(_tasks[taskId], round);
    }

    /// @inheritdoc IFairshare
    function creditOf(address token, address account) external view returns (uint256) {
        return _credits[token][account];
    }

    /// @inheritdoc IFairshare
    function headerDigest(Header calldata header) external view returns (bytes32) {
        return _headerDigest(header);
    }

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
}
