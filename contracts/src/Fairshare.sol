// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {RoundTree} from "./libraries/RoundTree.sol";
import {Disputes} from "./Disputes.sol";
import {Ledger} from "./Ledger.sol";
import {Posting, toPosting} from "./types/Posting.sol";
import {Progress} from "./types/Progress.sol";

/// @title Fairshare
/// @notice See IFairshare for what each action does and requires.
contract Fairshare is IFairshare, Ledger {
    using SafeERC20 for IERC20;

    uint256 internal constant MAX_ROUNDS = type(uint24).max - 2; // two more, a late joiner's, still fit their 24 bits

    /* CONSTANTS AND IMMUTABLES */

    bytes32 internal constant JOIN_TYPEHASH = keccak256(
        "Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,bytes32 dataset,uint128 fee,uint40 deadline)"
    );
    bytes32 internal constant REDIRECT_TYPEHASH = keccak256(
        "Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline)"
    );

    /// @notice The code behind IDisputes' functions; nothing can exchange it.
    address public immutable disputes = address(new Disputes());

    /* ACTIONS, in the order of a task's life */

    /// @inheritdoc IFairshare
    function open(Terms calldata terms) external returns (bytes32 taskId) {
        taskId = keccak256(abi.encode(msg.sender, terms.salt));
        Task storage t = _tasks[taskId];
        // Check.
        if (t.progress.status() != Status.None) revert TaskExists(taskId);
        _requireRange("coordinator", uint160(terms.coordinator), 1, type(uint160).max);
        _requireRange("quorum", terms.quorum, 1, terms.evaluators.length);
        _requireRange("rounds", terms.rounds, 1, MAX_ROUNDS);
        _requireRange("challengeWindow", terms.challengeWindow, 1, type(uint32).max);
        _requireRange("responseWindow", terms.responseWindow, 1, type(uint32).max);
        _requireRange("roundTimeout", terms.roundTimeout, 1, type(uint32).max);
        _requireRange("claimPeriod", terms.claimPeriod, 1, type(uint32).max);
        _requireRange("budget", terms.budget, 1, type(uint96).max);
        _requireRange("bond", terms.bond, 0, type(uint96).max);
        _requireRange("maxStake", terms.maxStake, 1, type(uint96).max);
        _requireRange("minStake", terms.minStake, 1, terms.maxStake);
        // Effect: every amount below fits, it was just compared with type(uint96).max.
        t.token = IERC20(terms.token);
        t.clock = Clock({
            challengeWindow: terms.challengeWindow,
            responseWindow: terms.responseWindow,
            roundTimeout: terms.roundTimeout,
            claimPeriod: terms.claimPeriod,
            voidFrom: 0,
            heldFrom: 0,
            since: uint40(block.timestamp),
            challenges: 0,
            holds: 0,
            swept: false
        });
        t.progress = t.progress.withStatus(Status.Open);
        t.sponsor = msg.sender;
        t.bond = uint96(terms.bond);
        t.coordinator = terms.coordinator;
        t.budget = uint96(terms.budget);
        t.minStake = uint96(terms.minStake);
        t.maxStake = uint96(terms.maxStake);
        t.rounds = terms.rounds;
        t.quorum = terms.quorum;
        t.revealEachRound = terms.revealEachRound;
        t.attested = terms.attested;
        t.specHash = terms.specHash;
        t.validationHash = terms.validationHash;
        t.baseModel = terms.baseModel;
        t.salt = terms.salt;
        t.evaluators = terms.evaluators;
        address last;
        for (uint256 i; i < terms.evaluators.length; i++) {
            address evaluator = terms.evaluators[i];
            if (evaluator <= last) revert NotAscending(last, evaluator);
            _seats[_seatKey(taskId, terms.coordinator, terms.validationHash, evaluator)] =
                Seat({budget: uint96(terms.budget), rounds: terms.rounds, quorum: terms.quorum});
            last = evaluator;
        }
        emit Opened(taskId, msg.sender, terms.token, terms);
        // Interaction.
        _pull(t.token, msg.sender, uint256(terms.budget) + terms.bond);
    }

    /// @inheritdoc IFairshare
    function join(bytes32 taskId, uint128 stake, bytes calldata nodeKey, bytes32 dataset)
        external
        returns (uint32 firstRound)
    {
        return _join(taskId, msg.sender, stake, nodeKey, dataset);
    }

    /// @inheritdoc IFairshare
    function joinFor(bytes32 taskId, Enrolment calldata enrolment, Permit calldata permit)
        external
        returns (uint32 firstRound)
    {
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
        IERC20 token = _tasks[taskId].token;
        // slither-disable-next-line reentrancy-no-eth,reentrancy-events
        try IERC20Permit(address(token)).permit(
            account, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s
        ) {} catch {}
        // Check, effect and interaction of the joining itself.
        firstRound = _join(taskId, account, enrolment.stake, enrolment.nodeKey, enrolment.dataset);
        // The account signed for the fee above, whatever became of the permit.
        // slither-disable-next-line arbitrary-send-erc20-permit
        if (enrolment.fee != 0) token.safeTransferFrom(account, msg.sender, enrolment.fee);
    }

    /// @inheritdoc IFairshare
    function start(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        // Check.
        _requireCoordinator(t);
        Progress p = t.progress;
        p.requireStatus(taskId, Status.Open);
        uint32 clients = p.counted();
        if (clients == 0) revert NoClients(taskId);
        // Effect.
        t.progress = p.withStatus(Status.Started);
        t.clock.since = uint40(block.timestamp);
        emit Started(taskId, clients);
    }

    /// @inheritdoc IFairshare
    function post(Header calldata header, Signature[] calldata signatures) external {
        Task storage t = _tasks[header.taskId];
        Progress p = t.progress;
        // Check: the caller and the signers, by the evaluators' seats.
        p.requireStatus(header.taskId, Status.Started);
        bytes memory words = _words(header);
        bytes32 digest = _hashTypedDataV4(keccak256(words));
        Seat memory seat = _requireQuorum(t, header, digest, signatures);
        // Check: the header follows from the terms and the round before.
        uint32 round = p.posted() + 1;
        if (header.round != round || round > seat.rounds) revert RoundOutOfOrder(header.round, round, seat.rounds);
        if (bytes10(header.previous) != p.last()) {
            revert WrongPrevious(header.previous, t.postings[p.posted()].digest());
        }
        if (round == 1) {
            if (header.previous != 0) revert WrongPrevious(header.previous, 0);
            if (header.baseModel != t.baseModel) revert WrongBaseModel(header.baseModel, t.baseModel);
        }
        if (header.leafCount != p.counted()) revert WrongLeafCount(header.leafCount, p.counted());
        uint256 total = p.cumulative();
        uint256 pot;
        unchecked {
            // The total never exceeds the budget, and a round is left, or the order would have been refused.
            pot = (seat.budget - total) / (seat.rounds + 1 - round);
        }
        if (header.pot != pot) revert WrongPot(header.pot, pot);
        uint256 pay = header.entitlement == 0 ? 0 : pot;
        if (header.cumulative != total + pay) revert WrongCumulative(header.cumulative, total + pay);
        // Effect.
        t.progress = p.withRound(pay, digest);
        t.postings[round] = toPosting(digest, block.timestamp);
        // Emits Posted with the words that were hashed; encoding them one by one costs 1,500 gas more.
        (bytes32 topic, bytes32 taskId) = (Posted.selector, header.taskId);
        assembly ("memory-safe") {
            mstore(add(words, 32), digest)
            log3(add(words, 32), mload(words), topic, taskId, round)
        }
    }

    /// @inheritdoc IFairshare
    function claim(Header calldata header, Leaf calldata leaf, Proof calldata proof) external returns (uint256 amount) {
        IERC20 token;
        (token, amount) = _claim(header, leaf, proof);
        // Interaction.
        token.safeTransfer(leaf.account, amount);
    }

    /// @inheritdoc IFairshare
    function claimBatch(Header calldata header, Leaf[] calldata leaves, Proof[] calldata proofs)
        external
        returns (uint256 total)
    {
        if (leaves.length != proofs.length) revert LengthMismatch(leaves.length, proofs.length);
        for (uint256 i; i < leaves.length; i++) {
            RoundTree.check(header, leaves[i], proofs[i]);
        }
        return _claimAll(header, leaves);
    }

    /// @inheritdoc IFairshare
    function claimRange(Header calldata header, uint32 from, Leaf[] calldata leaves, Sibling[] calldata siblings)
        external
        returns (uint256 total)
    {
        RoundTree.checkRange(header, from, leaves, siblings);
        return _claimAll(header, leaves);
    }

    /// @inheritdoc IFairshare
    function claimTo(Header calldata header, Leaf calldata leaf, Proof calldata proof, Redirect calldata redirect)
        external
        returns (uint256 amount)
    {
        // Check: the order names task and round, and a round pays an account once, so it cannot be used again.
        bytes32 structHash = keccak256(
            abi.encode(
                REDIRECT_TYPEHASH,
                header.taskId,
                header.round,
                leaf.account,
                redirect.recipient,
                redirect.fee,
                redirect.deadline
            )
        );
        _requireOrder(leaf.account, redirect.deadline, structHash, redirect.signature);
        // Check and effect.
        IERC20 token;
        (token, amount) = _claim(header, leaf, proof);
        if (redirect.fee > amount) revert FeeAboveAmount(redirect.fee, amount);
        emit Redirected(header.taskId, header.round, leaf.account, redirect.recipient, msg.sender, redirect.fee);
        // Interaction.
        token.safeTransfer(redirect.recipient, amount - redirect.fee);
        if (redirect.fee != 0) token.safeTransfer(msg.sender, redirect.fee);
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
        // Effect: before the start no round is under way; after it, the next one to be posted is.
        leftRound = p.status() == Status.Open ? 1 : p.posted() + 2;
        a.leftRound = leftRound;
        emit Left(taskId, msg.sender, leftRound);
    }

    /// @inheritdoc IFairshare
    function release(bytes32 taskId, address account) external {
        Task storage t = _tasks[taskId];
        Account storage a = t.accounts[account];
        // Check.
        uint256 stake = a.stake;
        if (stake == 0) revert NothingStaked(taskId, account);
        if (t.progress.status() != Status.Closed) {
            uint32 left = a.leftRound;
            if (left == 0 || (left > 1 && !_isFinal(t, left - 1))) revert StillAtStake(taskId, account, left);
        }
        // Effect.
        uint256 share = _bondShare(t, a);
        a.stake = 0;
        t.staked--;
        _credit(t.token, account, stake + share);
        emit Released(taskId, account, stake, share);
    }

    /// @inheritdoc IFairshare
    function expire(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        Clock memory clock = t.clock;
        // Check.
        p.requireLive(taskId);
        if (p.posted() == t.rounds) revert AllPosted(taskId, t.rounds);
        _requireTime(_deadline(t, p, clock));
        if (t.clock.challenges != 0) revert ChallengesOpen(taskId, t.clock.challenges);
        // Effect: before the start nobody has worked, and nobody was kept from leaving. Arrivals cannot leave or be slashed
        // before the next post, so all of them are among those who are staked.
        uint256 sharing = p.status() == Status.Open ? 0 : t.staked - p.arriving();
        uint256 share = sharing == 0 ? 0 : t.bond / sharing;
        t.bondShare = uint96(share); // at most the bond
        emit Expired(taskId, p.posted(), share);
        _close(taskId, t, t.bond - share * sharing);
    }

    /// @inheritdoc IFairshare
    function close(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check.
        if (p.status() != Status.Halted) {
            p.requireStatus(taskId, Status.Started);
            if (p.posted() != t.rounds) revert RoundsMissing(taskId, p.posted(), t.rounds);
        }
        _requireTime(_deadline(t, p, t.clock));
        if (t.clock.challenges != 0) revert ChallengesOpen(taskId, t.clock.challenges);
        // Effect: a halted task's bond was slashed.
        _close(taskId, t, p.status() == Status.Halted ? 0 : t.bond);
    }

    /// @inheritdoc IFairshare
    function sweep(bytes32 taskId) external {
        Task storage t = _tasks[taskId];
        // Check.
        Progress p = t.progress;
        p.requireStatus(taskId, Status.Closed);
        if (t.clock.swept) revert ClaimPeriodOver(taskId);
        _requireTime(uint256(t.clock.since) + t.clock.claimPeriod);
        // Effect.
        uint256 rest = p.cumulative() - t.paid;
        t.clock.swept = true;
        _credit(t.token, t.sponsor, rest);
        emit Swept(taskId, rest);
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

    /* DISPUTES */

    /// @notice IDisputes' functions. A contract is at most 24 KB of code, so theirs is a second one, which runs on this
    /// one's storage. It was deployed with this contract and cannot be exchanged; it refuses calls that it does not know.
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
    function task(bytes32 taskId) external view returns (Terms memory terms, State memory state) {
        Task storage t = _tasks[taskId];
        terms = Terms({
            token: address(t.token),
            coordinator: t.coordinator,
            evaluators: t.evaluators,
            quorum: t.quorum,
            revealEachRound: t.revealEachRound,
            attested: t.attested,
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
            bondShare: t.bondShare,
            burned: t.burned
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

    function _requireRange(bytes32 term, uint256 seen, uint256 least, uint256 most) internal pure {
        if (seen < least || seen > most) revert TermOutOfRange(term, seen, least, most);
    }

    function _requireCoordinator(Task storage t) internal view {
        if (msg.sender != t.coordinator) revert NotCoordinator(msg.sender, t.coordinator);
    }

    function _requireTime(uint256 earliest) internal view {
        if (block.timestamp < earliest) revert TooEarly(block.timestamp, earliest);
    }

    function _join(bytes32 taskId, address account, uint128 stake, bytes calldata nodeKey, bytes32 dataset)
        internal
        returns (uint32 firstRound)
    {
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        Account storage a = t.accounts[account];
        // Check.
        p.requireLive(taskId);
        if (a.firstRound != 0) revert AlreadyJoined(taskId, account);
        if (stake < t.minStake || stake > t.maxStake) revert StakeOutOfRange(stake, t.minStake, t.maxStake);
        firstRound = p.status() == Status.Open ? 1 : p.posted() + 2;
        if (firstRound > t.rounds) revert EnrolmentOver(taskId, firstRound, t.rounds);
        uint256 deadline = _deadline(t, p, t.clock);
        if (block.timestamp >= deadline) revert IDisputes.TooLate(block.timestamp, deadline);
        // Effect: the stake fits, it is at most maxStake.
        a.stake = uint96(stake);
        a.firstRound = firstRound;
        a.nodeKeyHash = keccak256(nodeKey);
        a.dataset = dataset;
        t.progress = p.withClient();
        t.staked++;
        emit Joined(taskId, account, firstRound, stake, nodeKey, dataset);
        // Interaction.
        _pull(t.token, account, stake);
    }

    /// @dev Checks that the caller is the coordinator, that the validation set is the task's, and that a quorum of
    /// evaluators signed. All of it is in the key of a seat; only a refusal reads the terms, to say which it was.
    function _requireQuorum(Task storage t, Header calldata header, bytes32 digest, Signature[] calldata signatures)
        internal
        view
        returns (Seat memory seat)
    {
        address last;
        for (uint256 i; i < signatures.length; i++) {
            address signer = ECDSA.recover(digest, signatures[i].r, signatures[i].vs);
            seat = _seats[_seatKey(header.taskId, msg.sender, header.validation, signer)];
            if (seat.quorum == 0) {
                _requireCoordinator(t);
                if (header.validation != t.validationHash) revert WrongValidation(header.validation, t.validationHash);
                revert NotEvaluator(signer);
            }
            if (signer <= last) revert NotAscending(last, signer);
            last = signer;
        }
        // Without signatures there is no seat and its quorum is 0, hence the second condition.
        if (signatures.length < seat.quorum || signatures.length == 0) {
            _requireCoordinator(t);
            revert QuorumNotReached(signatures.length, t.quorum);
        }
    }

    /// @dev Reverts unless the header's round is final and the claim period is not over.
    function _requireClaimable(Task storage t, Header calldata header) internal view {
        uint256 postedAt = _requirePosted(t, header);
        Clock memory clock = t.clock;
        uint32 round = header.round;
        if (clock.swept) revert ClaimPeriodOver(header.taskId);
        if (clock.voidFrom != 0 && round >= clock.voidFrom) revert RoundVoid(round, clock.voidFrom);
        if (clock.heldFrom != 0 && round >= clock.heldFrom) revert RoundHeld(round, clock.heldFrom);
        uint256 finalAt = postedAt + clock.challengeWindow;
        if (block.timestamp < finalAt) revert RoundNotFinal(round, finalAt);
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
    function _claim(Header calldata header, Leaf calldata leaf, Proof calldata proof)
        internal
        returns (IERC20 token, uint256 amount)
    {
        Task storage t = _tasks[header.taskId];
        _requireClaimable(t, header);
        RoundTree.check(header, leaf, proof);
        amount = _take(t, header, leaf);
        if (amount == 0) revert NothingToClaim(leaf.account, leaf.cumulative, t.accounts[leaf.account].claimed);
        token = _pay(t, header, amount);
    }

    /// @dev Claims for leaves that were checked.
    function _claimAll(Header calldata header, Leaf[] calldata leaves) internal returns (uint256 total) {
        Task storage t = _tasks[header.taskId];
        // Check and effect, for all of them before the first transfer.
        _requireClaimable(t, header);
        uint256[] memory amounts = new uint256[](leaves.length);
        for (uint256 i; i < leaves.length; i++) {
            amounts[i] = _take(t, header, leaves[i]);
            total += amounts[i];
        }
        IERC20 token = _pay(t, header, total);
        // Interaction.
        for (uint256 i; i < leaves.length; i++) {
            if (amounts[i] != 0) token.safeTransfer(leaves[i].account, amounts[i]);
        }
    }

    /// @dev Books what a leaf is still owed as claimed by its account; the caller has checked the leaf, books the amount
    /// for the task and pays it.
    function _take(Task storage t, Header calldata header, Leaf calldata leaf) internal returns (uint256 amount) {
        Account storage a = t.accounts[leaf.account];
        if (a.firstRound == 0) revert NotJoined(header.taskId, leaf.account);
        uint256 claimed = a.claimed;
        if (leaf.cumulative <= claimed) return 0;
        amount = leaf.cumulative - claimed;
        a.claimed = uint96(leaf.cumulative); // at most the header's cumulative, which is at most the budget
        emit Claimed(header.taskId, header.round, leaf.account, amount);
    }

    /// @dev Books a payment. What a valid header promises is part of the task's total, so the total itself is read only
    /// if accounts were paid from different trees beyond this header's promise.
    function _pay(Task storage t, Header calldata header, uint256 amount) internal returns (IERC20 token) {
        token = t.token;
        uint256 paid = t.paid + amount;
        if (paid > header.cumulative && paid > t.progress.cumulative()) {
            revert PaidBeyondTotal(paid, t.progress.cumulative());
        }
        t.paid = uint96(paid); // at most the total, which is at most the budget
    }

    /// @dev Freezes the total; from here the claim period runs.
    function _close(bytes32 taskId, Task storage t, uint256 bond) internal {
        Progress p = t.progress;
        uint256 refund = t.budget - p.cumulative() + bond;
        t.progress = p.withStatus(Status.Closed);
        t.clock.since = uint40(block.timestamp);
        _credit(t.token, t.sponsor, refund);
        emit Closed(taskId, p.posted(), p.cumulative(), refund);
    }
}
