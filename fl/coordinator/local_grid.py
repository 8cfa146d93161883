"""The `local` engine: a Flower Grid that calls the ClientApp in this process.

Messages, records, mods and contexts are Flower's own; only the transport is a function call. Nodes answer in the order in
which they were asked, so a seed fixes everything.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

log = logging.getLogger(__name__)

_RUN_ID = 1
_SERVER_NODE = 1  # Flower's own id of the server side


class LocalGrid(Grid):
    """A grid of nodes in this process.

    Args:
        app: The ClientApp that every node runs.
        node_configs: The node configuration of each node, by node id (2 or more; 1 is the server's).
        on_reply: Called with the node's id after each answer, for progress bars.
    """

    def __init__(
        self,
        app: ClientApp,
        node_configs: Mapping[int, dict[str, str | int | float | bool]],
        *,
        on_reply: Callable[[int], None] = lambda node_id: None,
    ) -> None:
        # Messages read who sends them from here; a real engine sets it when it starts a process.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = _RUN_ID, _SERVER_NODE, 0
        self._app = app
        self._contexts = {
            node_id: Context(run_id=_RUN_ID, node_id=node_id, node_config=config, state=RecordDict(), run_config={})
            for node_id, config in node_configs.items()
        }
        self._replies: dict[str, Message] = {}
        self._on_reply = on_reply

    def set_run(self, run: object) -> None:
        """Nothing to set: there is one run."""

    @property
    def run(self) -> object:
        """Raises: NotImplementedError, as there is no SuperLink that knows a run."""
        raise NotImplementedError("the local engine has no Flower run; only a SuperLink knows one")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes, ascending."""
        return sorted(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the ClientApp for each message at once; returns the message ids."""
        ids = []
        for message in messages:
            message_id = uuid.uuid4().hex
            message.metadata.__dict__["_message_id"] = message_id
            self._replies[message_id] = self._answer(message)
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers that are there, each once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull; `timeout` is not needed, since a call returns when it is done."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        try:
            reply = self._app(message, self._contexts[node_id])
        except Exception as error:  # whatever the app raises, as a SuperNode does: it is the node's failure, not ours
            log.warning("node %d failed: %s", node_id, "".join(traceback.format_exception(error)))
            reason = f"{type(error).__name__}: {error}"
            reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
        self._on_reply(node_id)
        return reply
