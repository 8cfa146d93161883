"""From the last round to the end of a coordinator: its window, its closing, and the claims."""

from __future__ import annotations

import logging
import time

from fl.bundle.files import BrokenBundle, round_folder
from fl.bundle.format import read_leaves
from fl.chain.task_state import Status
from fl.chain.tokens import in_tokens
from fl.coordinator.lifecycle.close import close_when_final, fetch_credits
from fl.coordinator.result import FederationResult
from fl.coordinator.service.opening import OpenTask
from fl.coordinator.service.setup import Setup
from fl.rewards import Leaf

log = logging.getLogger(__name__)

_CLAIMS_EVERY_S, _CLAIMS_OF_MANY_EVERY_S, _MANY = 3.0, 60.0, 50  # between two looks at who claimed


def see_it_through(setup: Setup, opened: OpenTask, result: FederationResult) -> None:
    """Serve until the last round's window is over, close the task, and fetch bond and rest.

    Args:
        setup: Of the coordinator.
        opened: Its task.
        result: Takes what was paid and claimed.
    """
    setup.watcher.on_setup("all rounds are on chain; serving until the challenge window is over")
    task, coordinator = opened.task, opened.roles.coordinator
    close_when_final(task, account=coordinator)
    for owner, amount in fetch_credits(task, account=coordinator).items():
        setup.watcher.on_setup(f"{owner} got {in_tokens(amount)} back: what the task owed it")
    result.paid = task.state().paid
    _note_claims(opened, result)


def wait_for_claims(setup: Setup, opened: OpenTask, result: FederationResult) -> None:
    """Serve until every client has its pay and its stake, or the time for claims is over.

    Args:
        setup: Of the coordinator.
        opened: Its task.
        result: Takes what was claimed.
    """
    task = opened.task
    state, left = task.state(), None
    if state.status != Status.CLOSED or not state.posted:
        return
    until = state.since + task.terms.claim_period
    due = {leaf.account: state.due(leaf.cumulative) for leaf in _last_leaves(setup, state.posted)}
    waiting = list(due)
    while waiting and time.time() < until:
        clients = {account: task.escrow.client(task.task_id, account) for account in waiting}
        waiting = [account for account, held in clients.items() if held.stake or held.claimed < due[account]]
        if len(waiting) != left and waiting:
            left = len(waiting)
            date = time.strftime("%Y-%m-%d", time.localtime(until))
            setup.watcher.on_setup(
                f"serving until {left} client{'s have' if left > 1 else ' has'} fetched pay and stake, {date} at the "
                "latest; stopping it now costs them nothing"
            )
        if waiting:
            time.sleep(_CLAIMS_EVERY_S if len(waiting) < _MANY else _CLAIMS_OF_MANY_EVERY_S)
    _note_claims(opened, result)


def _last_leaves(setup: Setup, number: int) -> tuple[Leaf, ...]:
    try:
        return read_leaves(setup.bundles / round_folder(number))
    except BrokenBundle as error:
        log.warning("nobody's claim is waited for: %s", error)
        return ()


def _note_claims(opened: OpenTask, result: FederationResult) -> None:
    task = opened.task
    for client in result.clients:
        client.claimed = task.escrow.claimed(task.task_id, client.account)
        client.balance = task.token.balance(client.account)
