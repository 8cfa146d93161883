"""The end of a task: claim for everybody, close it, give the stakes back."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from fl.chain.clock import pass_time
from fl.chain.escrow import Status
from fl.chain.paid_task import PaidTask
from fl.chain.sender import Sent
from fl.chain.typed_data import Header
from fl.rewards import Leaf, RoundTree

_BATCH = 100  # claims of one transaction: about 3 million gas, a tenth of a block


def claim_for_all(
    task: PaidTask, header: Header, *, leaves: Sequence[Leaf], account: LocalAccount
) -> list[tuple[int, Sent]]:
    """Wait until the round is final and pay every leaf that is owed something.

    Returns: for each transaction, how many accounts it paid.
    """
    window = task.terms.challenge_window
    pass_time(task.escrow.w3, until=task.escrow.posted_at(task.task_id, header.round) + window)
    tree = RoundTree(leaves)
    sent = []
    for start in range(0, len(tree), _BATCH):
        batch = tree.leaves[start : start + _BATCH]
        owed = sum(leaf.cumulative > task.escrow.claimed(task.task_id, leaf.account) for leaf in batch)
        if not owed:
            continue
        siblings = tree.range_proof(start, len(batch))
        paid = task.escrow.claim_range(header, start=start, leaves=batch, siblings=siblings, account=account)
        sent.append((owed, paid))
    return sent


def close_and_return_stakes(task: PaidTask, *, account: LocalAccount) -> dict[str, list[Sent]]:
    """Close a complete task and pay out what is credited: stakes to the clients, bond and rest to the sponsor."""
    sent: dict[str, list[Sent]] = {"close": [], "release": [], "withdraw": []}
    if task.state().status != Status.CLOSED:
        sent["close"].append(task.escrow.close(task.task_id, account=account))
    for client in task.enrolments():
        sent["release"].append(task.escrow.release(task.task_id, client=client, account=account))
    for owner in (*task.enrolments(), task.state().sponsor):
        if task.escrow.credit(task.token.address, owner):
            sent["withdraw"].append(task.escrow.withdraw_for(task.token.address, owner, account=account))
    return sent
