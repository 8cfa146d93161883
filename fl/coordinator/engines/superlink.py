"""The `superlink` engine of `fl run`: a SuperLink, and a SuperNode with its executor for each client, all on this machine.

What a client runs is what `fl client` runs; only its wallet and its rows come from the run's configuration. Each node is a
module of its own, started by name: nothing in `fl` imports the node.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fl.chain.accounts import PASSWORDS, without_secrets
from fl.chain.json_file import write_json
from fl.chain.node_key import create_node_key
from fl.coordinator.engines.virtual_grid import NodeConfig
from fl.coordinator.superlink.grid import SuperLinkGrid, open_grid
from fl.coordinator.superlink.process import SuperLink, running_superlink
from fl.errors import FairshareError

log = logging.getLogger(__name__)

_NODE = "clients.node.local"
_CONNECT_S = 300.0  # importing Flower and torch in many processes at once takes a while


class NodesMissing(FairshareError):
    """Nodes of the run did not connect."""

    def __init__(self, connected: int, expected: int, words: str) -> None:
        super().__init__(connected, expected, words)
        self.connected, self.expected, self.words = connected, expected, words

    def __str__(self) -> str:
        return (
            f"{self.connected} of {self.expected} nodes connected within {_CONNECT_S:.0f} s; run fewer clients on this "
            f"machine, or see their logs: {self.words}"
        )


class SuperLinkEngine:
    """A running SuperLink for the nodes of one run; made by `open_superlink`."""

    def __init__(self, superlink: SuperLink, *, client_app: str, folder: Path, threads: int, stack: ExitStack) -> None:
        self._superlink, self._client_app, self._folder, self._stack = superlink, client_app, folder, stack
        self._threads = threads
        self._keys: dict[int, bytes] = {}

    def node_key(self, node_id: int) -> bytes:
        """The on-chain key of a node of the run, made when it is first asked for."""
        if node_id not in self._keys:
            self._keys[node_id] = create_node_key(self._at(node_id) / "node_key")
        return self._keys[node_id]

    def __call__(self, node_configs: Mapping[int, NodeConfig], *, on_reply: Callable[[int], None]) -> SuperLinkGrid:
        """Start the nodes and wait until they are connected. Raises: NodesMissing."""
        processes = []
        for node_id, config in node_configs.items():
            self._superlink.register(self.node_key(node_id))
            told = {
                "superlink": self._superlink.address,
                "ca": self._superlink.ca.decode(),
                "app": self._client_app,
                "threads": self._threads,
                "config": config,
            }
            write_json(self._at(node_id) / "node.json", told)
            processes.append(self._stack.enter_context(_process(self._at(node_id))))
        until = time.monotonic() + _CONNECT_S
        while (connected := sum(node.online for node in self._superlink.nodes())) < len(processes):
            if time.monotonic() > until or any(process.poll() is not None for process in processes):
                logs = sorted(str(path) for path in self._folder.glob("*/node.log"))
                raise NodesMissing(connected=connected, expected=len(processes), words=", ".join(logs[:3]))
            time.sleep(0.1)
        return self._stack.enter_context(open_grid(self._superlink, on_reply=on_reply))

    def _at(self, node_id: int) -> Path:
        folder = self._folder / f"node-{node_id}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


@contextmanager
def open_superlink(client_app: str, *, folder: Path, threads: int) -> Iterator[SuperLinkEngine]:
    """Start a SuperLink, for as long as the context lasts, and whatever nodes it is asked for.

    Args:
        client_app: Import path of the ClientApp that every node runs, package.module:app.
        folder: Takes the SuperLink's state, and a folder for each node.
        threads: Torch threads of each node; 0 for torch's own choice.
    """
    with running_superlink(folder / "superlink") as superlink, ExitStack() as stack:
        yield SuperLinkEngine(superlink, client_app=client_app, folder=folder / "nodes", threads=threads, stack=stack)


@contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "node.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _NODE, str(folder)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=without_secrets(but=PASSWORDS),  # it opens the keystore of the client that the run plays
            process_group=0,  # Ctrl-C is ours; nodes are ended after the last round
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
