"""Files what a watch found: the call, the bond that it escrows, and the reward that it earns."""

from __future__ import annotations

import time
from collections.abc import Callable

from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from web3.exceptions import TransactionNotFound

from fl.audit.disputes.findings import Finding
from fl.chain.errors import Refused
from fl.chain.payment import pay
from fl.chain.record import TaskRecord
from fl.chain.sender import Sent

_LONGEST_PAUSE_S = 60.0
_REFUSALS = 3  # of a call about a task that is over, after which it is let be


class Filings:
    """What became of the findings that one account files.

    Whether a finding is done with, the chain says: what it took is no finding any more at a later look, or its transaction is in
    a block. A refusal says nothing: behind a load balancer it may be that of a node that is a block behind. And what a block took
    may be gone after a reorganisation; then it is due again.

    Args:
        record: The task on chain.
        account: Pays the gas and the bonds.
        look_s: Seconds after which a call that was refused is tried again; each further refusal doubles them.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        record: TaskRecord,
        *,
        account: LocalAccount,
        look_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record, self.account = record, account
        self._look_s, self._clock = look_s, clock
        self._filed: dict[str, str] = {}  # call -> transaction
        self._refused: dict[str, tuple[int, float]] = {}  # call -> how often, and when it is tried again

    def is_due(self, finding: Finding) -> bool:
        """Whether a finding is to be filed now."""
        key = repr(finding.call)
        if key in self._filed:
            if self._is_in_a_block(self._filed[key]):
                return False
            del self._filed[key]
        return key not in self._refused or self._clock() >= self._refused[key][1]

    def is_settled(self, finding: Finding) -> bool:
        """Whether nothing more is expected of a finding: it is in a block, or was refused again and again."""
        key = repr(finding.call)
        return (key in self._filed and self._is_in_a_block(self._filed[key])) or (
            self._refused.get(key, (0, 0.0))[0] >= _REFUSALS
        )

    def file(self, finding: Finding) -> Sent:
        """As `file_finding`; remembers what came of it."""
        key = repr(finding.call)
        try:
            sent = file_finding(finding, record=self.record, account=self.account)
        except Refused:
            times = self._refused.get(key, (0, 0.0))[0]
            pause = min(self._look_s * 2**times, max(_LONGEST_PAUSE_S, self._look_s))
            self._refused[key] = (times + 1, self._clock() + pause)
            raise
        self._refused.pop(key, None)
        self._filed[key] = sent.hash
        return sent

    def _is_in_a_block(self, transaction: str) -> bool:
        try:
            return self.record.w3.eth.get_transaction_receipt(HexBytes(transaction))["status"] == 1
        except TransactionNotFound:
            return False


def file_finding(finding: Finding, *, record: TaskRecord, account: LocalAccount) -> Sent:
    """Send a finding's call, and what it escrows.

    Args:
        finding: With its call.
        record: Of the task.
        account: Signs and pays.
    Raises: TokenTooLow if the account does not hold the bond; Refused with the contract's reason; ChainError.
    """
    if bond := bond_of(finding, record=record, account=account.address):
        _, sent = pay(
            record.escrow,
            record.token,
            function=finding.call.function,
            arguments=finding.call.arguments,
            amount=bond,
            purpose=f"bond of {finding.call.function}",
            account=account,
        )
        return sent
    return record.escrow.submit(finding.call.function, finding.call.arguments, account=account)


def bond_of(finding: Finding, *, record: TaskRecord, account: str) -> int:
    """Wei that a finding's call escrows from an account: its n-th demand of a challenge costs n times as much as the first.

    Args:
        finding: With its call.
        record: Of the task.
        account: That escrows.
    """
    if finding.call.function != "demand":
        return finding.bond
    block = record.invite.block
    challenges = record.escrow.challenges(record.task_id, from_block=block)
    opened = next(opened for opened in challenges if opened.challenge.as_tuple() == finding.call.arguments[0])
    return finding.bond * record.escrow.next_demand(record.task_id, opened.id, account, from_block=block)


def take_reward(record: TaskRecord, *, account: LocalAccount) -> int:
    """Withdraw what the account is credited with; returns how much that was, wei. Raises: ChainError."""
    token, own = record.invite.token, account.address
    if credit := record.escrow.credit(token, own):
        record.escrow.withdraw_for(token, own, account=account)
    return credit
