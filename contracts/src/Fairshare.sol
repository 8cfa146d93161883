// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {RoundTree} from "./libraries/RoundTree.sol";
import {Ledger} from "./Ledger.sol";
import {Cover} from "./types/Cover.sol";
import {Posting, toPosting} from "./types/Posting.sol";
import {CHANGED, HELD, STOPPING, Progress} from "./types/Progress.sol";
import {Purse} from "./types/Purse.sol";
import {Seat} from "./types/Seat.sol";

/// @title Fairshare
/// @notice See IFairshare for what each action does and requires.
contract Fairshare is IFairshare, Ledger, Multicall {
    using SafeERC20 for IERC20;

    /* CONSTANTS AND IMMUTABLES */

    bytes32 internal constant JOIN_TYPEHASH = keccak256(
        "Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,bytes32 dataset,uint128 fee,uint40 deadline)"
    );
    bytes32 internal constant REDIRECT_TYPEHASH = keccak256(
        "Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline)"
    );

    /// @notice The code behind IDisputes' and, behind that, ILifecycle's functions; nothing can exchange it.
    address public immutable disputes;

    constructor(address disputes_) {
        disputes = disputes_;
    }

    /* ACTIONS, in the order of a task's life */

    /// @inheritdoc IFairshare
    function join(
        bytes32 taskId,
        uint128 stake,
        bytes calldata nodeKey,
        bytes32 dataset,
        bytes32[] calldata membership
    ) external returns (uint32 firstRound) {
        return _join(taskId, msg.sender, stake, nodeKey, dataset, membership);
    }

    /// @inheritdoc IFairshare
    function joinFor(
        bytes32 taskId,
        Enrolment calldata enrolment,
        Permit calldata permit_,
        bytes32[] calldata membership
    ) external returns (uint32 firstRound) {
        address account = enrolment.account;
        // Check.
        _tasks[taskId].progress.requireLive(taskId);
        bytes32 structHash = keccak256(
            abi.encode(
                JOIN_TYPEHASH,
                taskId,
                account,
                enrolment.stake,
                keccak256(enrolment.nodeKey),
                enrolment.dataset,
                enrolment.fee,
                enrolment.deadline
            )
        );
        _requireOrder(account, enrolment.deadline, structHash, enrolment.signature);
        // Interaction: nothing was read yet that a call back could change, and nothing depends on how it ends; without
        // an allowance the stake cannot be pulled.
        IERC20 token = _token(_tasks[taskId]);
        _permit(address(token), account, permit_);
        // Check, effect and interaction of the joining itself.
        firstRound = _join(taskId, account, enrolment.stake, enrolment.nodeKey, enrolment.dataset, membership);
        // The account signed for the fee above, whatever became of the permit.
        // slither-disable-next-line arbitrary-send-erc20-permit
        if (enrolment.fee != 0) token.safeTransferFrom(account, msg.sender, enrolment.fee);
    }

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
    function claim(Payroll calldata roll, Leaf calldata leaf, Proof calldata proof) external returns (uint256 amount) {
        IERC20 token;
        (token, amount) = _claim(roll, leaf, proof);
        // Interaction.
        token.safeTransfer(_payee(_tasks[roll.taskId], leaf.account), amount);
    }

    /// @inheritdoc IFairshare
    function claimBatch(Payroll calldata roll, Leaf[] calldata leaves, Proof[] calldata proofs)
        external
        returns (uint256 total)
    {
        if (leaves.length != proofs.length) revert LengthMismatch(leaves.length, proofs.length);
        for (uint256 i; i < leaves.length; i++) {
            RoundTree.check(roll, leaves[i], proofs[i]);
        }
        return _claimAll(roll, leaves);
    }

    /// @inheritdoc IFairshare
    function claimRange(Payroll calldata roll, uint32 from, Leaf[] calldata leaves, bytes calldata siblings)
        external
        returns (uint256 total)
    {
        RoundTree.checkRange(roll, from, leaves, siblings);
        return _claimAll(roll, leaves);
    }

    /// @inheritdoc IFairshare
    function claimTo(Payroll calldata roll, Leaf calldata leaf, Proof calldata proof, Redirect calldata redirect)
        external
        returns (uint256 amount)
    {
        // Check: the order names task and round, and a round pays an account once, so it cannot be used again.
        bytes32 structHash = keccak256(
            abi.encode(
                REDIRECT_TYPEHASH,
                roll.taskId,
                roll.round,
                leaf.account,
                redirect.recipient,
                redirect.fee,
                redirect.deadline
            )
        );
        _requireOrder(leaf.account, redirect.deadline, structHash, redirect.signature);
        address payee = _payee(_tasks[roll.taskId], leaf.account);
        if (payee != leaf.account && payee != redirect.recipient) revert NotRecipient(redirect.recipient, payee);
        // Check and effect.
        IERC20 token;
        (token, amount) = _claim(roll, leaf, proof);
        if (redirect.fee > amount) revert FeeAboveAmount(redirect.fee, amount);
        emit Redirected(roll.taskId, roll.round, leaf.account, redirect.recipient, msg.sender, redirect.fee);
        // Interaction.
        token.safeTransfer(redirect.recipient, amount - redirect.fee);
        if (redirect.fee != 0) token.safeTransfer(msg.sender, redirect.fee);
    }

    /// @inheritdoc IFairshare
    function setRecipient(bytes32 taskId, address recipient) external {
        Task storage t = _tasks[taskId];
        // Check.
        if (t.accounts[msg.sender].firstRound == 0) revert NotJoined(taskId, msg.sender);
        address payee = _payee(t, msg.sender);
        if (payee != msg.sender) revert NotRecipient(msg.sender, payee);
        // Effect.
        _redirect(taskId, t, msg.sender, recipient);
    }

    /// @inheritdoc IFairshare
    function passRecipient(bytes32 taskId, address account, address recipient) external {
        Task storage t = _tasks[taskId];
        // Check.
        if (t.accounts[account].firstRound == 0) revert NotJoined(taskId, account);
        address payee = _payee(t, account);
        if (payee != msg.sender) revert NotRecipient(msg.sender, payee);
        // Effect.
        _redirect(taskId, t, account, recipient);
    }

    /// @inheritdoc IFairshare
    function leave(bytes32 taskId) external returns (uint32 leftRound) {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        Account storage a = t.accounts[msg.sender];
        // Check.
        p.requireLive(taskId);
        if (a.firstRound == 0) revert NotJoined(taskId, msg.sender);
        if (a.leftRound != 0) revert AlreadyLeft(taskId, msg.sender, a.leftRound);
        // Effect.
        uint96 stake = a.stake;
        if (p.status() == Status.Open) {
            // No round is under way: it never was there.
            leftRound = 1;
            address payee = _payee(t, msg.sender);
            delete t.accounts[msg.sender];
            t.stakes -= stake;
            t.progress = p.withoutClient();
            _credit(_token(t), payee, stake);
            emit Released(taskId, msg.sender, stake, 0);
        } else {
            leftRound = p.posted() + 2;
            a.leftRound = uint24(leftRound);
            t.progress = p.withFlag(CHANGED);
        }
        _enrol(t, 2, msg.sender, leftRound, stake);
        emit Left(taskId, msg.sender, leftRound);
    }

    /// @inheritdoc IFairshare
    function release(bytes32 taskId, address account) external {
        Task storage t = _tasks[taskId];
        if (t.accounts[account].stake == 0) revert NothingStaked(taskId, account);
        uint256 amount = _release(taskId, t, account);
        _credit(_token(t), _payee(t, account), amount);
    }

    /// @inheritdoc IFairshare
    function releaseRange(bytes32 taskId, address[] calldata accounts) external returns (uint256 total) {
        Task storage t = _tasks[taskId];
        // Check and effect, for all of them before the first transfer.
        uint256[] memory amounts = new uint256[](accounts.length);
        for (uint256 i; i < accounts.length; i++) {
            if (t.accounts[accounts[i]].stake == 0) continue;
            amounts[i] = _release(taskId, t, accounts[i]);
            total += amounts[i];
        }
        // Interaction.
        IERC20 token = _token(t);
        for (uint256 i; i < accounts.length; i++) {
            _send(token, _payee(t, accounts[i]), amounts[i]);
        }
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

    /* DISPUTES */

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

    function _join(
        bytes32 taskId,
        address account,
        uint128 stake,
        bytes calldata nodeKey,
        bytes32 dataset,
        bytes32[] calldata membership
    ) internal returns (uint32 firstRound) {
        // Check.
        firstRound = _firstRound(taskId, account, stake);
        Task storage t = _tasks[taskId];
        if (t.guarded) _requireMember(taskId, t, account, membership);
        // Effect: the stake fits, it is at most maxStake; the sums are checked.
        t.accounts[account].stake = uint96(stake);
        t.accounts[account].firstRound = uint24(firstRound);
        Progress p = t.progress.withClient();
        if (p.status() == Status.Open) {
            t.stakes += uint96(stake);
            t.progress = p;
        } else {
            t.arriving += uint96(stake);
            t.progress = p.withFlag(CHANGED);
        }
        _enrol(t, 1, account, firstRound, stake);
        emit Joined(taskId, account, firstRound, stake, nodeKey, dataset);
        // Interaction.
        _pull(_token(t), account, stake);
    }

    /// @dev The first round that an account which joins now has a leaf in; reverts if it cannot.
    function _firstRound(bytes32 taskId, address account, uint256 stake) internal view returns (uint32 firstRound) {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        p.requireLive(taskId);
        if (t.accounts[account].firstRound != 0) revert AlreadyJoined(taskId, account);
        if (stake < t.minStake || stake > t.maxStake) revert StakeOutOfRange(stake, t.minStake, t.maxStake);
        firstRound = p.status() == Status.Open ? 1 : p.posted() + 2;
        if (firstRound > t.rounds) revert EnrolmentOver(taskId, firstRound, t.rounds);
        uint256 deadline = _deadline(t, p);
        if (block.timestamp >= deadline) revert IDisputes.TooLate(block.timestamp, deadline);
    }

    /// @dev Reverts unless the joining is open and the account is among those who may.
    function _requireMember(bytes32 taskId, Task storage t, address account, bytes32[] calldata membership)
        internal
        view
    {
        if (t.joiningClosed) revert JoiningClosed(taskId);
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account))));
        if (!MerkleProof.verifyCalldata(membership, t.members, leaf)) revert NotMember(taskId, account);
    }

    /// @dev An ERC-2612 permit; whatever becomes of it, what is pulled later is checked then.
    function _permit(address token, address account, Permit calldata permit_) internal {
        // slither-disable-next-line reentrancy-no-eth,reentrancy-events
        try IERC20Permit(token).permit(
            account, address(this), permit_.value, permit_.deadline, permit_.v, permit_.r, permit_.s
        ) {} catch {}
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

    function _redirect(bytes32 taskId, Task storage t, address account, address recipient) internal {
        if (recipient == address(0)) revert NotRecipient(address(0), account);
        t.accounts[account].redirected = recipient != account;
        t.recipients[account] = recipient;
        emit RecipientSet(taskId, account, recipient);
    }

    /// @dev Books a client's stake, and its share of the pool if that goes by stake, as gone; the caller pays it.
    function _release(bytes32 taskId, Task storage t, address account) internal returns (uint256 amount) {
        Account storage a = t.accounts[account];
        Clock memory clock = _clock(t);
        Progress p = t.progress;
        // Check.
        uint256 stake = a.stake;
        uint256 share;
        if (p.status() != Status.Closed) {
            uint32 left = a.leftRound;
            if (left == 0 || !_isFinal(t, left - 1)) revert StillAtStake(taskId, account, left);
            t.stakes -= uint96(stake); // it has a place since the round before `left`
        } else if (clock.pooled && !clock.swept && t.poolByStake && _placed(t, a)) {
            share = uint256(t.pool) * stake / t.poolBase;
            t.purse = t.purse.withPaid(t.purse.paid() + share);
        }
        // Effect.
        a.stake = 0;
        emit Released(taskId, account, stake, share);
        return stake + share;
    }

    /// @dev Pays, or credits whom the token refuses to pay.
    function _send(IERC20 token, address account, uint256 amount) internal {
        if (amount != 0 && !token.trySafeTransfer(account, amount)) _credit(token, account, amount);
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
            address signer = ECDSA.recover(digest, signature.r, signature.vs);
            seat = _seats[_seatKey(header.taskId, msg.sender, header.validation, signer)];
            if (seat.quorum() == 0) {
                _requireCoordinator(t);
                if (header.validation != t.validationHash) revert WrongValidation(header.validation, t.validationHash);
                revert NotEvaluator(signer);
            }
            if (signer <= last) revert NotAscending(last, signer);
            last = signer;
        }
        // Without signatures there is no seat and its quorum is 0, hence the second condition.
        if (count < seat.quorum() || count == 0) {
            _requireCoordinator(t);
            revert QuorumNotReached(count, t.quorum);
        }
    }

    /// @dev Reverts unless the payroll's round is final and the claim period is not over.
    /// @return pool What its leaves are worth beyond their cumulatives, all together.
    function _requireClaimable(Task storage t, Payroll calldata roll, Purse purse) internal view returns (uint256 pool) {
        uint32 round = roll.round;
        uint256 finalAt = _requirePosted(t, roll.taskId, round, _headerHash(roll));
        if (purse.unsettled()) pool = _requireSettled(t, roll.taskId, round);
        if (block.timestamp < finalAt) revert RoundNotFinal(round, finalAt);
    }

    /// @dev Reverts if a round is void or held, or the claim period is over.
    function _requireSettled(Task storage t, bytes32 taskId, uint32 round) internal view returns (uint256 pool) {
        Clock memory clock = _clock(t);
        if (clock.swept) revert ClaimPeriodOver(taskId);
        if (clock.voidFrom != 0 && round >= clock.voidFrom) revert RoundVoid(round, clock.voidFrom);
        uint32 held = _heldFrom(clock);
        if (held != 0 && round >= held) revert RoundHeld(round, held);
        if (clock.pooled && round == t.progress.posted() && !t.poolByStake) pool = t.pool;
    }

    /// @dev Reverts unless the account signed the order and it is in time.
    function _requireOrder(address account, uint256 deadline, bytes32 structHash, bytes calldata signature)
        internal
        view
    {
        if (block.timestamp > deadline) revert SignatureExpired(block.timestamp, deadline);
        bytes32 digest = _hashTypedDataV4(structHash);
        if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, signature)) {
            revert BadSignature(account, digest);
        }
    }

    /// @dev Check and effect of claiming for one account.
    function _claim(Payroll calldata roll, Leaf calldata leaf, Proof calldata proof)
        internal
        returns (IERC20 token, uint256 amount)
    {
        Task storage t = _tasks[roll.taskId];
        Purse purse = t.purse;
        uint256 pool = _requireClaimable(t, roll, purse);
        RoundTree.check(roll, leaf, proof);
        amount = _take(t, roll, leaf, pool);
        if (amount == 0) revert NothingToClaim(leaf.account, leaf.cumulative, t.accounts[leaf.account].claimed);
        _pay(t, roll, purse, amount);
        token = IERC20(purse.token());
    }

    /// @dev Claims for leaves that were checked.
    function _claimAll(Payroll calldata roll, Leaf[] calldata leaves) internal returns (uint256 total) {
        Task storage t = _tasks[roll.taskId];
        Purse purse = t.purse;
        // Check and effect, for all of them before the first transfer.
        uint256 pool = _requireClaimable(t, roll, purse);
        uint256[] memory amounts = new uint256[](leaves.length);
        for (uint256 i; i < leaves.length; i++) {
            amounts[i] = _take(t, roll, leaves[i], pool);
            total += amounts[i];
        }
        _pay(t, roll, purse, total);
        // Interaction.
        for (uint256 i; i < leaves.length; i++) {
            _send(IERC20(purse.token()), _payee(t, leaves[i].account), amounts[i]);
        }
    }

    /// @dev Books what a leaf is still owed as claimed by its account; the caller has checked the leaf, books the amount
    /// for the task and pays it.
    function _take(Task storage t, Payroll calldata roll, Leaf calldata leaf, uint256 pool)
        internal
        returns (uint256 amount)
    {
        Account storage a = t.accounts[leaf.account];
        if (a.firstRound == 0) revert NotJoined(roll.taskId, leaf.account);
        uint256 claimed = a.claimed;
        uint256 worth = leaf.cumulative;
        if (pool != 0) worth += pool * worth / roll.cumulative;
        if (worth <= claimed) return 0;
        amount = worth - claimed;
        a.claimed = uint96(worth); // a part of budget and bond, which are below 2^95 together
        emit Claimed(roll.taskId, roll.round, leaf.account, amount);
    }

    /// @dev Books a payment. What a valid header promises is part of the task's total, so the total itself is read only
    /// if accounts were paid from different trees beyond this header's promise, or from the pool.
    function _pay(Task storage t, Payroll calldata roll, Purse purse, uint256 amount) internal {
        uint256 paid = purse.paid() + amount;
        if (paid > roll.cumulative) {
            uint256 total = t.progress.cumulative() + t.pool;
            if (paid > total) revert PaidBeyondTotal(paid, total);
        }
        t.purse = purse.withPaid(paid); // at most the total, which is at most budget and bond
    }
}
