"""The `superlink` engine: a Flower Grid over a SuperLink, with this process as the executor of its own server app.

Nothing is unpacked and no process is started for a round: the coordinator takes the task that its run made, and asks and
collects promptly. Flower's `HttpGrid` packs the messages; what nodes answer is unpacked by `Arrivals`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar, Unpack

import httpx
from flwr.app import Error, Message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    GetNodesRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from fl.coordinator.superlink.process import NodeState, SuperLink, direct, patient_waits
from fl.coordinator.superlink.replies import Arrivals
from fl.errors import FairshareError
from fl.protocol import keep_blocks
from fl.spool import Spool

log = logging.getLogger(__name__)

_PATIENCE_S = 120.0  # of a call, while the SuperLink is being started again
_HEARTBEAT_S = 10.0  # Flower gives a task up after 60 s without one
_LOOK_S = 1.0  # between looks for nodes that came back
_FIRST_POLL_S, _LAST_POLL_S = 0.05, 0.5
_RECOVERIES = 10  # of one call, each after the SuperLink answered again
_REPEATS = 3  # times that a message whose reply got lost on the way is sent again
_MOST_LATE = 10_000  # messages whose late replies are still cleared away
_REPLY_SLACK = 16 << 20  # bytes that a reply may be larger than what was sent
_LARGEST_REPLY = 1 << 30  # bytes of one that somebody asks for by its id
_TASK_UNKNOWN = (401, 403, 404)  # the token is of a task that is over
_LOST = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
_Answer = TypeVar("_Answer")


class GridLost(FairshareError):
    """The SuperLink gave no answer for so long that the round cannot go on."""

    def __init__(self, waited_s: float, reason: str) -> None:
        super().__init__(waited_s, reason)
        self.waited_s, self.reason = waited_s, reason

    def __str__(self) -> str:
        return (
            f"no answer from the SuperLink for {self.waited_s:.0f} s ({self.reason}); look at its log, and start again"
        )


@dataclass(kw_only=True, eq=False)
class _Order:
    """One message of a round, and what became of it."""

    message: Message
    node_id: int
    sent_at: float = 0.0  # Unix seconds, on the SuperLink's clock, which is ours
    repeats: int = 0
    largest: int = 0  # bytes that its reply may have
    gone_since: float | None = None  # monotonic seconds
    answer: Message | None = None
    ids: set[str] = field(default_factory=set)  # under which it was sent


class SuperLinkGrid(HttpGrid):
    """Sends a round's messages to real nodes and returns what comes within its deadline.

    A node that loses its connection in the middle of a round has `rejoin_s` to come back and is then asked again, as is one
    whose process was started anew: it answers the same round with the same bytes. A reply that comes after its round is
    cleared away and never taken for another round's.

    Args:
        superlink: Runs already.
        app_name: Name of the run, for Flower's own tools.
        round_deadline_s: Seconds that a round waits for replies; None waits for all.
        rejoin_s: Seconds that a node may be gone, counted from when it is found gone, which takes Flower a minute.
        on_reply: Called with the node's id after each answer, for progress bars.
    Raises: GridLost, SuperLinkFailed.
    """

    def __init__(
        self,
        superlink: SuperLink,
        *,
        app_name: str = "fairshare",
        round_deadline_s: float | None = None,
        rejoin_s: float = 30.0,
        on_reply: Callable[[int], None] = lambda node_id: None,
    ) -> None:
        self.superlink, self.app_name = superlink, app_name
        self.round_deadline_s, self.rejoin_s = round_deadline_s, rejoin_s
        self._on_reply = on_reply
        self._orders: list[_Order] = []  # of the round that is on
        self._spool = Spool()  # of what came in it
        self._late: dict[str, None] = {}  # message ids, oldest first
        self._arrivals = Arrivals(lambda: self._runtime_client)
        self._beating: threading.Thread | None = None
        self._closing = threading.Event()
        self._begin()

    # ---- who is there ------------------------------------------------------------------------------------------------

    def get_nodes(self) -> list[NodeInfo]:
        """Nodes that are connected now, as Flower describes them."""
        return list(self._steadily(super().get_nodes))

    def get_node_ids(self) -> list[int]:
        """Ids of the nodes that are connected now, ascending, so that a seed draws the same sample each time."""
        return sorted(node.node_id for node in self.get_nodes())

    def nodes(self) -> list[NodeState]:
        """All registered nodes, connected or not."""
        return self.superlink.nodes()

    def node_keys(self) -> dict[int, bytes]:
        """On-chain node key by node id, of all registered nodes."""
        return {node.node_id: node.node_key for node in self.nodes()}

    # ---- messages ----------------------------------------------------------------------------------------------------

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; returns their ids in order, "" for one that was refused (its node is not registered)."""
        return self._steadily(lambda: self._push(list(messages)))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that are there, each once; one that cannot be read is an error reply of its node."""
        largest = dict.fromkeys(message_ids, _LARGEST_REPLY)
        taken: list[Message] = []
        if largest:
            self._steadily(lambda: taken.extend(self._arrivals.take(self.run.run_id, largest)))
        return taken

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send a round's messages and return one reply for each, in the order of the messages.

        What has not come within `timeout` seconds, or the grid's own deadline where that is shorter, is an error reply that
        says so; so is the reply of a node that went away.
        """
        limits = [limit for limit in (timeout, self.round_deadline_s) if limit is not None]
        end = time.monotonic() + min(limits) if limits else float("inf")
        orders = [
            _Order(message=message, node_id=message.metadata.dst_node_id, largest=_size(message) + _REPLY_SLACK)
            for message in messages
        ]
        self._orders, self._spool = orders, Spool()
        self._send(orders)
        started, looked = time.monotonic(), time.monotonic()
        while (open_orders := [order for order in orders if order.answer is None]) and (now := time.monotonic()) < end:
            came = self._receive(open_orders)
            if now - looked >= _LOOK_S:
                looked = now
                self._look_for_returned(open_orders)
            if not came:
                time.sleep(min(_LAST_POLL_S, max(_FIRST_POLL_S, (now - started) / 50), max(end - now, 0)))
        for order in orders:
            if order.answer is None:
                order.answer = _no_answer(order, time.monotonic() - started)
            self._late.update(dict.fromkeys(order.ids))
        self._orders = []
        while len(self._late) > _MOST_LATE:
            self._late.pop(next(iter(self._late)))
        return [order.answer for order in orders if order.answer is not None]  # as all have by now

    def close(self) -> None:
        """End the run: nodes hear no more of it, and its messages are dropped."""
        self._closing.set()
        if self._beating is not None:
            self._beating.join()
        try:
            self._runtime_client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details=""))
            self.superlink.stop_other_runs()
        except (httpx.HTTPError, FairshareError) as error:
            log.info("the run could not be ended in order (%s); the next start clears it away", error)
        super().close()

    # ---- one round ---------------------------------------------------------------------------------------------------

    def _send(self, orders: Sequence[_Order]) -> None:
        if not orders:
            return
        sent_at = time.time()
        ids = self.push_messages([_copy(order.message) for order in orders])
        for order, message_id in zip(orders, ids, strict=True):
            order.sent_at, order.gone_since = sent_at, None
            if message_id:
                order.ids.add(message_id)
            else:
                order.answer = _refusal(order, "the SuperLink refuses messages for this node, which has left")

    def _receive(self, orders: Sequence[_Order]) -> int:
        """Take what is there; returns how many orders it answered."""
        self._send([order for order in orders if not order.ids and order.gone_since is None])  # of a run that was lost
        by_id = {message_id: order for order in orders for message_id in order.ids}
        largest = {message_id: order.largest for message_id, order in by_id.items()}
        answered, again = 0, list[_Order]()
        try:
            for reply in self._arrivals.take(self.run.run_id, largest, late=self._late):
                order = by_id[reply.metadata.reply_to_message_id]
                order.ids.discard(reply.metadata.reply_to_message_id)
                if order.answer is None:
                    answered += self._note(order, reply, again)
        except httpx.HTTPError as error:
            self._recover(error)
        self._send([order for order in again if order.answer is None])
        return answered

    def _note(self, order: _Order, reply: Message, again: list[_Order]) -> bool:
        """Take a reply to an order; returns whether that settles it, and adds it to `again` if it has to be sent again."""
        if reply.has_content():
            keep_blocks(reply.content, self._spool)
            order.answer = Message(reply.content, reply_to=order.message)
        elif reply.metadata.src_node_id != SUPERLINK_NODE_ID:
            order.answer = _refusal(order, reply.error.reason or "it gave no reason", code=reply.error.code)
        # Said by the SuperLink itself, which speaks of a node in its own name.
        elif reply.error.code == ErrorCode.NODE_UNAVAILABLE:
            order.gone_since = time.monotonic()
            log.warning("node %d went away; it has %.0f s to come back", order.node_id, self.rejoin_s)
        elif reply.error.code in _LOST and order.repeats < _REPEATS:
            order.repeats += 1
            again.append(order)
        else:
            order.answer = _refusal(order, reply.error.reason or "the SuperLink gave no reason", code=reply.error.code)
        if order.answer is not None:
            self._on_reply(order.node_id)
        return order.answer is not None

    def _look_for_returned(self, orders: Sequence[_Order]) -> None:
        """Ask nodes again that connected anew after they were asked, and give up on those that stay away."""
        online = {node.node_id: node for node in self.nodes() if node.online}
        again = []
        for order in orders:
            if order.answer is not None:
                continue
            node = online.get(order.node_id)
            if node is not None and (order.gone_since is not None or (node.activated_at or 0) > order.sent_at):
                again.append(order)
            elif order.gone_since is not None and time.monotonic() - order.gone_since > self.rejoin_s:
                order.answer = _refusal(order, "the node lost its connection in the middle of the round")
                self._on_reply(order.node_id)
        for order in again:
            log.info("node %d is back and is asked again", order.node_id)
        self._send(again)

    def _push(self, messages: list[Message]) -> list[str]:
        for message in messages:
            # Made before the run was, or for one that was lost.
            message.metadata.__dict__.update(_run_id=self.run.run_id, _src_node_id=SUPERLINK_NODE_ID)
        return [message_id or "" for message_id in super().push_messages(messages)]

    # ---- the run -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start a run, take its task, and keep it alive."""
        if left := self.superlink.stop_other_runs():
            log.info("stopped %d runs that an earlier coordinator left behind", len(left))
        run_id = self.superlink.start_run(self.app_name)
        super().__init__(self.superlink.address, False, self.superlink.ca, token=self._acquire(run_id))
        self._retry_invoker = None  # type: ignore[assignment]  # Flower's own ends the process when a token is refused
        self._connect()
        direct(self._runtime_client, self.superlink.ca)
        answer = self._runtime_client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = answer.task_id, answer.run.run_id
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self.set_run(run_from_proto(answer.run))
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, name="grid-heartbeat", daemon=True)
            self._beating.start()

    def _acquire(self, run_id: int) -> str:
        method = "/flwr.proto.Runtime/AcquireTask"
        client = RuntimeHttpClient.from_server_address(
            self.superlink.address,
            False,
            self.superlink.ca,
            [
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(
                    master_secret=self.superlink.secret, protected_methods=frozenset({method})
                ),
            ],
        )
        with direct(client, self.superlink.ca):
            request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
            for wait in patient_waits(_PATIENCE_S):
                answer = client.AcquireTask(request)
                if answer.token and answer.task.run_id == run_id:
                    return answer.token
                time.sleep(wait)
        raise GridLost(waited_s=_PATIENCE_S, reason="the run's own task did not come")

    def _beat(self) -> None:
        while not self._closing.wait(_HEARTBEAT_S):
            if (client := self._client) is None:  # between two runs
                continue
            try:
                client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except Exception as error:  # a missed beat is not the end; the round's own calls find out what is
                log.debug("no heartbeat: %s", error)

    def _steadily(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask until there is an answer, through a restart of the SuperLink and with a new run if ours was lost."""
        for _ in range(_RECOVERIES):
            try:
                return ask()
            except httpx.HTTPError as error:
                last = error
                self._recover(error)
        raise GridLost(waited_s=0, reason=_shown(last)) from last

    def _recover(self, error: httpx.HTTPError) -> None:
        """Return when the SuperLink answers again, with a new run if it gave ours up. Raises: GridLost, SuperLinkFailed."""
        if not _passing(error):
            raise GridLost(waited_s=0, reason=_shown(error)) from error
        log.warning("the SuperLink does not answer (%s); waiting for it", _shown(error))
        for wait in patient_waits(_PATIENCE_S):
            time.sleep(wait)
            self.superlink.wait_until_ready()
            try:
                self._runtime_client.GetNodes(GetNodesRequest())
                return
            except httpx.HTTPStatusError as again:
                if again.response.status_code in _TASK_UNKNOWN:
                    log.warning("the SuperLink gave our run up; starting another one and asking again")
                    super().close()
                    for order in self._orders:
                        order.ids.clear()
                    self._late.clear()
                    self._arrivals.clear()
                    self._begin()
                    return
            except httpx.TransportError:
                pass
        raise GridLost(waited_s=_PATIENCE_S, reason=_shown(error)) from error


class GridOptions(TypedDict, total=False):
    """Those of `SuperLinkGrid`."""

    app_name: str
    round_deadline_s: float | None
    rejoin_s: float
    on_reply: Callable[[int], None]


@contextmanager
def open_grid(superlink: SuperLink, **options: Unpack[GridOptions]) -> Iterator[SuperLinkGrid]:
    """A grid over a running SuperLink, closed at the end; options as those of `SuperLinkGrid`."""
    grid = SuperLinkGrid(superlink, **options)
    try:
        yield grid
    finally:
        grid.close()


def _passing(error: httpx.HTTPError) -> bool:
    """Whether it can be waited out."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (*_TASK_UNKNOWN, 500, 502, 503, 504)
    return isinstance(error, httpx.TransportError)


def _shown(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}: {error.response.text[:200]}"
    return type(error).__name__


def _copy(message: Message) -> Message:
    # Sent as a message of its own each time: Flower's id of a message is a hash with the time in it.
    # It is a secret of node and SuperLink as well, which lets whoever knows it say that the message was received.
    told = message.metadata
    ttl = told.ttl - secrets.randbelow(1 << 32) / (1 << 32)
    return Message(message.content, told.dst_node_id, told.message_type, ttl=ttl, group_id=told.group_id)


def _size(message: Message) -> int:
    """Bytes of a message's arrays."""
    if not message.has_content():
        return 0
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def _refusal(order: _Order, reason: str, *, code: int = ErrorCode.NODE_UNAVAILABLE) -> Message:
    """An error reply in the name of the node that was asked."""
    return Message(Error(code=code, reason=reason), reply_to=order.message)


def _no_answer(order: _Order, waited_s: float) -> Message:
    return _refusal(order, f"no answer within {waited_s:.0f} s")
