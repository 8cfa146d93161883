"""Nodes that a strategy can count and choose among: a Flower Grid that carries nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flwr.app import Message
from flwr.serverapp import Grid


class NullGrid(Grid):
    """What a strategy sees when it samples.

    Args:
        ids: Asked each time, since a strategy waits until there are enough.
    """

    def __init__(self, ids: Callable[[], Iterable[int]]) -> None:
        self._ids = ids

    def get_node_ids(self) -> Iterable[int]:
        """Their ids."""
        return self._ids()

    @property
    def run(self) -> None:  # type: ignore[override]  # no run is
        """There is none."""

    def set_run(self, run: object) -> None:
        """There is none."""

    def create_message(self, *arguments: object, **named: object) -> Message:
        """Strategies make their messages themselves."""
        raise NotImplementedError("these nodes can be chosen, not asked")

    push_messages = pull_messages = send_and_receive = create_message  # type: ignore[assignment]
