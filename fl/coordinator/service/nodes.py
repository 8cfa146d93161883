"""The clients' nodes: who may connect, who is there, and who is waited for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fl.chain.enrolment import Enrolment
from fl.chain.paid_task import PaidTask, TooFewClients
from fl.chain.task_state import Status
from fl.chain.tokens import in_tokens
from fl.coordinator.gateway.labels import read_labels
from fl.coordinator.service.setup import Setup
from fl.coordinator.superlink.node_registry import NodeRegistry
from fl.coordinator.superlink.process import SuperLink
from fl.coordinator.superlink.reconnect import wait_for_return
from fl.plain_text import agreeing, plural

log = logging.getLogger(__name__)

_NODES_EVERY_S = 1.0
_SAY_AGAIN_S = 30.0  # what is waited for, while nothing changes


class Nodes:
    """Keeps the nodes of a running task; may be asked from several threads.

    Args:
        setup: Of the coordinator.
        task: Says who joined.
        superlink: Runs, and connects them.
    """

    def __init__(self, setup: Setup, task: PaidTask, superlink: SuperLink) -> None:
        self.superlink = superlink
        self._setup, self._task, self._registry = setup, task, NodeRegistry(superlink)

    @property
    def _poll_s(self) -> float:
        return min(_NODES_EVERY_S, self._setup.settings.poll)

    def look(self) -> dict[str, Enrolment]:
        """Let in who joined and out who left, and tell the watcher who is there; returns everybody on chain, by account."""
        enrolments = self._task.enrolments()
        self._registry.follow(list(enrolments.values()), round_number=self._task.state().posted)
        accounts = self._registry.accounts(list(enrolments.values()))
        self._setup.watcher.on_nodes(
            [
                {
                    "account": account,
                    "node_id": str(node.node_id),
                    "online": node.online,
                    "last_seen": node.last_seen,
                }
                for node in self.superlink.nodes()
                for account in accounts.get(node.node_id, ("",))
            ]
        )
        return enrolments

    @contextmanager
    def looked_after(self) -> Iterator[None]:
        """Look by and by, for as long as the context lasts."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(max(self._setup.settings.poll, 0.1)):
                try:
                    self.look()
                except Exception as error:  # the chain may be away for a while; the rounds' own calls say for how long
                    log.info("could not look who joined: %s", error)

        thread = threading.Thread(target=look, name="registry", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=10)

    def wait_for_clients(self) -> None:
        """Wait until enough clients joined and their nodes are connected, or those of a task in its middle are back.

        Raises: TooFewClients.
        """
        state = self._task.state()
        if state.posted == state.rounds:
            return
        if state.status == Status.OPEN and not state.posted:
            self._wait_for_enrolment()
        else:
            self.wait_for_return(state.posted + 1)

    def wait_for_evaluators(self) -> None:
        """Wait until as many evaluators as have to sign have staked, where the terms ask for it. Raises: TooFewEvaluators."""
        terms = self._task.terms
        if terms.evaluator_stake and self._task.state().status == Status.OPEN:
            self._setup.watcher.on_setup(
                f"waiting until {terms.quorum} of {plural(len(terms.evaluators), 'evaluator')} {agreeing(terms.quorum, 'has', 'have')} staked {in_tokens(terms.evaluator_stake)}"
            )
            self._task.wait_for_evaluators(deadline_s=self._setup.settings.enrolment)

    def _wait_for_enrolment(self) -> None:
        settings = self._setup.settings
        wanted, until = settings.clients, time.monotonic() + settings.enrolment
        told, said = None, 0.0
        while True:
            enrolments = self.look()
            joined, online = len(enrolments), sum(node.online for node in self.superlink.nodes())
            if (joined, online) != told or time.monotonic() - said > _SAY_AGAIN_S:
                told, said = (joined, online), time.monotonic()
                there = self._connected(enrolments)
                absent = [account for account in enrolments if account not in there]
                names = read_labels(self._setup.folder)
                called = [f"{names[account]} ({account})" if account in names else account for account in absent[:5]]
                who = f"; joined and not connected: {', '.join(called)}" if called else ""
                self._setup.watcher.on_setup(
                    f"waiting for clients: {joined} of {wanted} joined, {online} connected{who}"
                )
                self._setup.watcher.on_waiting({"wanted": wanted, "joined": joined, "connected": online})
            if joined >= wanted and online >= wanted:
                return
            if time.monotonic() > until:
                raise TooFewClients(seen=min(joined, online), expected=wanted, deadline_s=settings.enrolment)
            time.sleep(self._poll_s)

    def wait_for_return(self, number: int) -> None:
        """Wait until the nodes of a round's clients are back, or have had their time."""

        def look() -> tuple[set[str], set[str]]:
            enrolments = self.look()
            weighing = {account for account, enrolment in enrolments.items() if enrolment.weighs_in(number)}
            return weighing, self._connected(enrolments)

        absent = wait_for_return(
            look, rejoin_s=self._setup.settings.rejoin, poll_s=self._poll_s, say=self._setup.watcher.on_setup
        )
        if absent:
            log.warning("going on with round %d without the nodes of %s", number, ", ".join(absent))

    def _connected(self, enrolments: dict[str, Enrolment]) -> set[str]:
        accounts = self._registry.accounts(list(enrolments.values()))
        online = [node for node in self.superlink.nodes() if node.online]
        return {account for node in online for account in accounts.get(node.node_id, ())}
