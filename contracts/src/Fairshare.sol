// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {Claims} from "./Claims.sol";
import {Cover} from "./types/Cover.sol";
import {Posting, toPosting} from "./types/Posting.sol";
import {CHANGED, HELD, STOPPING, Progress} from "./types/Progress.sol";
import {Seat} from "./types/Seat.sol";

/// @title Fairshare
/// @notice The contract at whose address all is: rounds are here, members and claims are inherited, and disputes and lifecycle are
/// behind the fallback. See IFairshare for what each action does and requires.
contract Fairshare is Claims, Multicall {
    using SafeERC20 for IERC20;

    /// @notice The code behind IDisputes' and, behind that, ILifecycle's functions; nothing can exchange it.
    address public immutable disputes;

    constructor(address disputes_) {
        // Whoever deploys it with a wrong address has a contract that opens no task.
        // slither-disable-next-line missing-zero-check
        disputes = disputes_;
    }

    /// @notice IDisputes' and ILifecycle's functions. A contract is at most 24 KB of code, so theirs are in two more, which
    /// run on this one's storage. They cannot be exchanged, and refuse calls that they do not know.
    fallback() external {
        address code = disputes;
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            calldatacopy(buffer, 0, calldatasize())
            let done := delegatecall(gas(), code, buffer, calldatasize(), 0, 0)
            returndatacopy(buffer, 0, returndatasize())
            if iszero(done) { revert(buffer, returndatasize()) }
            return(buffer, returndatasize())
        }
    }

    /* ACTIONS */

    /// @inheritdoc IFairshare
    function post(Header calldata header, Signature[] calldata signatures, bytes32 cover) external {
        Task storage t = _tasks[header.taskId];
        Progress p = t.progress;
        // Check: the caller and the signers, by the evaluators' seats.
        p.requireStatus(header.taskId, Status.Started);
        bytes32 hash = _headerHash(header);
        Seat seat = _requireQuorum(t, header, _hashTypedDataV4(hash), signatures);
        // Check: the header follows from the terms and the round before.
        uint32 round;
        uint256 windowEnd;
        unchecked {
            // A round has 24 bits; times and windows have 32.
            (round, windowEnd) = (p.posted() + 1, block.timestamp + seat.challengeWindow());
        }
        uint256 rounds = p.has(STOPPING) ? t.rounds : seat.rounds();
        if (header.round != round || round > rounds) revert RoundOutOfOrder(header.round, round, uint32(rounds));
        if (p.commitment() != bytes10(_hash3(header.previous, header.enrolment, cover))) _refuse(t, p, header, cover);
        if (round == 1 && header.baseModel != t.baseModel) revert WrongBaseModel(header.baseModel, t.baseModel);
        uint256 total = header.cumulative;
        _requireScheduled(p, header, total, seat.budget(), rounds);
        // Check: the bond covers what is not final.
        if (p.has(HELD) && _heldFrom(_clock(t)) == 0) p = p.withoutFlag(HELD);
        cover = _covered(p, total, seat, cover);
        // Effect.
        bytes32 enrolment = p.has(CHANGED) ? _arrive(header.taskId, t) : header.enrolment;
        t.progress = p.withRound(total).withCommitment(_hash3(hash, enrolment, cover));
        t.postings[round] = toPosting(hash, windowEnd);
        _emitPosted(header, round, cover);
    }

    /// @inheritdoc IFairshare
    function withdraw(address token) external returns (uint256 amount) {
        return withdrawFor(token, msg.sender);
    }

    /// @inheritdoc IFairshare
    function withdrawFor(address token, address account) public returns (uint256 amount) {
        // Check.
        amount = _credits[token][account];
        if (amount == 0) revert NothingCredited(token, account);
        // Effect.
        _credits[token][account] = 0;
        emit Withdrawn(token, account, amount);
        // Interaction.
        IERC20(token).safeTransfer(account, amount);
    }

    /// @inheritdoc IFairshare
    function permit(address token, Permit calldata permit_) external {
        _permit(token, msg.sender, permit_);
    }

    /* VIEWS */

    /// @inheritdoc IFairshare
    function clientOf(bytes32 taskId, address account) external view returns (Client memory) {
        Account storage a = _tasks[taskId].accounts[account];
        return Client({
            stake: a.stake,
            claimed: a.claimed,
            firstRound: a.firstRound,
            leftRound: a.leftRound,
            recipient: a.redirected ? _tasks[taskId].recipients[account] : address(0)
        });
    }

    /// @inheritdoc IFairshare
    function clientCount(bytes32 taskId) external view returns (uint32) {
        Progress p = _tasks[taskId].progress;
        return p.counted() + p.arriving();
    }

    /// @inheritdoc IFairshare
    function roundOf(bytes32 taskId, uint32 round) external view returns (bytes27 hash, uint40 postedAt) {
        Posting posting = _tasks[taskId].postings[round];
        uint256 windowEnd = posting.windowEnd();
        if (windowEnd != 0) postedAt = uint40(windowEnd - _tasks[taskId].clock.challengeWindow);
        return (posting.digest(), postedAt);
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
    function headerHash(Header calldata header) external pure returns (bytes32) {
        return _headerHash(header);
    }

    /// @inheritdoc IFairshare
    function headerDigest(Header calldata header) external view returns (bytes32) {
        return _hashTypedDataV4(_headerHash(header));
    }

    /* INTERNAL */

    function _requireCoordinator(Task storage t) internal view {
        if (msg.sender != t.coordinator) revert NotCoordinator(msg.sender, t.coordinator);
    }

    /// @dev Of a header's hash, the enrolment that its successor is made for, and the cover: what the next post has to bring.
    function _hash3(bytes32 a, bytes32 b, bytes32 c) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 96 bytes behind the free memory pointer
            mstore(buffer, a)
            mstore(add(buffer, 32), b)
            mstore(add(buffer, 64), c)
            hash := keccak256(buffer, 96)
        }
    }

    /// @dev Says which of the three that the commitment binds is wrong.
    function _refuse(Task storage t, Progress p, Header calldata header, bytes32 cover) internal view {
        bytes27 last = t.postings[p.posted()].digest();
        bool first = p.posted() == 0;
        if (first ? header.previous != 0 : bytes27(header.previous) != last) revert WrongPrevious(header.previous, last);
        bytes32 due = bytes32(bytes20(t.due));
        if (header.enrolment != due) revert WrongEnrolment(header.enrolment, due);
        revert WrongCover(cover);
    }

    /// @dev Reverts unless the tree has everybody's leaf, and its total is as near to what the schedule allows as one price
    /// for all can bring it.
    function _requireScheduled(Progress p, Header calldata header, uint256 total, uint256 budget, uint256 rounds)
        internal
        pure
    {
        uint256 leafCount = header.leafCount;
        if (leafCount != p.counted()) revert WrongLeafCount(uint32(leafCount), p.counted());
        uint256 least = p.cumulative();
        uint256 allowed = budget;
        unchecked {
            // A budget is below 2^95 and a round below 2^24; `rounds` is at least as much as the round, so not 0.
            uint256 round = p.posted() + 1;
            if (round != rounds) allowed = budget * round / rounds;
            if (header.price != type(uint128).max && allowed + 1 > leafCount + least) least = allowed + 1 - leafCount;
        }
        if (total < least || total > allowed) revert WrongCumulative(total, least, allowed);
    }

    /// @dev Reverts if the pay that is not final would be more than the bond covers.
    /// @return next What the next post has to bring.
    function _covered(Progress p, uint256 total, Seat seat, bytes32 cover) internal view returns (bytes32 next) {
        (Cover after_, uint256 pay) =
            Cover.wrap(cover).advance(p.cumulative(), total, seat.challengeWindow(), p.has(HELD));
        if (pay > seat.bond()) revert NotCovered(pay, seat.bond());
        return Cover.unwrap(after_);
    }

    /// @dev Emits Posted with the header's words as they came; encoding them one by one costs 1,500 gas more.
    function _emitPosted(Header calldata header, uint256 round, bytes32 cover) internal {
        (bytes32 topic, bytes32 taskId) = (Posted.selector, header.taskId);
        assembly ("memory-safe") {
            let buffer := mload(0x40) // 320 bytes behind the free memory pointer
            calldatacopy(buffer, add(header, 64), 96) // treeRoot to cumulative
            calldatacopy(add(buffer, 96), add(header, 224), 192) // baseModel to bundle
            mstore(add(buffer, 288), cover)
            log3(buffer, 320, topic, taskId, round)
        }
    }

    /// @dev Counts those who came during the round that ends now, and the budget that was added.
    /// @return enrolment For the next round.
    function _arrive(bytes32 taskId, Task storage t) internal returns (bytes32 enrolment) {
        uint160 due = t.enrolment;
        uint96 arriving = t.arriving;
        if (arriving != 0) t.stakes += arriving;
        (t.due, t.arriving) = (due, 0);
        _addToBudget(taskId, t);
        return bytes32(bytes20(due));
    }

    /// @dev Checks that the caller is the coordinator, that the validation set is the task's, and that a quorum of
    /// evaluators signed. All of it is in the key of a seat; only a refusal reads the terms, to say which it was.
    function _requireQuorum(Task storage t, Header calldata header, bytes32 digest, Signature[] calldata signatures)
        internal
        view
        returns (Seat seat)
    {
        address last;
        uint256 count = signatures.length;
        for (uint256 i; i < count;) {
            Signature calldata signature = signatures[i];
            unchecked {
                i++; // below the count
            }
            // slither-disable-next-line unused-return (who failed to sign is 0, which has no seat)
            (address signer,,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
            seat = _seats[_seatKey(header.taskId, msg.sender, header.validation, signer)];
            if (seat.quorum() == 0) (signer, seat) = _contractsSeat(t, header, digest, signature);
            if (signer <= last) revert NotAscending(last, signer);
            last = signer;
        }
        // Without signatures there is no seat and its quorum is 0, hence the second condition.
        if (count < seat.quorum() || count == 0) {
            _requireCoordinator(t);
            revert QuorumNotReached(count, t.quorum);
        }
    }

    /// @dev The evaluator, and its seat, whose signature is none of a key: a contract that approved the header. Reverts
    /// otherwise, and says why.
    function _contractsSeat(Task storage t, Header calldata header, bytes32 digest, Signature calldata signature)
        internal
        view
        returns (address signer, Seat seat)
    {
        _requireCoordinator(t);
        if (header.validation != t.validationHash) revert WrongValidation(header.validation, t.validationHash);
        if (signature.vs != 0) revert NotEvaluator(ECDSA.recover(digest, signature.r, signature.vs));
        // Cut by hand: a seat's key is made in assembly, which would see the bits above.
        signer = address(uint160(uint256(signature.r) & type(uint160).max));
        seat = _seats[_seatKey(header.taskId, msg.sender, header.validation, signer)];
        if (seat.quorum() == 0 || !_approved[digest][signer]) revert NotEvaluator(signer);
    }
}
