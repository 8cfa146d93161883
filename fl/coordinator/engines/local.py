"""The `local` engine: a Flower Grid that calls the ClientApp in this process, or in copies of it.

A seed fixes everything: each node's answer depends on its message and its own context alone, and replies are handed over in the order
in which nodes were asked, whichever process trained them. So any number of workers gives the same bits.

An app that knows how to train many nodes at once says so by an attribute `answer_together` (see `AnswersTogether`); whatever it leaves
out is asked one node at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fl.coordinator.engines.forked import ForkedWorkers, can_fork
from fl.coordinator.engines.virtual_grid import EmbeddedGrid, NodeConfig, answer

log = logging.getLogger(__name__)


class AnswersTogether(Protocol):
    """What an app with an attribute `answer_together` does."""

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> dict[int, Message]:
        """Answers by the message's place; places that are left out are for the app itself."""


class LocalGrid(EmbeddedGrid):
    """A grid of nodes on this machine.

    Args:
        app: The ClientApp that every node runs.
        node_configs: As of `EmbeddedGrid`.
        workers: Processes that train at the same time; 1 for this one. With more, torch has to have one thread in each.
        together: Trains many nodes at once; None to ask the app for each.
        on_reply: As of `EmbeddedGrid`.
    """

    def __init__(
        self,
        app: ClientApp,
        node_configs: Mapping[int, NodeConfig],
        *,
        workers: int = 1,
        together: AnswersTogether | None = None,
        on_reply: Callable[[int], None] = lambda node_id: None,
    ) -> None:
        super().__init__(node_configs, on_reply=on_reply)
        self._app, self._together = app, together
        self._places = {node_id: place for place, node_id in enumerate(sorted(node_configs))}
        workers = min(workers, len(node_configs))
        self._workers = ForkedWorkers(self._in_turn, count=workers) if workers > 1 and can_fork() else None
        self._begun = False

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        # A timeout is of no use here: the app is called, and a call returns when it is done.
        if not messages:  # Flower asks nobody to evaluate, too
            return
        if self._workers is None:
            yield from self._in_turn(messages)
            return
        if not self._begun:
            # The first one here: what it imports and reads, the workers are born with.
            self._begun = True
            yield from self._in_turn(messages[:1])
            messages = messages[1:]
        count = self._workers.count
        yield from self._workers.answer(
            messages, place=lambda message: self._places[message.metadata.dst_node_id] % count
        )

    def _in_turn(self, messages: Sequence[Message]) -> Iterator[Message]:
        contexts = [self._contexts[message.metadata.dst_node_id] for message in messages]
        done: dict[int, Message] = {}
        if self._together is not None:
            try:
                done = self._together(messages, contexts)
            except Exception:  # the app's own failure, and each node's by itself then
                log.exception("the app failed to train its nodes together; they are asked one by one")
        for place, (message, context) in enumerate(zip(messages, contexts, strict=True)):
            yield done.pop(place) if place in done else answer(self._app, message, context)


def workers_for(setting: str, *, threads: int, clients: int) -> int:
    """How many processes `engine.workers` comes to.

    Args:
        setting: A number, or auto: one a core, but one alone where torch has threads of its own.
        threads: Torch's, as configured; 0 for its own choice.
        clients: Of the run; more workers would have nobody to train.
    """
    if setting != "auto":
        return max(1, min(int(setting), clients))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, clients)) if threads == 1 else 1
