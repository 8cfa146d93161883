"""A task's history: every event that the contract emitted about it, as flat rows, one table for each kind of event.

What the tables and columns are follows from the contract's ABI, so an event that is added to the contract is exported too.
Not among them is `Withdrawn`: a credit is kept for each token and account, whatever task it came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_utils.abi import event_abi_to_log_topic
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import LogReceipt

from fl.chain.artifacts import artifact
from fl.chain.errors import ChainError

# What every table begins with, and the columns' types in the ABI's terms; `time` is the block's, seconds.
COMMON = {"block": "uint64", "time": "time", "transaction": "bytes32", "log_index": "uint32"}
_SPAN = 1 << 20  # blocks asked for at once, until a node says that it is too many


class HistoryUnread(ChainError):
    """The node does not hand out the logs of some blocks."""

    def __init__(self, first: int, last: int, reason: str) -> None:
        super().__init__(first, last, reason)
        self.first, self.last, self.reason = first, last, reason

    def __str__(self) -> str:
        return (
            f"the node gives no logs of blocks {self.first} to {self.last} ({self.reason}); use one that keeps the logs of "
            "these blocks, an archive node for example"
        )


@dataclass(frozen=True, kw_only=True)
class EventTable:
    """One kind of event."""

    name: str  # snake case, such as `posted`
    columns: dict[str, str]  # column -> ABI type, arrays and bytes included; the common ones first
    rows: list[dict[str, Any]] = field(default_factory=list)  # int, str, bool, or bytes as 0x hex


def read_history(w3: Web3, contract: str, task_id: bytes, *, from_block: int = 0) -> list[EventTable]:
    """Every event of a task, oldest first, by kind in the ABI's order; a kind that never happened has no rows.

    Args:
        w3: The chain.
        contract: Address of the Fairshare contract.
        task_id: 32 bytes.
        from_block: Where the contract or the task begins; earlier blocks are not looked at.
    Raises: HistoryUnread.
    """
    kinds = {event_abi_to_log_topic(one): one for one in artifact("Fairshare").abi if one["type"] == "event"}
    tables = {
        topic: EventTable(name=_snake(abi["name"]), columns={**COMMON, **_columns(abi)})
        for topic, abi in kinds.items()
        if _key_of(abi)
    }
    decoders = w3.eth.contract(abi=artifact("Fairshare").abi).events
    times: dict[int, int] = {}
    for log in _logs(w3, contract, task_id, kinds, from_block=from_block):
        topic = bytes(log["topics"][0])
        event = decoders[kinds[topic]["name"]]().process_log(log)
        number = log["blockNumber"]
        if number not in times:
            times[number] = w3.eth.get_block(number)["timestamp"]
        row = {
            "block": number,
            "time": times[number],
            "transaction": log["transactionHash"].to_0x_hex(),
            "log_index": log["logIndex"],
        }
        tables[topic].rows.append(row | _values(kinds[topic]["inputs"], event["args"]))
    return list(tables.values())


# ---- which logs are the task's ---------------------------------------------------------------------------------------


def _key_of(abi: dict) -> tuple[str, int] | None:
    """By which indexed input an event belongs to a task, and its place among the topics: taskId, or a challenge's id."""
    indexed = [one["name"] for one in abi["inputs"] if one["indexed"]]
    return next(((name, 1 + indexed.index(name)) for name in ("taskId", "id") if name in indexed), None)


def _logs(
    w3: Web3, contract: str, task_id: bytes, kinds: dict[bytes, dict], *, from_block: int
) -> Iterator[LogReceipt]:
    keys = {topic: key for topic, abi in kinds.items() if (key := _key_of(abi))}
    places = sorted({place for name, place in keys.values() if name == "taskId"})
    last, first, span = w3.eth.block_number, from_block, _SPAN
    challenges: list[bytes] = []
    while first <= last:
        until = min(first + span - 1, last)
        blocks = {"address": contract, "fromBlock": first, "toBlock": until}
        try:
            found: dict[tuple[int, int], LogReceipt] = {}
            for place in places:
                topics = [[topic for topic, key in keys.items() if key == ("taskId", place)]]
                topics += [None] * (place - 1) + [task_id]
                found |= _by_place(w3.eth.get_logs({**blocks, "topics": topics}))
            # Steps of a challenge name the challenge only.
            challenges += [
                bytes(log["topics"][1]) for log in found.values() if "id" in _indexed(kinds[bytes(log["topics"][0])])
            ]
            if challenges:
                topics = [[topic for topic, key in keys.items() if key == ("id", 1)], challenges]
                found |= _by_place(w3.eth.get_logs({**blocks, "topics": topics}))
        except (Web3Exception, ValueError) as error:
            # Public nodes refuse wide ranges, each in words of its own.
            if until == first:
                raise HistoryUnread(first=first, last=until, reason=str(error)) from error
            span = max(1, (until - first + 1) // 4)
            continue
        yield from (found[place] for place in sorted(found))
        first = until + 1


def _by_place(logs: Sequence[LogReceipt]) -> dict[tuple[int, int], LogReceipt]:
    return {(log["blockNumber"], log["logIndex"]): log for log in logs}


def _indexed(abi: dict) -> list[str]:
    return [one["name"] for one in abi["inputs"] if one["indexed"]]


# ---- as flat columns -------------------------------------------------------------------------------------------------


def _columns(abi: dict) -> dict[str, str]:
    return {name: kind for name, kind, _ in _flat(abi["inputs"])}


def _flat(inputs: Sequence[dict]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(column, ABI type, way to the value): the fields of a struct become columns that begin with its name."""
    for one in inputs:
        if one["type"] == "tuple":
            for name, kind, way in _flat(one["components"]):
                yield f"{_snake(one['name'])}_{name}", kind, (one["name"], *way)
        else:
            yield _snake(one["name"]), one["type"], (one["name"],)


def _values(inputs: Sequence[dict], args: Any) -> dict[str, Any]:
    values = {}
    for name, _, way in _flat(inputs):
        value = args
        for step in way:
            value = value[step]
        values[name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return json.dumps([_plain(one) for one in value])
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
