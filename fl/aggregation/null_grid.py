"""Nodes that a strategy can count and choose among: a Flower Grid that carries nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flwr.app import Message
from flwr.serverapp import Grid


class NullGrid(Grid):
    """What a strategy sees when it samples.

    Args:
        ids: Asked each time, since a strategy waits until there are enough.
        grid: The one behind it, where there is one: its run has the app's settings.
    """

    def __init__(self, ids: Callable[[], Iterable[int]], *, grid: Grid | None = None) -> None:
        self._ids, self._grid = ids, grid

    def get_node_ids(self) -> Iterable[int]:
        """Their ids."""
        return self._ids()

    @property
    def run(self) -> object:  # type: ignore[override]
        """The grid's behind it; there is none where nothing runs."""
        return None if self._grid is None else self._grid.run

    def set_run(self, run: object) -> None:
        """There is none."""

    def create_message(self, *arguments: object, **named: object) -> Message:
        """Strategies make their messages themselves."""
        raise NotImplementedError("these nodes can be chosen, not asked")

    push_messages = pull_messages = send_and_receive = create_message  # type: ignore[assignment]
