"""Files what a watch found: the call, the bond that it escrows, and the reward that it earns."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount

from fl.audit.disputes.watch import Finding
from fl.chain.record import TaskRecord
from fl.chain.sender import Sent


def file_finding(finding: Finding, *, record: TaskRecord, account: LocalAccount) -> Sent:
    """Send a finding's call, its bond approved before.

    Raises: TokenTooLow if the account does not hold the bond; Refused with the contract's reason; ChainError.
    """
    if bond := bond_of(finding, record=record, account=account.address):
        purpose = f"bond of {finding.call.function}"
        record.token.approve(record.escrow.address, bond, purpose=purpose, account=account)
    return record.escrow.submit(finding.call.function, finding.call.arguments, account=account)


def bond_of(finding: Finding, *, record: TaskRecord, account: str) -> int:
    """Wei that a finding's call escrows from an account: its n-th demand of a challenge costs n times as much as the first."""
    if finding.call.function != "demand":
        return finding.bond
    challenge = finding.call.arguments[0]
    block = record.invite.block
    opened = next(
        one for one in record.escrow.challenges(record.task_id, from_block=block) if one.challenge == challenge
    )
    return finding.bond * record.escrow.next_demand(record.task_id, opened.id, account, from_block=block)


def take_reward(record: TaskRecord, *, account: LocalAccount) -> int:
    """Withdraw what the account is credited with; returns how much that was, wei. Raises: ChainError."""
    token, own = record.invite.token, account.address
    if credit := record.escrow.credit(token, own):
        record.escrow.withdraw_for(token, own, account=account)
    return credit
