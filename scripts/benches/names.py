"""What names that bring in nothing cost a coordinator: each look at who takes part, with so many of them.

All of `count` accounts join a task on an Anvil of this bench, each with a stake. Then it is timed how long a look at the
enrolments takes: `first_seconds` of a coordinator that has just started, `next_seconds` of each look after that (there is one each
second), `newcomer_seconds` of the look after one more has joined, and `registry_seconds` of what follows from a look, with keys
that cannot be registered, as names without a node have. `whole_seconds` is a look that reads everything anew, as all of them did
before events were kept; `growth` is how much less the next one takes.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from eth_account import Account
from measurement import report, settings
from scale import join_all, open_task

from fl.chain.anvil import running_anvil
from fl.chain.artifacts import artifact
from fl.chain.escrow import Escrow
from fl.chain.node_key import flower_public_key
from fl.chain.paid_task import PaidTask
from fl.chain.sender import connect, url_of
from fl.coordinator.superlink.node_registry import NodeRegistry
from fl.task.data.dataset import Dataset
from fl.task.spec import TaskSpec


def main() -> None:
    """Let them join, and look."""
    values = settings({"count": "10000"})
    logging.disable(logging.WARNING)
    count = int(values["count"])
    with tempfile.TemporaryDirectory() as folder, running_anvil(log=Path(folder) / "anvil.log", accounts=20) as url:
        task = open_task(url, spec(), validation())
        accounts = [Account.from_key(((1 << 200) + number).to_bytes(32, "big")) for number in range(count + 1)]
        join_all(url, task, accounts[:count])
        first = seconds(fresh := task_again(task), task.task_id, task.block)
        following = min(seconds(fresh, task.task_id, task.block) for _ in range(5))
        started = time.perf_counter()
        registry = NodeRegistry(SimpleNamespace(nodes=list, register=flower_public_key))  # which refuses what is no key
        enrolments = list(fresh.enrolments(task.task_id, from_block=task.block).values())
        registry.follow(enrolments)
        registry.follow(enrolments)
        followed = (time.perf_counter() - started) / 2
        join_all(url, task, accounts[count:])
        newcomer = seconds(fresh, task.task_id, task.block)
        whole = timed(lambda: all_events(task))
    report(
        "names",
        {
            "names": count,
            "first_seconds": round(first, 3),
            "next_seconds": round(following, 4),
            "newcomer_seconds": round(newcomer, 4),
            "registry_seconds": round(followed, 3),
            "whole_seconds": round(whole, 3),
            "growth": round(whole / following, 1),
        },
    )


def spec() -> TaskSpec:
    """The smallest there is."""
    return TaskSpec(
        model="torch.nn:Linear",
        model_arguments={"in_features": 3, "out_features": 2},
        feature_shape=(3,),
        num_classes=2,
        loss="cross_entropy",
        steps=1,
        batch_size=1,
        learning_rate=0.1,
        norm_cap="10",
    )


def validation() -> Dataset:
    """Four rows."""
    return Dataset(features=np.zeros((4, 3), dtype=np.float32), labels=np.array([0, 1, 0, 1]))


def task_again(task: PaidTask) -> Escrow:
    """The task's contract as a coordinator finds it that has just started."""
    return Escrow(connect(url_of(task.escrow.w3)), task.escrow.address)


def seconds(escrow: Escrow, task_id: bytes, block: int) -> float:
    """Of one look."""
    return timed(lambda: escrow.enrolments(task_id, from_block=block))


def timed(what: Callable[[], object]) -> float:
    """Seconds of a call."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def all_events(task: PaidTask) -> int:
    """Every event of who takes part, read and decoded as web3 does it."""
    contract = task.escrow.w3.eth.contract(address=task.escrow.address, abi=artifact("Fairshare").abi)
    return sum(
        len(contract.events[name].get_logs(from_block=task.block, argument_filters={"taskId": task.task_id}))
        for name in ("Joined", "Left", "Slashed")
    )


if __name__ == "__main__":
    main()
