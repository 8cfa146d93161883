"""What the engines without a SuperLink share: a Flower Grid whose nodes live as long as the run.

Messages, records, mods and contexts are Flower's own; only the transport differs from one engine to the next.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fl.protocol import keep_blocks
from fl.spool import Spool

log = logging.getLogger(__name__)

NodeConfig = dict[str, str | int | float | bool]

_RUN_ID = 1
_SERVER_NODE = 1  # Flower's own id of the server side


class EmbeddedGrid(Grid):
    """A grid of nodes that this process knows all about.

    Args:
        node_configs: The node configuration of each node, by node id (2 or more; 1 is the server's).
        on_reply: Called with the node's id after each answer, for progress bars.
    """

    def __init__(
        self, node_configs: Mapping[int, NodeConfig], *, on_reply: Callable[[int], None] = lambda node_id: None
    ) -> None:
        # Messages read who sends them from here; a real engine sets it when it starts a process.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = _RUN_ID, _SERVER_NODE, 0
        self._contexts = {
            node_id: Context(run_id=_RUN_ID, node_id=node_id, node_config=config, state=RecordDict(), run_config={})
            for node_id, config in node_configs.items()
        }
        self._replies: dict[str, Message] = {}
        self._on_reply = on_reply

    def set_run(self, run: object) -> None:
        """Nothing to set: there is one run."""

    @property
    def run(self) -> NoReturn:
        """Raises: NotImplementedError, as there is no SuperLink that knows a run."""
        raise NotImplementedError("this engine has no Flower run; only a SuperLink knows one")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to one node.

        Args:
            content: To send.
            message_type: Such as `train`.
            dst_node_id: The node.
            group_id: Of the round.
            ttl: Not used here.
        """
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes, ascending."""
        return sorted(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have each message answered at once; returns the message ids."""
        return self._push(messages, timeout=None)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers that are there, each once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull; after `timeout` seconds, where the engine can, what is there."""
        return self.pull_messages(self._push(messages, timeout=timeout))

    @abstractmethod
    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterable[Message]:
        """The nodes' answers, in any order; each is a reply to its message."""

    def _push(self, messages: Iterable[Message], *, timeout: float | None) -> list[str]:
        messages, spool = list(messages), Spool()
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
        for reply in self._answer(messages, timeout=timeout):
            if reply.has_content():
                keep_blocks(reply.content, spool)
            self._replies[reply.metadata.reply_to_message_id] = reply
            self._on_reply(reply.metadata.src_node_id)
        return [message.metadata.message_id for message in messages]


def answer(app: ClientApp, message: Message, context: Context) -> Message:
    """The app's answer, or an error reply that says what it raised, as a SuperNode sends one: its failure, not ours.

    Args:
        app: Of the node.
        message: To answer.
        context: The node's, which lasts from message to message.
    """
    try:
        return app(message, context)
    except Exception as error:  # whatever the app raises
        log.warning("node %d failed: %s", context.node_id, "".join(traceback.format_exception(error)))
        return failure(message, f"{type(error).__name__}: {error}")


def failure(message: Message, reason: str) -> Message:
    """The error reply of a node whose app raised."""
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
