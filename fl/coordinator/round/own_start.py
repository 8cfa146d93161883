"""A strategy that overrides Flower's `start`: its own loop runs, and its rounds are paid ones.

Flower's examples keep the best model, log, or stop early in a `start` of their own, which calls `self.configure_train` and
`self.aggregate_train`. It runs on an object that is the strategy, with the same attributes, but for these four calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy


class Rounds(Protocol):
    """What a loop asks for in each round of a task, by the task's own count."""

    def asks(self, number: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        """The messages that a round has to send.

        Args:
            number: Of the round.
            arrays: The model.
            config: For the nodes.
            grid: Connects them.
        """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Settle the round."""

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Whom to ask to evaluate.

        Args:
            server_round: Its number.
            arrays: The model.
            config: For the nodes.
            grid: Connects them.
        """

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """What they said."""


def has_own_start(inner: Strategy) -> bool:
    """Whether a strategy runs its rounds by a loop of its own."""
    return type(inner).start is not Strategy.start


def driving(inner: Strategy, rounds: Rounds, *, before: int) -> Any:
    """The strategy, whose `start` makes the rounds of a task.

    Args:
        inner: With a `start` of its own.
        rounds: Does what the loop asks for.
        before: Rounds that are on chain already; the loop counts its own from 1.
    """

    class Driving(type(inner)):  # type: ignore[misc]
        """The strategy in its own loop."""

        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            """A paid round begins."""
            return rounds.asks(before + server_round, arrays, config, grid)

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            """It ends on chain."""
            return rounds.aggregate_train(before + server_round, replies)

        def configure_evaluate(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            """See `Rounds`."""
            return rounds.configure_evaluate(before + server_round, arrays, config, grid)

        def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
            """See `Rounds`."""
            return rounds.aggregate_evaluate(before + server_round, replies)

    Driving.__name__ = Driving.__qualname__ = type(inner).__name__  # it is what logs call it
    found = object.__new__(Driving)
    found.__dict__ = inner.__dict__  # one memory: what the loop notes, the strategy knows
    return found
