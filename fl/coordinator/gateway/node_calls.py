"""The node's calls: checked, read whole, and passed on to the SuperLink in turns.

In this order, so that each step keeps the next one cheap: the path is one that a node calls, the key is enrolled and signs the
time, the body fits what that key may send, the body is here, it is the key's turn. What was checked is what is passed on.
"""

from __future__ import annotations

import datetime as dt
import logging
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing

import httpx
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Scope, Send

from fl.coordinator.gateway.allowance import Allowances
from fl.coordinator.gateway.node_key_check import Caller, NotEnrolled, caller_of
from fl.coordinator.gateway.request_limits import Held, Intake, TooLarge, TooMuch, TooSlow, length_of
from fl.coordinator.gateway.turns import TooMany, Turns
from fl.coordinator.superlink.process import SuperLink
from fl.coordinator.superlink.replies import MOST_PIECES

log = logging.getLogger(__name__)

# What a node of flwr 1.41 calls, by name: what a later version adds stays closed until somebody has looked at it. A node's
# own registration is not here; who may connect is decided on chain.
_REQUESTS: dict[str, type[ProtobufMessage]] = {
    "activate-node": ActivateNodeRequest,
    "deactivate-node": DeactivateNodeRequest,
    "send-node-heartbeat": SendNodeHeartbeatRequest,
    "pull-messages": PullMessagesRequest,
    "push-messages": PushMessagesRequest,
    "get-run": GetRunRequest,
    "get-fab": GetFabRequest,
    "push-object": PushObjectRequest,
    "pull-object": PullObjectRequest,
    "confirm-message-received": ConfirmMessageReceivedRequest,
}
NODE_PATHS = frozenset(f"/v1/fleet/{call}" for call in _REQUESTS)
LARGEST_REQUEST = 256 << 20  # bytes of an object that a node pushes, where nobody says how large the model is
LARGEST_WORD = 256 << 10  # bytes of any other call
ANSWER_S = 60.0  # of the SuperLink
AT_ONCE = 4  # calls to the SuperLink; its database lets one write at a time, and more of them only wait for its lock
_AT_ONCE_OF_ONE = 1  # of one key: a second one of it would only slow down everybody else's
_UNDER_WAY_OF_ONE = 8  # calls of one key that are read, wait, or are answered
_TOO_MUCH = "more than answers what the node was given"
_NO_MORE = "more than answers what this node was given to do"
_RETRY = {"retry-after": "1"}
_PASSED_ON = ("accept", "content-type")  # of a call's headers, beside Flower's own
_FLOWERS = "flwr-"
_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "server"}


class NodeCalls:
    """Takes the calls of nodes.

    Args:
        superlink: Gets them.
        largest: Bytes of one object that a node pushes.
        turn_away: Told of each call that is refused, and why.
        trust: Told of each connection on which an enrolled key speaks.
    """

    def __init__(
        self,
        superlink: SuperLink,
        *,
        largest: int,
        turn_away: Callable[[Scope, str], None],
        trust: Callable[[Scope], None],
    ) -> None:
        self._superlink, self.largest, self._turn_away, self._trust = superlink, largest, turn_away, trust
        self._turns = Turns(AT_ONCE, of_one=_AT_ONCE_OF_ONE, waiting_of_one=_UNDER_WAY_OF_ONE)
        self._under_way: Counter[str] = Counter()  # by key
        self.intake = Intake(superlink.folder, most_of_one=4 * largest + _UNDER_WAY_OF_ONE * LARGEST_WORD)
        self.allowances = Allowances(largest)
        self.client: httpx.AsyncClient | None = None

    async def answer(self, request: Request, send: Send) -> None:
        """Answer one call; its path is one of `NODE_PATHS`."""
        try:
            now = dt.datetime.now(dt.UTC)
            caller = caller_of(request.headers, node_of=self._superlink.node_of, now=now)
        except NotEnrolled:
            self._turn_away(request.scope, "the node API without a registered key")
            await _said("no registered key has signed this", 401, connection="close")(
                request.scope, request.receive, send
            )
            return
        self._trust(request.scope)
        if self._under_way[caller.key] >= _UNDER_WAY_OF_ONE:
            self._turn_away(request.scope, "more calls than one key may have under way")
            refusal = _said("too many calls of this key are under way", 503, connection="close", **_RETRY)
            await refusal(request.scope, request.receive, send)
            return
        self._under_way[caller.key] += 1
        try:
            await self._pass_on(request, send, caller)
        finally:
            self._under_way[caller.key] -= 1
            if not self._under_way[caller.key]:
                del self._under_way[caller.key]

    async def _pass_on(self, request: Request, send: Send, caller: Caller) -> None:
        largest = self.largest if request.scope["path"].endswith("/push-object") else min(LARGEST_WORD, self.largest)
        with ExitStack() as held:
            try:
                length = length_of(request.scope)
                if length > largest:
                    raise TooLarge
                if request.scope["path"].endswith("/push-object") and not self.allowances.has(caller.key, size=length):
                    self._turn_away(request.scope, _TOO_MUCH)  # before a byte of it is read
                    await _said(_NO_MORE, 413, connection="close")(request.scope, request.receive, send)
                    return
                asked = await self.intake.read(request, largest=largest, peer=caller.key)
                held.enter_context(closing(asked))
                given = held.enter_context(closing(self.intake.held(caller.key)))
                answer = await self._checked(request, asked, given, caller)
            except TooLarge:
                self._turn_away(request.scope, "a request that is too large")
                answer = _said(f"more than {largest} bytes", 413, connection="close")
            except TooSlow:
                self._turn_away(request.scope, "a request that did not come")
                # Not 408: a node with a bad line would end, and this one tries again.
                answer = _said("the request took too long", 503, connection="close", **_RETRY)
            except (TooMuch, TooMany, OSError):  # or the disk is full
                answer = _said("too much is on its way here", 503, **_RETRY)
            except ClientDisconnect:
                return  # nobody is there to hear an answer
            except httpx.TransportError as error:
                # A SuperLink that is being started again; nodes take a 503 as "ask again".
                log.debug("the SuperLink did not answer: %s", error)
                answer = _said("the SuperLink does not answer", 503, **_RETRY)
            await answer(request.scope, request.receive, send)

    async def _checked(self, request: Request, asked: Held, given: Held, caller: Caller) -> Response:
        """The SuperLink's answer, to what the caller may ask. Raises: httpx.TransportError; TooMany; TooMuch."""
        call, size, announced = request.scope["path"].rpartition("/")[2], 0, 0
        if call == "push-object":
            size = asked.size
        elif call == "push-messages":
            announced = 1
            if problem := _problem_of(asked.whole()):
                self._turn_away(request.scope, problem)
                return _said(f"{problem} is not taken", 400)
        # An object is as large as a model: the SuperLink reads whose it is.
        if call != "push-object" and not _is_of(caller, call, asked.whole()):
            self._turn_away(request.scope, "the node API in another node's name")
            return _said("the key is another node's", 401)
        if not self.allowances.take(caller.key, size=size, announcements=announced):
            self._turn_away(request.scope, _TOO_MUCH)
            return _said(_NO_MORE, 413, connection="close")
        answered = False
        try:
            answer = await self._ask_superlink(request, asked, given, caller)
            # What the SuperLink refuses was sent all the same: it counts. What it had no time for is pushed again.
            answered = answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR
        finally:
            if not answered:
                self.allowances.give_back(caller.key, size=size, announcements=announced)
        if call == "pull-messages" and answer.status_code == httpx.codes.OK:
            self.allowances.grant(caller.key, messages=_messages_in(given))
        return answer

    async def _ask_superlink(self, request: Request, asked: Held, given: Held, caller: Caller) -> Response:
        if (client := self.client) is None:
            return _said("the gateway is starting", 503, **_RETRY)
        sent = client.build_request(
            "POST",
            f"https://{self._superlink.address}{request.scope['path']}",
            headers={
                **{
                    name: value
                    for name, value in request.headers.items()
                    if name in _PASSED_ON or name.startswith(_FLOWERS)
                },
                "content-length": str(asked.size),
            },
            content=asked.parts(),
        )
        async with self._turns.turn(
            caller.key
        ):  # for as long as the SuperLink takes, and not for as long as the peer does
            answer = await client.send(sent, stream=True)
            try:
                async for part in answer.aiter_raw():
                    given.write(part)
            finally:
                await answer.aclose()
        if answer.status_code == httpx.codes.UNAUTHORIZED or (
            answer.is_client_error and request.scope["path"].endswith("/activate-node")
        ):
            self._turn_away(request.scope, "the node API without a registered key")
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            # Its database was locked for too long, as a rule. A node would end; "ask again" is the truth.
            return _said("the SuperLink failed", 503, **_RETRY)
        headers = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
        return StreamingResponse(
            given.parts(), status_code=answer.status_code, headers={**headers, "content-length": str(given.size)}
        )


def _is_of(caller: Caller, call: str, body: bytes) -> bool:
    """Whether a call is made in its caller's own name; what cannot be read is not."""
    try:
        request = _REQUESTS[call].FromString(body)
    except DecodeError:
        return False
    if call == "activate-node":
        return request.public_key == b64decode(caller.key)
    return caller.node_id == (request.node_id if call == "deactivate-node" else request.node.node_id)


def _messages_in(given: Held) -> int:
    try:
        return len(PullMessagesResponse.FromString(given.whole()).messages_list)
    except DecodeError:
        return 0


def _problem_of(body: bytes) -> str:
    """What is wrong with a node's announcement of messages; "" if nothing is.

    The SuperLink checks who asks, and not whose name a message bears: as another node it would answer for it, and as the
    SuperLink give it orders. And for many objects it locks its database for so long that others fail.
    """
    try:
        request = PushMessagesRequest.FromString(body)
    except DecodeError:
        return "a message that cannot be read"
    if any(message.metadata.src_node_id != request.node.node_id for message in request.messages_list):
        return "a message in another's name"
    if any(sum(1 for _ in iterate_object_tree(tree)) > MOST_PIECES for tree in request.message_object_trees):
        return f"a message of more than {MOST_PIECES} objects"
    return ""


def _said(text: str, status: int, **headers: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)
