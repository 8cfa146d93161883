// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {Ledger} from "./Ledger.sol";
import {CHANGED, Progress} from "./types/Progress.sol";

/// @title Who takes part, with what, and who is paid for whom
/// @notice Joining, payees, leaving and stakes; see IFairshare for what each action does and requires.
abstract contract Members is IFairshare, Ledger {
    using SafeERC20 for IERC20;

    bytes32 internal constant JOIN_TYPEHASH = keccak256(
        "Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,bytes32 dataset,uint128 fee,uint40 deadline)"
    );

    /* ACTIONS */

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
        // Check: an order is used up by joining, which an account that went away has done.
        _tasks[taskId].progress.requireLive(taskId);
        if (_tasks[taskId].accounts[account].wentAway) revert AlreadyLeft(taskId, account, 1);
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
        // slither-disable-next-line arbitrary-send-erc20
        if (enrolment.fee != 0) token.safeTransferFrom(account, msg.sender, enrolment.fee);
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
            // No round is under way: it never was there, but whoever has its order to join could use that again.
            leftRound = 1;
            // Its payee stays, or a stolen key would take its place by leaving and joining again.
            (address payee, bool redirected) = (_payee(t, msg.sender), a.redirected);
            delete t.accounts[msg.sender];
            (a.wentAway, a.redirected) = (true, redirected);
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

    /* INTERNAL */

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
            // Together they fit, or nobody could post the round where those who arrive are counted.
            uint256 most = type(uint96).max - t.stakes - t.arriving;
            if (stake > most) revert StakeOutOfRange(stake, t.minStake, most);
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
}
