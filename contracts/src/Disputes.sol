// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {Ledger} from "./Ledger.sol";
import {BlockTree} from "./libraries/BlockTree.sol";
import {RoundTree} from "./libraries/RoundTree.sol";
import {ScoreMath} from "./libraries/ScoreMath.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {Posting} from "./types/Posting.sol";
import {HELD, Progress} from "./types/Progress.sol";

/// @title The code behind Fairshare's disputes
/// @notice Runs by delegatecall from Fairshare only, on its storage; called by itself it knows of no task. See IDisputes
/// for what each action does and requires. Calls that it does not know go on to ILifecycle's code.
contract Disputes is IDisputes, Ledger {
    bytes32 internal constant UPDATE_TYPEHASH =
        keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");

    /// @dev A challenge costs this part of the coordinator's bond.
    uint256 internal constant CHALLENGES_A_BOND = 16;

    uint64 internal constant MAX_SUMS = 4096; // 64 KB of calldata, half of what nodes take in one transaction

    /// @notice The code behind ILifecycle's functions; nothing can exchange it.
    address public immutable lifecycle;

    constructor(address lifecycle_) {
        lifecycle = lifecycle_;
    }

    fallback() external {
        address code = lifecycle;
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            calldatacopy(buffer, 0, calldatasize())
            let done := delegatecall(gas(), code, buffer, calldatasize(), 0, 0)
            returndatacopy(buffer, 0, returndatasize())
            if iszero(done) { revert(buffer, returndatasize()) }
            return(buffer, returndatasize())
        }
    }

    /* PROOFS IN ONE TRANSACTION */

    /// @inheritdoc IDisputes
    function proveTransition(
        Header calldata before,
        Leaf calldata leafBefore,
        Proof calldata proofBefore,
        Header calldata header,
        Leaf calldata leaf,
        Proof calldata proof
    ) external {
        Task storage t = _disputed(header);
        RoundTree.check(header, leaf, proof);
        Account storage a = t.accounts[leaf.account];
        uint32 firstRound = a.firstRound;
        uint32 leftRound = a.leftRound;
        bool sound = true;
        // A leaf without an update, or of a client that left, has no weight and no score.
        if (leaf.updateRoot == 0 || (leftRound != 0 && header.round >= leftRound)) {
            sound = sound && leaf.weight == 0 && leaf.score == 0;
        }
        if (firstRound == 0 || firstRound > header.round) {
            sound = false; // the account has no place in this tree
        } else if (firstRound == header.round) {
            sound = sound && _follows(header, leaf, 0, 0);
        } else {
            _requireEarlier(t, before, header);
            _requireOf(leaf.account, before, leafBefore, proofBefore);
            sound = sound
                && (before.round + 1 == header.round
                    ? _follows(header, leaf, leafBefore.total, leafBefore.cumulative)
                    : _growsAtMost(header.cumulative - before.cumulative, leafBefore.cumulative, leaf.cumulative));
        }
        if (sound) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveBrokenChain(Header calldata before, Header calldata header) external {
        Task storage t = _disputed(header);
        _requireConsecutive(t, before, header);
        if (header.baseModel == before.nextModel && header.previous == _headerHash(before)) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveOmission(
        Header calldata header,
        Leaf calldata leaf,
        Proof calldata proof,
        bytes32 updateRoot,
        Signature calldata receipt
    ) external {
        Task storage t = _disputed(header);
        RoundTree.check(header, leaf, proof);
        bytes32 structHash =
            keccak256(abi.encode(RECEIPT_TYPEHASH, header.taskId, header.round, leaf.account, updateRoot));
        address signer = ECDSA.recover(_hashTypedDataV4(structHash), receipt.r, receipt.vs);
        if (signer != t.coordinator && header.round > t.signedUntil[signer]) revert WrongSigner(signer, t.coordinator);
        if (leaf.updateRoot == updateRoot) revert NoFraud();
        // No bounty: only the coordinator could have made the receipt, for bytes that nobody else may have seen.
        _convict(t, header, msg.sender, 0);
    }

    /// @inheritdoc IDisputes
    function proveDisorder(
        Header calldata header,
        Leaf calldata first,
        Proof calldata firstProof,
        Leaf calldata second,
        Proof calldata secondProof
    ) external {
        Task storage t = _disputed(header);
        RoundTree.check(header, first, firstProof);
        RoundTree.check(header, second, secondProof);
        if (firstProof.index >= secondProof.index) revert NotNeighbours(firstProof.index, secondProof.index);
        if (first.account < second.account) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveMissing(
        Header calldata header,
        address account,
        Leaf[] calldata neighbours,
        Proof[] calldata proofs
    ) external {
        Task storage t = _disputed(header);
        uint32 firstRound = t.accounts[account].firstRound;
        if (firstRound == 0 || firstRound > header.round) revert NotDue(account, firstRound, header.round);
        if (neighbours.length != proofs.length) revert LengthMismatch(neighbours.length, proofs.length);
        if (neighbours.length == 2) {
            RoundTree.check(header, neighbours[0], proofs[0]);
            RoundTree.check(header, neighbours[1], proofs[1]);
            if (proofs[0].index + 1 != proofs[1].index) revert NotNeighbours(proofs[0].index, proofs[1].index);
            if (account <= neighbours[0].account || account >= neighbours[1].account) revert NoFraud();
        } else {
            if (neighbours.length != 1) revert LengthMismatch(neighbours.length, 2);
            RoundTree.check(header, neighbours[0], proofs[0]);
            uint256 index = proofs[0].index;
            bool before = index == 0 && account < neighbours[0].account;
            bool behind = index + 1 == header.leafCount && account > neighbours[0].account;
            if (!before && !behind) revert NoFraud();
        }
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveBadLeaf(Header calldata header, Leaf calldata leaf, Sibling calldata said, Proof calldata proof)
        external
    {
        Task storage t = _disputed(header);
        _requireSaid(header, RoundTree.hashLeaf(leaf), said, header.leafCount, proof);
        if (said.cumulative == leaf.cumulative) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveBadNode(
        Header calldata header,
        uint8 level,
        Sibling calldata left,
        Sibling calldata right,
        Sibling calldata said,
        Proof calldata proof
    ) external {
        Task storage t = _disputed(header);
        uint256 width = header.leafCount;
        for (uint256 i; i < level && width > 1; i++) {
            width = (width + 1) >> 1;
        }
        _requireSaid(header, RoundTree.hashNode(left, right), said, width, proof);
        // In 256 bits: a sum that was cut to 128 is not the sum.
        uint256 cumulative = uint256(left.cumulative) + right.cumulative;
        if (level != 0 && said.cumulative == cumulative) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function proveEquivocation(
        bytes32 taskId,
        uint32 round,
        address client,
        SignedUpdate calldata first,
        SignedUpdate calldata second
    ) external {
        Task storage t = _tasks[taskId];
        Account storage a = t.accounts[client];
        // Check.
        _requireRunning(taskId, t);
        uint256 stake = a.stake;
        if (stake == 0) revert NothingStaked(taskId, client);
        uint32 underWay = t.progress.posted() + 1;
        if (!_placed(t, a) || a.firstRound > round || round > underWay) revert NotDue(client, a.firstRound, round);
        if (_isFinal(t, round)) revert RoundFinal(round);
        if (first.baseModel == second.baseModel && first.updateRoot == second.updateRoot) revert NoFraud();
        _requireSigner(_updateHash(taskId, round, client, first), first.signature, client);
        _requireSigner(_updateHash(taskId, round, client, second), second.signature, client);
        // Effect.
        a.stake = 0;
        t.stakes -= uint96(stake);
        _forfeit(t, t.holds[round], msg.sender, stake, t.minStake);
        emit Slashed(taskId, client, msg.sender, stake);
    }

    /* CHALLENGE OF A SCORE */

    /// @inheritdoc IDisputes
    function challengeScore(
        Header calldata header,
        Leaf calldata leaf,
        Proof calldata proof,
        uint64 blocks,
        bytes32 top,
        bytes calldata sums
    ) external returns (bytes32 id) {
        Task storage t = _disputed(header);
        if (t.attested) revert ScoresAttested(header.taskId);
        // Check: the leaf is the round's, and the sums are complete and make another score.
        RoundTree.check(header, leaf, proof);
        Challenge memory challenge = _challenge(header, leaf, blocks, top, sums);
        // Effect.
        id = keccak256(abi.encode(challenge));
        // Settled ones count: their demands and answers are still stored under this hash.
        if (_standings[id].deadline != 0) revert ChallengeExists(id);
        uint256 bond = _challengeBond(t);
        _standings[id] =
            Standing({open: true, deadline: _later(t, 1), demands: 0, upheld: false, bond: uint128(bond)});
        _hold(t, header.round);
        emit Challenged(id, header.taskId, header.round, challenge, sums);
        // Interaction.
        _pull(_token(t), msg.sender, bond);
    }

    /// @inheritdoc IDisputes
    function refute(
        Challenge calldata challenge,
        uint64 index,
        bytes calldata update,
        bytes calldata direction,
        int128 partialSum,
        bytes32[] calldata path
    ) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp >= standing.deadline) revert TooLate(block.timestamp, standing.deadline);
        if (index >= challenge.blocks) revert NoSuchBlock(index, challenge.blocks);
        _requireIn(challenge, id, index, partialSum, path);
        BlockTree.check(challenge.updateRoot, challenge.blocks, index, update);
        BlockTree.check(challenge.directionRoot, challenge.blocks, index, direction);
        if (ScoreMath.partialSum(update, direction) == partialSum) revert SumIsRight(partialSum);
        // Effect.
        _fail(challenge.taskId, t, challenge.round, id, msg.sender);
    }

    /// @inheritdoc IDisputes
    function demand(Challenge calldata challenge, uint64 sum) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        uint256 latest = uint256(challenge.openedAt) + t.clock.responseWindow;
        if (block.timestamp >= latest) revert TooLate(block.timestamp, latest);
        uint64 span = _span(challenge.blocks);
        uint64 count = _sums(challenge.blocks, span);
        if (sum >= count) revert NoSuchBlock(sum, count);
        if (span == 1 || _demands[id][sum].demander != address(0)) revert NothingToDemand(id, sum);
        // Effect: time to answer, and then to refute.
        uint32 number = ++_demanded[id][msg.sender];
        _demands[id][sum] = Demand({demander: msg.sender, since: uint40(block.timestamp), number: number});
        standing.demands++;
        standing.deadline = _later(t, 2);
        uint256 bond = uint256(number) * t.minStake;
        emit Demanded(id, sum, msg.sender, bond);
        // Interaction.
        _pull(_token(t), msg.sender, bond);
    }

    /// @inheritdoc IDisputes
    function answer(
        Challenge calldata challenge,
        uint64 sum,
        int128 value,
        bytes32[] calldata path,
        bytes calldata partials
    ) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check: the challenger alone, since a stranger could break a right sum down into wrong parts.
        if (msg.sender != challenge.challenger) revert NotChallenger(msg.sender, challenge.challenger);
        if (_demands[id][sum].demander == address(0) || _answers[id][sum] != 0) revert NotDemanded(id, sum);
        uint64 span = _span(challenge.blocks);
        SumTree.check(challenge.sumsRoot, _sums(challenge.blocks, span), sum, value, path);
        uint256 length = uint256(_width(challenge.blocks, span, sum)) * 16;
        if (partials.length != length) revert WrongSumsLength(partials.length, length);
        (bytes32 root, int256 total) = SumTree.build(partials);
        if (total != value) revert WrongPartials(total, value);
        // Effect: the demand's bond stays until it is known who was right.
        _answers[id][sum] = root;
        standing.demands--;
        uint40 deadline = _later(t, 1);
        if (deadline > standing.deadline) standing.deadline = deadline;
        emit Answered(id, sum, partials);
    }

    /// @inheritdoc IDisputes
    function dismiss(Challenge calldata challenge, uint64 sum) external {
        bytes32 id = keccak256(abi.encode(challenge));
        Task storage t = _tasks[challenge.taskId];
        Standing storage standing = _standings[id];
        Demand memory made = _demands[id][sum];
        bool open = standing.open;
        // Check.
        if (made.demander == address(0) || (open && _answers[id][sum] != 0)) revert NotDemanded(id, sum);
        uint256 earliest = uint256(made.since) + t.clock.responseWindow;
        if (open && block.timestamp < earliest) revert TooEarly(block.timestamp, earliest);
        // Effect.
        delete _demands[id][sum];
        _credit(_token(t), standing.upheld ? challenge.challenger : made.demander, uint256(made.number) * t.minStake);
        if (open) _fail(challenge.taskId, t, challenge.round, id, made.demander);
    }

    /// @inheritdoc IDisputes
    function uphold(Challenge calldata challenge, Header calldata header) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp < standing.deadline) revert TooEarly(block.timestamp, standing.deadline);
        if (standing.demands != 0) revert DemandsOpen(id, standing.demands);
        if (header.taskId != challenge.taskId || header.round != challenge.round) {
            revert UnknownHeader(challenge.taskId, challenge.round, _headerHash(header));
        }
        _requirePosted(t, header);
        // Effect: convicted while its round is still held. If the round is void by now, the challenger gets its bond back
        // and no more.
        uint256 bond = standing.bond;
        if (header.round <= t.progress.posted()) _convict(t, header, challenge.challenger, t.minStake);
        (standing.open, standing.upheld) = (false, true);
        _unhold(t, header.round);
        _credit(_token(t), challenge.challenger, bond);
        emit Upheld(id);
    }

    /* REQUEST OF A LEAF */

    /// @inheritdoc IDisputes
    function requestLeaf(Header calldata header, address account) external {
        Task storage t = _disputed(header);
        // Check.
        uint32 firstRound = t.accounts[account].firstRound;
        if (firstRound == 0 || firstRound > header.round) revert NotDue(account, firstRound, header.round);
        Request storage request = t.requests[_headerHash(header)][account];
        if (request.deadline != 0) revert AlreadyRequested(account);
        // Effect.
        (request.asker, request.deadline) = (msg.sender, _later(t, 1));
        _hold(t, header.round);
        emit LeafRequested(header.taskId, header.round, account, msg.sender, request.deadline);
        // Interaction.
        _pull(_token(t), msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function showLeaf(Header calldata header, Leaf calldata leaf, Proof calldata proof) external {
        Task storage t = _tasks[header.taskId];
        // Check: late is better than never, as long as nobody has upheld the request. A header that nobody posted has no
        // requests.
        _requested(t, header, leaf.account);
        RoundTree.check(header, leaf, proof);
        // Effect: the deadline stays, so that nobody asks again.
        t.requests[_headerHash(header)][leaf.account].asker = address(0);
        _unhold(t, header.round);
        _credit(_token(t), msg.sender, t.minStake);
        emit LeafShown(header.taskId, header.round, leaf.account, leaf, proof);
    }

    /// @inheritdoc IDisputes
    function upholdRequest(Header calldata header, address account) external {
        Task storage t = _tasks[header.taskId];
        // Check.
        Request memory request = _requested(t, header, account);
        if (block.timestamp < request.deadline) revert TooEarly(block.timestamp, request.deadline);
        // Effect: without a bounty, since the coordinator can withhold a folder from an accomplice. It is convicted while
        // its round is still held; if that is void by now, the asker gets its bond back and no more.
        t.requests[_headerHash(header)][account].asker = address(0);
        if (header.round <= t.progress.posted()) _convict(t, header, request.asker, 0);
        _unhold(t, header.round);
        _credit(_token(t), request.asker, t.minStake);
    }

    /* VIEWS AND WHAT IS BURNED */

    /// @inheritdoc IDisputes
    function challengeBond(bytes32 taskId) external view returns (uint256) {
        return _challengeBond(_tasks[taskId]);
    }

    /// @inheritdoc IDisputes
    function standingOf(bytes32 id) external view returns (Standing memory) {
        return _standings[id];
    }

    /// @inheritdoc IDisputes
    function burnedIn(bytes32 taskId, uint32 round) external view returns (uint256) {
        return _tasks[taskId].holds[round].burned;
    }

    /// @inheritdoc IDisputes
    function burn(bytes32 taskId, uint32 round) external returns (uint256 amount) {
        Task storage t = _tasks[taskId];
        // Check.
        amount = t.holds[round].burned;
        if (amount == 0) revert NothingCredited(address(_token(t)), BURNED);
        // Effect: from here it is a withdrawal like any other, so a token that refuses it blocks nothing.
        t.holds[round].burned = 0;
        _credit(_token(t), BURNED, amount);
    }

    /* INTERNAL */

    /// @dev Reverts unless the task is started or halted.
    function _requireRunning(bytes32 taskId, Task storage t) internal view {
        Status status = t.progress.status();
        if (status != Status.Started && status != Status.Halted) revert NotDisputable(taskId, status);
    }

    /// @dev The header's task, if it runs and the round counts and is not final.
    function _disputed(Header calldata header) internal view returns (Task storage t) {
        t = _tasks[header.taskId];
        _requireRunning(header.taskId, t);
        _requirePosted(t, header);
        if (header.round > t.progress.posted()) revert RoundVoid(header.round, t.clock.voidFrom);
        if (_isFinal(t, header.round)) revert RoundFinal(header.round);
    }

    /// @dev The open request of an account's leaf.
    function _requested(Task storage t, Header calldata header, address account)
        internal
        view
        returns (Request memory request)
    {
        request = t.requests[_headerHash(header)][account];
        if (request.asker == address(0)) revert NotRequested(account);
    }

    function _challengeBond(Task storage t) internal view returns (uint256) {
        uint256 part = t.bond / CHALLENGES_A_BOND;
        return part > t.minStake ? part : t.minStake;
    }

    /// @dev Reverts unless `before` was posted one round before `header` in the same task.
    function _requireConsecutive(Task storage t, Header calldata before, Header calldata header) internal view {
        if (before.round + 1 != header.round) revert NotConsecutive(before.round, header.round);
        _requireEarlier(t, before, header);
    }

    /// @dev Reverts unless a leaf is the account's and in the header's tree.
    function _requireOf(address account, Header calldata header, Leaf calldata leaf, Proof calldata proof)
        internal
        pure
    {
        RoundTree.check(header, leaf, proof);
        if (leaf.account != account) revert DifferentAccounts(leaf.account, account);
    }

    /// @dev Reverts unless `before` was posted in an earlier round of the header's task, which then is not void either.
    function _requireEarlier(Task storage t, Header calldata before, Header calldata header) internal view {
        if (before.round >= header.round) revert NotConsecutive(before.round, header.round);
        if (before.taskId != header.taskId) revert UnknownHeader(header.taskId, before.round, _headerHash(before));
        _requirePosted(t, before);
    }

    /// @dev Whether a leaf follows from what its account had before the round.
    function _follows(Header calldata header, Leaf calldata leaf, int128 total, uint128 cumulative)
        internal
        pure
        returns (bool)
    {
        if (int256(total) + leaf.score != leaf.total) return false;
        // Below 2^128 · 2^127.
        uint256 worth = leaf.total > 0 ? uint256(header.price) * uint128(leaf.total) >> 64 : 0;
        return leaf.cumulative == (worth > cumulative ? worth : cumulative);
    }

    /// @dev Whether what an account earned in some rounds is not negative and within what all earned in them.
    function _growsAtMost(uint256 total, uint128 cumulativeBefore, uint128 cumulative) internal pure returns (bool) {
        return cumulative >= cumulativeBefore && cumulative - cumulativeBefore <= total;
    }

    /// @dev Reverts unless a node with the sum that is said of it leads to the header's root and total.
    function _requireSaid(
        Header calldata header,
        bytes32 node,
        Sibling calldata said,
        uint256 width,
        Proof calldata proof
    ) internal pure {
        (bytes32 root, uint256 cumulative) = RoundTree.climb(node, said.cumulative, width, proof);
        if (root != header.treeRoot) revert WrongRoot(root, header.treeRoot);
        // A single node has no parent to say anything of it: what is said is what the header says. Further down the
        // parent's hash binds it, whether or not the total matches.
        if (proof.siblings.length == 0 && cumulative != header.cumulative) {
            revert WrongSum(cumulative, header.cumulative);
        }
    }

    function _updateHash(bytes32 taskId, uint32 round, address client, SignedUpdate calldata update)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(UPDATE_TYPEHASH, taskId, round, client, update.baseModel, update.updateRoot)
        );
    }

    function _requireSigner(bytes32 structHash, Signature calldata signature, address expected) internal view {
        address signer = ECDSA.recover(_hashTypedDataV4(structHash), signature.r, signature.vs);
        if (signer != expected) revert WrongSigner(signer, expected);
    }

    /// @dev Half to whoever proved it, but at most `most`, and the rest burned: a prover that is the culprit itself gains
    /// nothing.
    function _forfeit(Task storage t, Hold storage hold, address prover, uint256 amount, uint256 most)
        internal
        returns (uint256 reward)
    {
        reward = amount / 2;
        if (reward > most) reward = most;
        _credit(_token(t), prover, reward);
        hold.burned += uint128(amount - reward); // bonds and stakes, each below 2^96: 2^32 of them fit
    }

    /// @dev Halts a task at the last round before the header's, which was proven wrong and is not final. Its bond waits for
    /// the end, but for the bounty of the first prover.
    function _convict(Task storage t, Header calldata header, address prover, uint256 bounty) internal {
        Progress p = t.progress;
        if (p.status() == Status.Started) {
            t.since = uint40(block.timestamp);
            t.reached = uint24(p.posted() + 1);
            p = p.withStatus(Status.Halted);
        }
        if (t.bounty != 0) bounty = 0;
        if (bounty != 0) {
            t.bounty = uint96(bounty); // at most the bond
            _credit(_token(t), prover, bounty);
        }
        t.progress = p.withVoid(header.round);
        t.clock.voidFrom = uint24(header.round);
        t.purse = t.purse.withUnsettled();
        emit Voided(header.taskId, header.round);
        emit Halted(header.taskId, header.round, prover, msg.sig, bounty);
    }

    /// @dev Reverts unless there are as many sums as the update's blocks call for and they make another score.
    function _challenge(Header calldata header, Leaf calldata leaf, uint64 blocks, bytes32 top, bytes calldata sums)
        internal
        view
        returns (Challenge memory challenge)
    {
        if (leaf.updateRoot == 0) revert NoUpdate(leaf.account);
        if (blocks == 0 || blocks > MAX_SUMS * MAX_SUMS) revert BlocksOutOfRange(blocks, MAX_SUMS * MAX_SUMS);
        bytes32 updateRoot = BlockTree.root(blocks, top);
        if (updateRoot != leaf.updateRoot) revert WrongBlockRoot(updateRoot, leaf.updateRoot);
        uint256 length = uint256(_sums(blocks, _span(blocks))) * 16;
        if (sums.length != length) revert WrongSumsLength(sums.length, length);
        (bytes32 sumsRoot, int256 raw) = SumTree.build(sums);
        if (ScoreMath.score(raw, leaf.weight) == leaf.score) revert SameScore(leaf.score);
        challenge.taskId = header.taskId;
        challenge.round = header.round;
        challenge.account = leaf.account;
        challenge.challenger = msg.sender;
        challenge.updateRoot = updateRoot;
        challenge.directionRoot = header.directionRoot;
        challenge.blocks = blocks;
        challenge.sumsRoot = sumsRoot;
        challenge.openedAt = uint40(block.timestamp);
    }

    function _open(Challenge calldata challenge)
        internal
        view
        returns (bytes32 id, Task storage t, Standing storage standing)
    {
        id = keccak256(abi.encode(challenge));
        t = _tasks[challenge.taskId];
        standing = _standings[id];
        if (!standing.open) revert NotOpen(id);
    }

    /// @dev A challenge that was wrong. That does not make the score right: whoever stood back for it has another window. What is
    /// settled stays stored, so that nobody opens it again.
    function _fail(bytes32 taskId, Task storage t, uint32 round, bytes32 id, address refuter) internal {
        Standing storage standing = _standings[id];
        uint256 bond = standing.bond;
        standing.open = false;
        Hold storage hold = t.holds[round];
        Clock memory clock = _clock(t);
        _unhold(t, hold, clock);
        emit Refuted(id, refuter, _forfeit(t, hold, refuter, bond, bond));
        Progress p = t.progress;
        if (!hold.reopened && round <= p.posted()) {
            hold.reopened = true;
            uint256 reopened = clock.reopenedFrom;
            if (reopened == 0 || block.timestamp >= clock.heldUntil || round < reopened) {
                clock.reopenedFrom = uint24(round);
            }
            clock.heldUntil = uint40(block.timestamp + clock.challengeWindow);
            t.progress = p.withFlag(HELD);
            emit Reopened(taskId, round, clock.heldUntil);
        }
        _keep(t, clock);
    }

    function _hold(Task storage t, uint32 round) internal {
        t.holds[round].count++;
        t.clock.holds++;
        if (t.clock.heldFrom == 0 || round < t.clock.heldFrom) t.clock.heldFrom = uint24(round);
        t.progress = t.progress.withFlag(HELD);
        t.purse = t.purse.withUnsettled();
    }

    function _unhold(Task storage t, uint32 round) internal {
        Clock memory clock = _clock(t);
        _unhold(t, t.holds[round], clock);
        _keep(t, clock);
    }

    /// @dev Moves on to the next held round; the caller stores the clock. Some one is held while `holds` is not 0, so the search
    /// ends; it stops after 64 rounds, since a round that waits for one more settlement is no harm and an endless loop
    /// would be.
    function _unhold(Task storage t, Hold storage hold, Clock memory clock) internal {
        hold.count--;
        clock.holds--;
        uint24 from = clock.heldFrom;
        if (clock.holds == 0) {
            from = 0;
        } else {
            for (uint256 i; i < 64 && t.holds[from].count == 0; i++) {
                from++;
            }
        }
        clock.heldFrom = from;
        if (block.timestamp > clock.heldUntil) clock.heldUntil = uint40(block.timestamp);
    }

    /// @dev A function, since the copy takes 300 bytes of code.
    function _keep(Task storage t, Clock memory clock) internal {
        t.clock = clock;
    }

    /// @dev Now and some response windows.
    function _later(Task storage t, uint256 windows) internal view returns (uint40) {
        return uint40(block.timestamp + windows * t.clock.responseWindow);
    }

    /// @dev Reverts unless a block's partial sum is the challenger's: in its tree or, where a sum spans many blocks, in the
    /// one that it broke the sum down into.
    function _requireIn(
        Challenge calldata challenge,
        bytes32 id,
        uint64 index,
        int128 partialSum,
        bytes32[] calldata path
    ) internal view {
        uint64 blocks = challenge.blocks;
        uint64 span = _span(blocks);
        if (span == 1) return SumTree.check(challenge.sumsRoot, blocks, index, partialSum, path);
        uint64 sum = index / span;
        bytes32 root = _answers[id][sum];
        if (root == 0) revert NotAnswered(id, sum);
        SumTree.check(root, _width(blocks, span, sum), index % span, partialSum, path);
    }

    /// @dev Blocks in a sum: the smallest power of two with at most MAX_SUMS sums.
    function _span(uint64 blocks) internal pure returns (uint64 span) {
        span = 1;
        unchecked {
            while (blocks > MAX_SUMS * span) span *= 2; // a challenge has at most 2^24 blocks, so span ends at 2^12
        }
    }

    /// @dev Sums of `span` blocks each that `blocks` blocks have.
    function _sums(uint64 blocks, uint64 span) internal pure returns (uint64) {
        return (blocks + span - 1) / span;
    }

    /// @dev Blocks in one sum: the last one may have fewer.
    function _width(uint64 blocks, uint64 span, uint64 sum) internal pure returns (uint64) {
        uint64 left = blocks - sum * span;
        return left < span ? left : span;
    }
}
