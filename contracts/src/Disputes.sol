// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Challenges} from "./Challenges.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {RoundTree} from "./libraries/RoundTree.sol";

/// @title The code behind Fairshare's disputes
/// @notice Proofs and requests of a leaf are here, challenges of a score are inherited. Runs by delegatecall from Fairshare only,
/// on its storage; called by itself it knows of no task. See IDisputes for what each action does and requires. Calls that it
/// does not know go on to ILifecycle's code.
contract Disputes is Challenges {
    bytes32 internal constant UPDATE_TYPEHASH =
        keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");

    /// @notice The code behind ILifecycle's functions; nothing can exchange it.
    address public immutable lifecycle;

    constructor(address lifecycle_) {
        // As in Fairshare: with a wrong address it opens no task.
        // slither-disable-next-line missing-zero-check
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
        Task storage t = _seen(header);
        RoundTree.check(header, leaf, proof);
        Account storage a = t.accounts[leaf.account];
        uint32 firstRound = a.firstRound;
        uint32 leftRound = a.leftRound;
        (bool sound, bool evident) = (true, true);
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
            // What came between may be another round's fraud, of which those who signed this one know nothing.
            evident = before.round + 1 == header.round;
            sound = sound
                && (evident
                    ? _follows(header, leaf, leafBefore.total, leafBefore.cumulative)
                    : _growsAtMost(header.cumulative - before.cumulative, leafBefore.cumulative, leaf.cumulative));
        }
        if (sound) revert NoFraud();
        _convict(t, header, msg.sender, t.minStake, evident);
    }

    /// @inheritdoc IDisputes
    function proveBrokenChain(Header calldata before, Header calldata header) external {
        Task storage t = _seen(header);
        _requireConsecutive(t, before, header);
        if (header.baseModel == before.nextModel && header.previous == _headerHash(before)) revert NoFraud();
        _convictAll(t, header);
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
        _convict(t, header, msg.sender, 0, false);
    }

    /// @inheritdoc IDisputes
    function proveDisorder(
        Header calldata header,
        Leaf calldata first,
        Proof calldata firstProof,
        Leaf calldata second,
        Proof calldata secondProof
    ) external {
        Task storage t = _seen(header);
        RoundTree.check(header, first, firstProof);
        RoundTree.check(header, second, secondProof);
        if (firstProof.index >= secondProof.index) revert NotNeighbours(firstProof.index, secondProof.index);
        if (first.account < second.account) revert NoFraud();
        _convictAll(t, header);
    }

    /// @inheritdoc IDisputes
    function proveMissing(
        Header calldata header,
        address account,
        Leaf[] calldata neighbours,
        Proof[] calldata proofs
    ) external {
        Task storage t = _seen(header);
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
        _convictAll(t, header);
    }

    /// @inheritdoc IDisputes
    function proveBadLeaf(Header calldata header, Leaf calldata leaf, Sibling calldata said, Proof calldata proof)
        external
    {
        Task storage t = _seen(header);
        _requireSaid(header, RoundTree.hashLeaf(leaf), said, header.leafCount, proof);
        if (said.cumulative == leaf.cumulative) revert NoFraud();
        _convictAll(t, header);
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
        Task storage t = _seen(header);
        uint256 width = header.leafCount;
        for (uint256 i; i < level && width > 1; i++) {
            width = (width + 1) >> 1;
        }
        _requireSaid(header, RoundTree.hashNode(left, right), said, width, proof);
        // In 256 bits: a sum that was cut to 128 is not the sum.
        uint256 cumulative = uint256(left.cumulative) + right.cumulative;
        if (level != 0 && said.cumulative == cumulative) revert NoFraud();
        _convictAll(t, header);
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

    /* REQUEST OF A LEAF */

    /// @inheritdoc IDisputes
    function requestLeaf(Header calldata header, address account) external {
        Task storage t = _holdable(header);
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
        if (header.round <= t.progress.posted()) _convict(t, header, request.asker, 0, false);
        _unhold(t, header.round);
        _credit(_token(t), request.asker, t.minStake);
    }

    /* WHAT IS BURNED */

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

    /// @dev The open request of an account's leaf.
    function _requested(Task storage t, Header calldata header, address account)
        internal
        view
        returns (Request memory request)
    {
        request = t.requests[_headerHash(header)][account];
        if (request.asker == address(0)) revert NotRequested(account);
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

}
