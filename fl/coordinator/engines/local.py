"""The `local` engine: a Flower Grid that calls the ClientApp in this process.

Nodes answer in the order in which they were asked, so a seed fixes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from flwr.app import Message
from flwr.clientapp import ClientApp

from fl.coordinator.engines.virtual_grid import EmbeddedGrid, NodeConfig, answer


class LocalGrid(EmbeddedGrid):
    """A grid of nodes in this process.

    Args:
        app: The ClientApp that every node runs.
        node_configs: As of `EmbeddedGrid`.
        on_reply: Likewise.
    """

    def __init__(
        self,
        app: ClientApp,
        node_configs: Mapping[int, NodeConfig],
        *,
        on_reply: Callable[[int], None] = lambda node_id: None,
    ) -> None:
        super().__init__(node_configs, on_reply=on_reply)
        self._app = app

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        # A timeout is of no use here: the app is called, and a call returns when it is done.
        for message in messages:
            yield answer(self._app, message, self._contexts[message.metadata.dst_node_id])
