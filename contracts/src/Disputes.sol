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
import {Progress} from "./types/Progress.sol";

/// @title The code behind Fairshare's disputes
/// @notice Runs by delegatecall from Fairshare only, on its storage; called by itself it knows of no task. See IDisputes
/// for what each action does and requires.
contract Disputes is IDisputes, Ledger {
    bytes32 internal constant UPDATE_TYPEHASH =
        keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");

    uint64 internal constant MAX_SUMS = 4096; // 64 KB of calldata, half of what nodes take in one transaction

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
                    ? _follows(header, leaf, leafBefore.balance, leafBefore.cumulative)
                    : _growsAtMost(header.cumulative - before.cumulative, leafBefore.cumulative, leaf.cumulative));
        }
        if (sound) revert NoFraud();
        _convict(t, header, msg.sender);
    }

    /// @inheritdoc IDisputes
    function proveRounding(
        Header calldata before,
        Leaf[2] calldata leavesBefore,
        Proof[2] calldata proofsBefore,
        Header calldata header,
        Leaf[2] calldata leaves,
        Proof[2] calldata proofs
    ) external {
        Task storage t = _disputed(header);
        if (header.entitlement == 0) revert NoFraud();
        int256[2] memory extra;
        uint256[2] memory remainder;
        for (uint256 i; i < 2; i++) {
            Leaf calldata leaf = leaves[i];
            RoundTree.check(header, leaf, proofs[i]);
            uint256 share = uint256(header.pot) * RoundTree.entitlementOf(leaf);
            remainder[i] = share % header.entitlement;
            extra[i] = int256(uint256(leaf.cumulative)) - int256(share / header.entitlement);
            if (t.accounts[leaf.account].firstRound < header.round) {
                _requireConsecutive(t, before, header);
                _requireOf(leaf.account, before, leavesBefore[i], proofsBefore[i]);
                extra[i] -= int256(uint256(leavesBefore[i].cumulative));
            }
        }
        bool first = remainder[0] > remainder[1]
            || (remainder[0] == remainder[1] && leaves[0].account < leaves[1].account);
        if (!first || extra[0] != 0 || extra[1] != 1) revert NoFraud();
        _convict(t, header, msg.sender);
    }

    /// @inheritdoc IDisputes
    function proveBrokenChain(Header calldata before, Header calldata header) external {
        Task storage t = _disputed(header);
        _requireConsecutive(t, before, header);
        if (header.baseModel == before.nextModel && header.previous == _headerDigest(before)) revert NoFraud();
        _convict(t, header, msg.sender);
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
        _requireSigner(structHash, receipt, t.coordinator);
        if (leaf.updateRoot == updateRoot) revert NoFraud();
        _convict(t, header, msg.sender);
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
        _convict(t, header, msg.sender);
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
        _convict(t, header, msg.sender);
    }

    /// @inheritdoc IDisputes
    function proveBadLeaf(Header calldata header, Leaf calldata leaf, Sibling calldata said, Proof calldata proof)
        external
    {
        Task storage t = _disputed(header);
        _requireSaid(header, RoundTree.hashLeaf(leaf), said, header.leafCount, proof);
        if (said.entitlement == RoundTree.entitlementOf(leaf) && said.cumulative == leaf.cumulative) revert NoFraud();
        _convict(t, header, msg.sender);
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
        uint256 entitlement = uint256(left.entitlement) + right.entitlement;
        uint256 cumulative = uint256(left.cumulative) + right.cumulative;
        if (level != 0 && said.entitlement == entitlement && said.cumulative == cumulative) revert NoFraud();
        _convict(t, header, msg.sender);
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
        uint256 stake = a.stake;
        if (stake == 0) revert NothingStaked(taskId, client);
        // While an arrival can still be counted out of an expired task's shares, its stake stays; see `expire`.
        if (_arriving(t, a) && t.progress.status() == Status.Started) {
            revert NotDue(client, a.firstRound, t.progress.posted() + 1);
        }
        if (first.baseModel == second.baseModel && first.updateRoot == second.updateRoot) revert NoFraud();
        _requireSigner(_updateHash(taskId, round, client, first), first.signature, client);
        _requireSigner(_updateHash(taskId, round, client, second), second.signature, client);
        // Effect.
        stake += _bondShare(t, a); // in an expired task it would have been released with this
        a.stake = 0;
        t.staked--;
        _forfeit(t, msg.sender, stake);
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
        // Check: in time, and the leaf is the round's.
        uint256 deadline = _deadline(t, t.progress, t.clock);
        if (block.timestamp >= deadline) revert TooLate(block.timestamp, deadline);
        RoundTree.check(header, leaf, proof);
        // Check: the sums are complete and make another score.
        Challenge memory challenge = _challenge(header, leaf, blocks, top, sums);
        // Effect.
        challenge.holds = block.timestamp < t.postings[header.round].postedAt() + t.clock.challengeWindow;
        id = keccak256(abi.encode(challenge));
        // Settled ones count: their demands and answers are still stored under this hash.
        if (_standings[id].deadline != 0) revert ChallengeExists(id);
        _standings[id] = Standing({open: true, deadline: _later(t, 1), demands: 0, demanded: 0, upheld: false});
        t.clock.challenges++;
        if (challenge.holds) _hold(t, header.round);
        emit Challenged(id, header.taskId, header.round, challenge, sums);
        // Interaction.
        _pull(t.token, msg.sender, t.minStake);
    }

    /// @inheritdoc IDisputes
    function refute(
        Challenge calldata challenge,
        uint64 index,
        Opening calldata update,
        Opening calldata direction,
        int128 partialSum,
        bytes32[] calldata path
    ) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp >= standing.deadline) revert TooLate(block.timestamp, standing.deadline);
        if (index >= challenge.blocks) revert NoSuchBlock(index, challenge.blocks);
        if (challenge.span == 1) {
            SumTree.check(challenge.sumsRoot, challenge.blocks, index, partialSum, path);
        } else {
            uint64 sum = index / challenge.span;
            bytes32 root = _answers[id][sum];
            if (root == 0) revert NotAnswered(id, sum);
            SumTree.check(root, _width(challenge, sum), index % challenge.span, partialSum, path);
        }
        BlockTree.check(challenge.updateRoot, challenge.blocks, index, update);
        BlockTree.check(challenge.directionRoot, challenge.blocks, index, direction);
        if (ScoreMath.partialSum(update.data, direction.data) == partialSum) revert SumIsRight(partialSum);
        // Effect.
        _fail(id, t, challenge, msg.sender);
    }

    /// @inheritdoc IDisputes
    function demand(Challenge calldata challenge, uint64 sum) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        uint256 latest = uint256(challenge.openedAt) + t.clock.responseWindow;
        if (block.timestamp >= latest) revert TooLate(block.timestamp, latest);
        uint64 count = _sums(challenge.blocks, challenge.span);
        if (sum >= count) revert NoSuchBlock(sum, count);
        if (challenge.span == 1 || _demands[id][sum].demander != address(0)) revert NothingToDemand(id, sum);
        // Effect: time to answer, and then to refute.
        uint32 number = standing.demanded + 1;
        _demands[id][sum] = Demand({demander: msg.sender, since: uint40(block.timestamp), number: number});
        standing.demanded = number;
        standing.demands++;
        standing.deadline = _later(t, 2);
        uint256 bond = uint256(number) * t.minStake;
        emit Demanded(id, sum, msg.sender, bond);
        // Interaction.
        _pull(t.token, msg.sender, bond);
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
        SumTree.check(challenge.sumsRoot, _sums(challenge.blocks, challenge.span), sum, value, path);
        uint256 length = uint256(_width(challenge, sum)) * 16;
        if (partials.length != length) revert WrongSumsLength(partials.length, length);
        (bytes32 root, int256 total) = SumTree.build(partials);
        if (total != value) revert WrongSum(total, value);
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
        _credit(t.token, standing.upheld ? challenge.challenger : made.demander, uint256(made.number) * t.minStake);
        if (open) _fail(id, t, challenge, made.demander);
    }

    /// @inheritdoc IDisputes
    function uphold(Challenge calldata challenge, Header calldata header) external {
        (bytes32 id, Task storage t, Standing storage standing) = _open(challenge);
        // Check.
        if (block.timestamp < standing.deadline) revert TooEarly(block.timestamp, standing.deadline);
        if (standing.demands != 0) revert DemandsOpen(id, standing.demands);
        if (header.taskId != challenge.taskId || header.round != challenge.round) {
            revert UnknownHeader(challenge.taskId, challenge.round, _headerDigest(header));
        }
        _requirePosted(t, header);
        // Effect: convicted while its round is still held. If the round is void or there is nothing left to halt, the
        // challenger gets its bond back and no more.
        Progress p = t.progress;
        bool beyond = header.round > p.posted() || (p.status() == Status.Halted && _isFinal(t, header.round));
        if (!beyond) _convict(t, header, challenge.challenger);
        _settle(id, t, challenge);
        standing.upheld = true;
        _credit(t.token, challenge.challenger, t.minStake);
        emit Upheld(id);
    }

    /// @inheritdoc IDisputes
    function standingOf(bytes32 id) external view returns (Standing memory) {
        return _standings[id];
    }

    /// @inheritdoc IDisputes
    function burn(bytes32 taskId) external returns (uint256 amount) {
        Task storage t = _tasks[taskId];
        // Check.
        amount = t.burned;
        if (amount == 0) revert NothingCredited(address(t.token), BURNED);
        // Effect: from here it is a withdrawal like any other, so a token that refuses it blocks nothing.
        t.burned = 0;
        _credit(t.token, BURNED, amount);
    }

    /* INTERNAL */

    /// @dev The header's task, if it can be disputed and the round counts.
    function _disputed(Header calldata header) internal view returns (Task storage t) {
        t = _tasks[header.taskId];
        Progress p = t.progress;
        Status status = p.status();
        if (status != Status.Started && status != Status.Halted) revert NotDisputable(header.taskId, status);
        _requirePosted(t, header);
        if (header.round > p.posted()) revert RoundVoid(header.round, t.clock.voidFrom);
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
        if (before.taskId != header.taskId) revert UnknownHeader(header.taskId, before.round, _headerDigest(before));
        _requirePosted(t, before);
    }

    /// @dev Whether a leaf follows from what its account had before the round.
    function _follows(Header calldata header, Leaf calldata leaf, int128 balance, uint128 cumulative)
        internal
        pure
        returns (bool)
    {
        int256 carried = balance < 0 ? int256(balance) : int256(0);
        if (carried + leaf.score != leaf.balance) return false;
        if (leaf.cumulative < cumulative) return false;
        uint256 pay = leaf.cumulative - cumulative;
        if (header.entitlement == 0) return pay == 0;
        uint256 share = uint256(header.pot) * RoundTree.entitlementOf(leaf);
        uint256 floor = share / header.entitlement;
        // The extra wei goes to the largest remainders, never to an account without one.
        return pay == floor || (pay == floor + 1 && share % header.entitlement != 0);
    }

    /// @dev Whether what an account earned in some rounds is not negative and within what all earned in them.
    function _growsAtMost(uint256 total, uint128 cumulativeBefore, uint128 cumulative) internal pure returns (bool) {
        return cumulative >= cumulativeBefore && cumulative - cumulativeBefore <= total;
    }

    /// @dev Reverts unless a node with the sums that are said of it leads to the header's root and totals.
    function _requireSaid(
        Header calldata header,
        bytes32 node,
        Sibling calldata said,
        uint256 width,
        Proof calldata proof
    ) internal pure {
        (bytes32 root, uint256 entitlement, uint256 cumulative) =
            RoundTree.climb(node, said.entitlement, said.cumulative, width, proof);
        if (root != header.treeRoot) revert WrongRoot(root, header.treeRoot);
        // A single node has no parent to say anything of it: what is said is what the header says. Further down the
        // parent's hash binds it, whether or not the totals match.
        if (proof.siblings.length == 0 && (entitlement != header.entitlement || cumulative != header.cumulative)) {
            revert WrongSums(entitlement, cumulative, header.entitlement, header.cumulative);
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

    /// @dev Half to whoever proved it, half burned: a prover that is the culprit itself gains nothing.
    function _forfeit(Task storage t, address prover, uint256 amount) internal returns (uint256 reward) {
        reward = amount / 2;
        _credit(t.token, prover, reward);
        t.burned += uint128(amount - reward); // bonds and stakes, each below 2^96: 2^32 of them fit
    }

    /// @dev Halts a task at its last valid round. The round of a header that was proven wrong is void if it is not final.
    function _convict(Task storage t, Header calldata header, address prover) internal {
        Progress p = t.progress;
        bool final_ = _isFinal(t, header.round);
        uint256 reward;
        if (p.status() == Status.Started) {
            p = p.withStatus(Status.Halted);
            t.clock.since = uint40(block.timestamp);
            reward = _forfeit(t, prover, t.bond);
        } else if (final_) {
            revert NothingToHalt(header.taskId, header.round);
        }
        if (!final_) {
            // What was promised before this round. Dishonest evaluators may have let more be paid from earlier trees;
            // then that much is gone, and comes out of what the sponsor gets back.
            uint256 cumulative = header.entitlement == 0 ? header.cumulative : header.cumulative - header.pot;
            if (cumulative < t.paid) cumulative = t.paid;
            p = p.withVoid(header.round, cumulative);
            t.clock.voidFrom = uint24(header.round);
            emit Voided(header.taskId, header.round, cumulative);
        }
        t.progress = p;
        emit Halted(header.taskId, header.round, prover, msg.sig, reward);
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
        uint64 span = 1;
        while (_sums(blocks, span) > MAX_SUMS) span *= 2;
        uint256 length = uint256(_sums(blocks, span)) * 16;
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
        challenge.span = span;
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

    /// @dev A challenge that was wrong.
    function _fail(bytes32 id, Task storage t, Challenge calldata challenge, address refuter) internal {
        _settle(id, t, challenge);
        uint256 reward = _forfeit(t, refuter, t.minStake);
        emit Refuted(id, refuter, reward);
    }

    function _settle(bytes32 id, Task storage t, Challenge calldata challenge) internal {
        _standings[id].open = false; // the rest stays, so that nobody opens it again
        t.clock.challenges--;
        if (challenge.holds) _unhold(t, challenge.round);
    }

    function _hold(Task storage t, uint32 round) internal {
        t.holds[round]++;
        t.clock.holds++;
        if (t.clock.heldFrom == 0 || round < t.clock.heldFrom) t.clock.heldFrom = uint24(round);
    }

    /// @dev Moves on to the next held round. Some one is held while `holds` is not 0, so the search ends; it stops after
    /// 64 rounds, since a round that waits for one more settlement is no harm and an endless loop would be.
    function _unhold(Task storage t, uint32 round) internal {
        t.holds[round]--;
        t.clock.holds--;
        uint24 from = t.clock.heldFrom;
        if (t.clock.holds == 0) {
            from = 0;
        } else {
            for (uint256 i; i < 64 && t.holds[from] == 0; i++) {
                from++;
            }
        }
        t.clock.heldFrom = from;
    }

    /// @dev Now and some response windows.
    function _later(Task storage t, uint256 windows) internal view returns (uint40) {
        return uint40(block.timestamp + windows * t.clock.responseWindow);
    }

    /// @dev Sums of `span` blocks each that `blocks` blocks have.
    function _sums(uint64 blocks, uint64 span) internal pure returns (uint64) {
        return (blocks + span - 1) / span;
    }

    /// @dev Blocks in one sum: the last one may have fewer.
    function _width(Challenge calldata challenge, uint64 sum) internal pure returns (uint64) {
        uint64 left = challenge.blocks - sum * challenge.span;
        return left < challenge.span ? left : challenge.span;
    }
}
