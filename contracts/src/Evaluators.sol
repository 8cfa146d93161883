// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IEvaluators} from "./interfaces/IEvaluators.sol";
import {Ledger} from "./Ledger.sol";
import {Progress} from "./types/Progress.sol";
import {Seat} from "./types/Seat.sol";

/// @title What stands behind evaluators
/// @notice Their stakes, and the signatures of those that are contracts; see IEvaluators for what each action does and requires.
abstract contract Evaluators is IEvaluators, Ledger {
    bytes32 internal constant BACK_TYPEHASH = keccak256("Back(bytes32 taskId,address evaluator,address payer)");

    /// @dev Enough for a signature of a passkey that is checked in Solidity.
    uint256 internal constant MOST_GAS_OF_A_CONTRACT = 500_000;

    /* ACTIONS */

    /// @inheritdoc IEvaluators
    function stakeEvaluator(bytes32 taskId, address evaluator, bytes calldata signature) external {
        Task storage t = _tasks[taskId];
        // Check.
        t.progress.requireLive(taskId);
        _requireNamed(t, evaluator);
        Backing storage b = t.backings[evaluator];
        if (b.payer != address(0)) revert AlreadyBacked(taskId, evaluator, b.payer);
        if (msg.sender != evaluator) {
            bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(BACK_TYPEHASH, taskId, evaluator, msg.sender)));
            if (!SignatureChecker.isValidSignatureNowCalldata(evaluator, digest, signature)) {
                revert BadSignature(evaluator, digest);
            }
        }
        // Effect.
        uint96 stake = t.evaluatorStake;
        (b.payer, b.stake) = (msg.sender, stake);
        t.seated++;
        _seats[_seatKey(taskId, t.coordinator, t.validationHash, evaluator)] = _seatOf(t);
        emit EvaluatorStaked(taskId, evaluator, msg.sender, stake);
        // Interaction.
        if (stake != 0) _pull(_token(t), msg.sender, stake);
    }

    /// @inheritdoc IEvaluators
    function releaseEvaluator(bytes32 taskId, address evaluator) external {
        Task storage t = _tasks[taskId];
        Backing storage b = t.backings[evaluator];
        (address payer, uint256 stake) = (b.payer, b.stake);
        Status status = t.progress.status();
        // Check.
        if (stake == 0) revert NothingStaked(taskId, evaluator);
        if (status == Status.Open && (msg.sender == evaluator || msg.sender == payer)) {
            // No round is under way: it never was there.
            t.seated--;
            _seats[_seatKey(taskId, t.coordinator, t.validationHash, evaluator)] = Seat.wrap(0);
        } else {
            if (status != Status.Closed) revert StillAtStake(taskId, evaluator, 0);
            uint256 earliest = uint256(t.since) + t.clock.challengeWindow;
            if (t.clock.voidFrom != 0 && block.timestamp < earliest) revert TooEarly(block.timestamp, earliest);
        }
        // Effect.
        b.stake = 0;
        _credit(_token(t), payer, stake);
        emit EvaluatorReleased(taskId, evaluator, payer, stake);
    }

    /// @inheritdoc IEvaluators
    function approveHeader(Header calldata header, address evaluator, bytes calldata signature) external {
        bytes32 taskId = header.taskId;
        Task storage t = _tasks[taskId];
        Progress p = t.progress;
        // Check: before the post and never after it, so that nobody can be made to have signed.
        p.requireStatus(taskId, Status.Started);
        if (header.round != p.posted() + 1) revert RoundOutOfOrder(header.round, p.posted() + 1, t.rounds);
        Seat seat = _seats[_seatKey(taskId, t.coordinator, t.validationHash, evaluator)];
        if (seat.quorum() == 0) revert NotEvaluator(evaluator);
        bytes32 digest = _hashTypedDataV4(_headerHash(header));
        if (!_takes(evaluator, digest, signature)) revert BadSignature(evaluator, digest);
        // Effect.
        _approved[digest][evaluator] = true;
        emit HeaderApproved(taskId, evaluator, header.round, digest);
    }

    /// @inheritdoc IEvaluators
    function slashEvaluators(Header calldata header, Signature[] calldata signatures) external {
        Task storage t = _tasks[header.taskId];
        bytes32 hash = _headerHash(header);
        // Check.
        _requirePosted(t, header.taskId, header.round, hash);
        Hold storage hold = t.holds[header.round];
        if (!hold.evident) revert SignersNotAtFault(header.taskId, header.round);
        // Effect.
        bytes32 digest = _hashTypedDataV4(hash);
        uint256 burned;
        for (uint256 i; i < signatures.length; i++) {
            address evaluator = _signerOf(digest, signatures[i]);
            Backing storage b = t.backings[evaluator];
            uint256 stake = b.stake;
            if (stake == 0) continue;
            b.stake = 0;
            burned += stake;
            emit EvaluatorSlashed(header.taskId, evaluator, header.round, stake);
        }
        if (burned == 0) revert NobodyToSlash(header.taskId, header.round);
        hold.burned += uint128(burned); // as in _forfeit
    }

    /* VIEWS */

    /// @inheritdoc IEvaluators
    function backerOf(bytes32 taskId, address evaluator) external view returns (Backer memory) {
        Backing storage b = _tasks[taskId].backings[evaluator];
        return Backer(b.payer, b.stake);
    }

    /// @inheritdoc IEvaluators
    function isApproved(bytes32 digest, address evaluator) external view returns (bool) {
        return _approved[digest][evaluator];
    }

    /* INTERNAL */

    function _requireNamed(Task storage t, address evaluator) internal view {
        uint256 count = t.evaluators.length;
        for (uint256 i; i < count; i++) {
            if (t.evaluators[i] == evaluator) return;
        }
        revert NotEvaluator(evaluator);
    }

    /// @dev Who signed, 0 if nobody did.
    function _signerOf(bytes32 digest, Signature calldata signature) internal view returns (address signer) {
        if (signature.vs != 0) {
            // slither-disable-next-line unused-return (0 if nobody signed)
            (signer,,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
            return signer;
        }
        signer = address(uint160(uint256(signature.r)));
        if (!_approved[digest][signer]) return address(0);
    }

    /// @dev Whether a contract takes a signature. One that reverts, eats its gas or answers anything but the 32 bytes of the
    /// magic value does not, whatever its answer's length: no more than a word of it is copied.
    function _takes(address wallet, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        bytes memory asked = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        uint256 most = MOST_GAS_OF_A_CONTRACT;
        bool done;
        uint256 length;
        bytes32 said;
        assembly ("memory-safe") {
            done := staticcall(most, wallet, add(asked, 32), mload(asked), 0, 32)
            length := returndatasize()
            said := mload(0)
        }
        return done && length == 32 && said == bytes32(IERC1271.isValidSignature.selector);
    }
}
