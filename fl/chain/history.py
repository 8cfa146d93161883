"""A task's history: every event that the contract emitted about it, as flat rows, one table for each kind of event.

What the tables and columns are follows from the contract's ABI, so an event that is added to the contract is exported too.
Not among them is `Withdrawn`: a credit is kept for each token and account, whatever task it came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from web3 import Web3

from fl.chain.task_log import TaskLog, event_kinds, key_of

# What every table begins with, and the columns' types in the ABI's terms; `time` is the block's, seconds.
COMMON = {"block": "uint64", "time": "time", "transaction": "bytes32", "log_index": "uint32"}


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
    kinds = event_kinds()
    tables = {
        abi["name"]: EventTable(name=_snake(abi["name"]), columns={**COMMON, **_columns(abi)})
        for abi in kinds.values()
        if key_of(abi)
    }
    inputs = {abi["name"]: abi["inputs"] for abi in kinds.values()}
    times: dict[int, int] = {}
    for event in TaskLog(w3, contract, task_id, from_block=from_block).logs():
        number = event["blockNumber"]
        if number not in times:
            times[number] = w3.eth.get_block(number)["timestamp"]
        row = {
            "block": number,
            "time": times[number],
            "transaction": event["transactionHash"].to_0x_hex(),
            "log_index": event["logIndex"],
        }
        tables[event["event"]].rows.append(row | _values(inputs[event["event"]], event["args"]))
    return list(tables.values())


# ---- as flat columns -------------------------------------------------------------------------------------------------


def _columns(abi: Mapping[str, Any]) -> dict[str, str]:
    return {name: kind for name, kind, _ in _flat(abi["inputs"])}


def _flat(inputs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(column, ABI type, way to the value): the fields of a struct become columns that begin with its name."""
    for given in inputs:
        if given["type"] == "tuple":
            for name, kind, way in _flat(given["components"]):
                yield f"{_snake(given['name'])}_{name}", kind, (given["name"], *way)
        else:
            yield _snake(given["name"]), given["type"], (given["name"],)


def _values(inputs: Sequence[Mapping[str, Any]], args: Any) -> dict[str, Any]:
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
        return json.dumps([_plain(entry) for entry in value])
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
