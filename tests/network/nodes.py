"""Real nodes in processes of their own, and what a round sends them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

HERE = Path(__file__).parent


def asking(node_ids: Sequence[int], *, group: str = "1", size: int = 1000) -> list[Message]:
    """A message to each node, as a round of training sends them."""
    weights = {"arrays": ArrayRecord({"w": Array(np.arange(size, dtype=np.float32))})} if size else {}
    return [
        Message(
            RecordDict({**weights, "config": ConfigRecord({"to": str(node_id), "group": group})}),
            dst_node_id=node_id,
            message_type="train",
            group_id=group,
        )
        for node_id in node_ids
    ]


@contextmanager
def light_nodes(address: str, ca: Path, keys: Sequence[Path], **settings: object) -> Iterator[subprocess.Popen]:
    """Light nodes in one process of their own; what they print is read line by line from `stdout`."""
    command = [sys.executable, str(HERE / "light_nodes.py"), address, str(ca), *map(str, keys)]
    process = subprocess.Popen(
        [*command, *(f"{name}={value}" for name, value in settings.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
