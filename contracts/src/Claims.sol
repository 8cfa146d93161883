// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IFairshare} from "./interfaces/IFairshare.sol";
import {RoundTree} from "./libraries/RoundTree.sol";
import {Members} from "./Members.sol";
import {Purse} from "./types/Purse.sol";

/// @title What rounds pay
/// @notice Claims of every kind; see IFairshare for what each action does and requires.
abstract contract Claims is Members {
    using SafeERC20 for IERC20;

    bytes32 internal constant REDIRECT_TYPEHASH = keccak256(
        "Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline)"
    );

    /* ACTIONS */

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
        // Check: the order names task and round, and is for what the leaf promises, so it cannot be used again. A share of the
        // pool that comes to be shared after that goes where all else does.
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
        // It is signed by whose money it is: an account's stolen key would take all of a payee's for the fee.
        address owner = _payee(_tasks[roll.taskId], leaf.account);
        _requireOrder(owner, redirect.deadline, structHash, redirect.signature);
        uint256 claimed = _tasks[roll.taskId].accounts[leaf.account].claimed;
        if (claimed >= leaf.cumulative) revert NothingToClaim(leaf.account, leaf.cumulative, claimed);
        // Check and effect.
        IERC20 token;
        (token, amount) = _claim(roll, leaf, proof);
        if (redirect.fee > amount) revert FeeAboveAmount(redirect.fee, amount);
        emit Redirected(roll.taskId, roll.round, leaf.account, redirect.recipient, msg.sender, redirect.fee);
        // Interaction.
        token.safeTransfer(redirect.recipient, amount - redirect.fee);
        if (redirect.fee != 0) token.safeTransfer(msg.sender, redirect.fee);
    }

    /* INTERNAL */

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
