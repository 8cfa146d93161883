"""The end of a task: claim for everybody, close it, give the stakes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from fl.chain.clock import keep_up, pass_time
from fl.chain.errors import Refused
from fl.chain.paid_task import PaidTask
from fl.chain.sender import Sent
from fl.chain.task_state import Status
from fl.chain.typed_data import Header
from fl.rewards import Leaf, RoundTree

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # between two looks at a window that is not over
_BATCH = 100  # claims of one transaction: about 3 million gas, a tenth of a block


def claim_for_all(
    task: PaidTask, header: Header, *, leaves: Sequence[Leaf], account: LocalAccount
) -> list[tuple[int, Sent]]:
    """Wait until the round is final and pay every leaf that is owed something.

    Returns: for each transaction, how many accounts it paid.

    Args:
        task: On chain.
        header: Of the last round.
        leaves: Of that round.
        account: Pays the gas.
    """
    window = task.terms.challenge_window
    pass_time(task.escrow.w3, until=task.escrow.posted_at(task.task_id, header.round) + window)
    tree, state = RoundTree(leaves), task.state()
    sent = []
    for start in range(0, len(tree), _BATCH):
        batch = tree.leaves[start : start + _BATCH]
        claimed = task.escrow.claimed_by_all(task.task_id, [leaf.account for leaf in batch])
        owed = sum(state.due(leaf.cumulative) > paid for leaf, paid in zip(batch, claimed, strict=True))
        if not owed:
            continue
        siblings = tree.range_proof(start, len(batch))
        paid = task.escrow.claim_range(header, start=start, leaves=batch, siblings=siblings, account=account)
        sent.append((owed, paid))
    return sent


def close_when_final(task: PaidTask, *, account: LocalAccount) -> Sent | None:
    """Wait until nothing can be challenged any more, and close the task; None if somebody else did."""
    while (state := task.state()).status not in (Status.CLOSED, Status.HALTED):
        # A chain without transactions may have no block of now; one that is ahead of our clock is right.
        keep_up(task.escrow.w3)
        task.keep_posted()
        now = max(task.escrow.w3.eth.get_block("latest")["timestamp"], int(time.time()))
        left = task.escrow.posted_at(task.task_id, state.posted) + task.terms.challenge_window - now
        if left > 0:
            time.sleep(min(left, _LOOK_S))
            continue
        try:
            return task.escrow.close(task.task_id, account=account)
        except Refused as error:  # a challenge is open, or the chain's clock is behind ours
            log.info("not closed yet: %s", error)
            time.sleep(_LOOK_S)
    return None


def fetch_credits(task: PaidTask, *, account: LocalAccount) -> dict[str, int]:
    """Pay coordinator and sponsor what the contract owes them: bond, refund, what nobody claimed, stakes of evaluators.

    Returns: wei by owner, of those who were owed something.
    """
    fetched = {}
    owners = list(dict.fromkeys((task.terms.coordinator, task.state().sponsor)))
    task.release_stakes(account=account, payers=owners)  # of evaluators in the coordinator's own process
    for owner in owners:
        if amount := task.escrow.credit(task.token.address, owner):
            task.escrow.withdraw_for(task.token.address, owner, account=account)
            fetched[owner] = amount
    return fetched


def close_and_return_stakes(task: PaidTask, *, account: LocalAccount) -> dict[str, list[Sent]]:
    """Close a complete task and pay everybody out: stakes to clients and evaluators, bond to the coordinator, any rest to the sponsor."""
    sent: dict[str, list[Sent]] = {"close": [], "release_range": [], "withdraw": []}
    if task.state().status != Status.CLOSED:
        sent["close"].append(task.escrow.close(task.task_id, account=account))
    clients = list(task.enrolments())
    for start in range(0, len(clients), _BATCH):
        batch = clients[start : start + _BATCH]
        sent["release_range"].append(task.escrow.release_range(task.task_id, batch, account=account))
    if released := task.release_stakes(account=account):
        sent["release_evaluator"] = released
    payers = [backer.payer for backer in task.escrow.backers(task.task_id, task.terms.evaluators).values()]
    owners = [*clients, task.terms.coordinator, task.state().sponsor, *(payers if released else ())]
    for owner, credit in zip(owners, task.escrow.credits(task.token.address, owners), strict=True):
        if credit and task.escrow.credit(task.token.address, owner):  # coordinator and sponsor may be one account
            sent["withdraw"].append(task.escrow.withdraw_for(task.token.address, owner, account=account))
    return sent
