"""Every event of a task, read once: a later look asks for what came since, and for what a reorganisation may have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from eth_abi.exceptions import DecodingError
from eth_typing import ABIEvent
from eth_utils import to_checksum_address
from eth_utils.abi import event_abi_to_log_topic
from web3 import Web3
from web3._utils.events import get_event_data
from web3.exceptions import BlockNotFound, Web3Exception
from web3.types import EventData, LogReceipt

from fl.chain.artifacts import artifact
from fl.chain.errors import UnusableAnswerOfNode
from fl.chain.log_ranges import in_ranges
from fl.chain.sender import url_of

_UNSETTLED = 64  # blocks that are read again at each look: two epochs, after which a chain of stake is final
_BEHIND, _BEHIND_S = 3, 30.0  # blocks that another node of the same service may lack, and for how long


def event_kinds() -> dict[bytes, ABIEvent]:
    """The contract's events by topic, each with its ABI."""
    events = [cast(ABIEvent, abi) for abi in artifact("Fairshare").abi if abi["type"] == "event"]
    return {event_abi_to_log_topic(abi): abi for abi in events}


def key_of(abi: ABIEvent) -> tuple[str, int] | None:
    """By which indexed input an event belongs to a task, and its place among the topics: taskId, or a challenge's id."""
    indexed = [given["name"] for given in abi["inputs"] if given["indexed"]]
    return next(((name, 1 + indexed.index(name)) for name in ("taskId", "id") if name in indexed), None)


class TaskLog:
    """One task's events; may be asked from several threads.

    Args:
        w3: The chain.
        contract: Address of the Fairshare contract.
        task_id: 32 bytes.
        from_block: Where the task or the contract begins.
    """

    def __init__(self, w3: Web3, contract: str, task_id: bytes, *, from_block: int = 0) -> None:
        self._w3, self._task_id, self._from = w3, task_id, from_block
        self._contract = to_checksum_address(contract)
        self._kinds = event_kinds()
        self._keys = {topic: key for topic, abi in self._kinds.items() if (key := key_of(abi))}
        self._places = sorted({place for name, place in self._keys.values() if name == "taskId"})
        self._turn = threading.Lock()
        self._events: dict[tuple[int, int], EventData] = {}
        # Of the logs that are read again at each look: what they were decoded to, by all that they say.
        self._read_again: dict[tuple[object, ...], EventData] = {}
        self._challenges: list[bytes] = []
        self._settled: tuple[int, bytes] | None = None  # a block that is not read again, and its hash
        self._head: tuple[int, bytes] = (-1, b"")
        self._looked_at = float("-inf")
        self.version = 0  # changes whenever the events do

    def events(self, *names: str, **filters: object) -> list[EventData]:
        """The events of these kinds as they are now, in the order of the chain.

        Args:
            names: As the contract names them.
            filters: What an event's arguments have to be.
        Raises: HistoryUnread.
        """
        with self._turn:
            self._look()
            return [
                event
                for event in self._events.values()
                if event["event"] in names and all(event["args"][name] == value for name, value in filters.items())
            ]

    def logs(self) -> list[EventData]:
        """All of them."""
        with self._turn:
            self._look()
            return list(self._events.values())

    def _look(self) -> None:
        head = self._w3.eth.get_block("latest")
        number, block = head["number"], bytes(head["hash"])
        if (number, block) == self._head or self._is_behind(number):
            return
        if self._settled is not None and not self._is_there(*self._settled):
            self._settled, self._events, self._challenges = None, {}, []
        first = self._from if self._settled is None else self._settled[0] + 1
        kept = {place: event for place, event in self._events.items() if place[0] < first}
        # Steps of a challenge name the challenge only.
        self._challenges = [bytes(event["args"]["id"]) for event in kept.values() if event["event"] == "Challenged"]
        found: dict[tuple[int, int], EventData] = {}
        decoded: dict[tuple[object, ...], EventData] = {}
        for logs in in_ranges(self._w3, self._read, first=first, last=number):
            for log in logs:
                said = _all_of(log)
                decoded[said] = self._read_again.get(said) or self._decoded(log)
                found[log["blockNumber"], log["logIndex"]] = decoded[said]
        self._read_again = decoded
        before = {place: event for place, event in self._events.items() if place[0] >= first}
        self._events = kept | {place: found[place] for place in sorted(found)}
        if before != found:
            self.version += 1
        self._head, self._looked_at = (number, block), time.monotonic()
        if number - _UNSETTLED >= first:
            settled = self._w3.eth.get_block(number - _UNSETTLED)
            self._settled = (settled["number"], bytes(settled["hash"]))

    def _is_behind(self, number: int) -> bool:
        """Whether the node that answers now lacks blocks that another one had a moment ago."""
        lacking = self._head[0] - number
        return 0 < lacking <= _BEHIND and time.monotonic() - self._looked_at < _BEHIND_S

    def _is_there(self, number: int, block: bytes) -> bool:
        try:
            return bytes(self._w3.eth.get_block(number)["hash"]) == block
        except BlockNotFound:
            return False

    def _read(self, first: int, until: int) -> list[LogReceipt]:
        def logs(*topics: Any) -> list[LogReceipt]:  # each a topic, some of which one has to be there, or None for any
            came = self._w3.eth.get_logs(
                {"address": self._contract, "fromBlock": first, "toBlock": until, "topics": list(topics)}
            )
            for log in came:
                if not (
                    log["address"] == self._contract
                    and first <= log["blockNumber"] <= until
                    and _fit(log["topics"], topics)
                ):
                    raise self._unusable("a log that was not asked for")
            return list(came)

        found: list[LogReceipt] = []
        for place in self._places:
            kinds = [topic for topic, key in self._keys.items() if key == ("taskId", place)]
            found += logs(kinds, *[None] * (place - 1), self._task_id)
        opened = [bytes(log["topics"][1]) for log in found if self._keys[bytes(log["topics"][0])][1] == 2]
        self._challenges += [challenge for challenge in opened if challenge not in self._challenges]
        if self._challenges:
            steps = [topic for topic, key in self._keys.items() if key == ("id", 1)]
            found += logs(steps, self._challenges)
        return found

    def _decoded(self, log: LogReceipt) -> EventData:
        try:
            return get_event_data(self._w3.codec, self._kinds[bytes(log["topics"][0])], log)
        except (Web3Exception, DecodingError, ValueError, TypeError, OverflowError) as error:
            raise self._unusable(f"a log that is not an event of the contract, {type(error).__name__}") from error

    def _unusable(self, reason: str) -> UnusableAnswerOfNode:
        return UnusableAnswerOfNode(url=url_of(self._w3), method="eth_getLogs", reason=reason)


def _all_of(log: LogReceipt) -> tuple[object, ...]:
    """Everything that an event is decoded from."""
    places = (log["blockNumber"], log["transactionIndex"], log["logIndex"])
    return (*places, log["blockHash"], log["transactionHash"], log["address"], tuple(log["topics"]), log["data"])


def _fit(topics: Sequence[bytes], asked: Sequence[Any]) -> bool:
    """Whether a log's topics are some that were asked for: each a topic, a list of which it is one, or None for any."""
    return len(topics) >= len(asked) and all(
        wanted is None or bytes(topic) in (wanted if isinstance(wanted, list) else [wanted])
        for topic, wanted in zip(topics, asked, strict=False)
    )
