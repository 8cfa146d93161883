"""Replies on their way in: fetched piece by piece, and taken apart without trusting a byte of what a node wrote.

The SuperLink checks who announces a reply and what it answers, and no more: what it then stores may be of any type, any shape
and any size, name somebody else as its sender, or never come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Error, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde_utils import metadata_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, Metadata, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.runtime import RuntimeHttpClient

from fl.plain_text import printable

log = logging.getLogger(__name__)

MOST_PIECES = 1000  # of one reply; a signed update has four
_AT_A_LOOK = 64  # pieces of one reply, so that nobody's many keep the others waiting
_WORDS = 300  # characters of an error that are kept


class _Unreadable(Exception):
    """A reply that cannot be taken for one, and why."""


class _Lost(Exception):
    """Pieces of a reply that were announced will not come."""


@dataclass(kw_only=True, eq=False)
class _Arrival:
    """A reply that was announced."""

    told: Metadata  # as the SuperLink checked it
    missing: list[str]  # ids of the pieces that did not come yet, the last one first
    pieces: dict[str, bytes] = field(default_factory=dict)
    size: int = 0  # bytes


class Arrivals:
    """The replies of one grid that were announced and are not complete, or not taken yet.

    Args:
        client: Gives the connection to the SuperLink's runtime API.
    """

    def __init__(self, client: Callable[[], RuntimeHttpClient]) -> None:
        self._client = client
        self._open: dict[str, _Arrival] = {}  # by the id of the message that is answered
        self._node = Node(node_id=SUPERLINK_NODE_ID)

    def take(
        self, run_id: int, largest: Mapping[str, int], *, late: dict[str, None] | None = None
    ) -> Iterator[Message]:
        """Look once, and give each reply that is complete.

        Sender and message that is answered are those that the SuperLink checked. A reply that cannot be read, is too large,
        or says that it is somebody else's, is an error reply of the node that sent it.

        Args:
            largest: Bytes that a reply may have, by the id of the message that is answered.
            late: Ids of messages whose replies are dropped unread; each is removed when its reply came.
        Raises: httpx.HTTPError; what has not been given comes with the next look.
        """
        late = {} if late is None else late
        if asked := (largest.keys() | late.keys()) - self._open.keys():
            answer = self._client().PullMessages(PullAppMessagesRequest(message_ids=asked))
            for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
                if proto.metadata.reply_to_message_id in asked:
                    self._open[proto.metadata.reply_to_message_id] = _Arrival(
                        told=proto.metadata, missing=_pieces(tree)
                    )
        for message_id in [known for known in self._open if known in largest or known in late]:
            arrival, problem = self._open[message_id], None
            try:
                if message_id not in late and not self._fetch(run_id, arrival, most=largest[message_id]):
                    continue
            except (_Unreadable, _Lost) as error:
                problem = error
            self._client().ConfirmMessageReceived(
                ConfirmMessageReceivedRequest(node=self._node, run_id=run_id, message_object_id=arrival.told.message_id)
            )
            del self._open[message_id]
            if message_id in late:
                del late[message_id]
                log.info("a reply of node %d came after its round and is dropped", arrival.told.src_node_id)
            else:
                yield _reply(arrival, problem)

    def clear(self) -> None:
        """Forget all: their run is over."""
        self._open.clear()

    def _fetch(self, run_id: int, arrival: _Arrival, *, most: int) -> bool:
        """Fetch what is there; returns whether that is all."""
        if len(arrival.missing) > MOST_PIECES:
            raise _Unreadable(f"the reply has {len(arrival.missing)} pieces, at most {MOST_PIECES} are taken")
        for _ in range(min(_AT_A_LOOK, len(arrival.missing))):
            object_id = arrival.missing[-1]
            found = self._client().PullObject(PullObjectRequest(node=self._node, run_id=run_id, object_id=object_id))
            if not found.object_found:
                raise _Lost
            if not found.object_available:
                return False
            arrival.size += len(found.object_content)
            if arrival.size > most:
                raise _Unreadable(f"the reply is larger than {most} bytes, which no answer to this message has to be")
            arrival.pieces[object_id] = found.object_content
            arrival.missing.pop()
        return not arrival.missing


def _pieces(tree: ObjectTree) -> list[str]:
    return list(dict.fromkeys(piece.object_id for piece in iterate_object_tree(tree)))[::-1]


def _reply(arrival: _Arrival, problem: Exception | None) -> Message:
    told = metadata_from_proto(arrival.told)
    try:
        if problem is not None:
            raise problem
        said = _opened(arrival)
    except _Unreadable as error:
        said = Error(code=ErrorCode.UNKNOWN, reason=str(error))
    except _Lost:
        told.__dict__["_src_node_id"] = SUPERLINK_NODE_ID  # no word of the node's
        said = Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason="the upload of the reply was broken off")
    return make_message(told, error=said) if isinstance(said, Error) else make_message(told, content=said)


def _opened(arrival: _Arrival) -> RecordDict | Error:
    """What a reply says. Raises: _Unreadable."""
    try:
        reply = inflate_object_from_contents(arrival.told.message_id, arrival.pieces)
    except Exception as error:  # whatever Flower's parsers make of bytes that somebody chose
        raise _Unreadable(
            f"the reply cannot be read ({type(error).__name__}: {printable(error, most=_WORDS)})"
        ) from error
    if not isinstance(reply, Message):
        raise _Unreadable(f"the reply is a {type(reply).__name__}, a Message is expected")
    said, told = reply.metadata, arrival.told
    if (said.src_node_id, said.reply_to_message_id) != (told.src_node_id, told.reply_to_message_id):
        raise _Unreadable(
            f"the reply says that node {said.src_node_id} answers message {printable(said.reply_to_message_id, most=16)}, and "
            f"node {told.src_node_id} answers message {told.reply_to_message_id[:16]}; answer in the node's own name"
        )
    if reply.has_error():
        return reply.error
    if not isinstance(reply.content, RecordDict):
        raise _Unreadable(f"the reply holds a {type(reply.content).__name__}, a RecordDict is expected")
    return reply.content
