"""A coordinator's side in this process (contract, SuperLink, gateway), and nodes as `fl client` starts them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from table_rows import SCHEMA
from waiting import DEADLINE_S, wait_for

from fl.chain.invite import Invite
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls
from fl.coordinator.superlink.grid import SuperLinkGrid, open_grid
from fl.coordinator.superlink.node_registry import NodeRegistry
from fl.coordinator.superlink.process import SuperLink, running_superlink
from fl.protocol import RECORD, TrainRequest

# Tests that are killed leave no node behind either.
DIE_WITH_TESTS = partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM) if sys.platform == "linux" else None
FIRST_CLIENT = 5  # index of Anvil's published accounts


@dataclass(kw_only=True)
class NodeProcess:
    """`fl client` in a process of its own."""

    process: subprocess.Popen
    printed: Path

    def said(self) -> str:
        """All that it printed so far."""
        return self.printed.read_text()

    def says(self, text: str, *, deadline_s: float = DEADLINE_S) -> str:
        """Wait for a line that holds `text`; returns the line."""

        def found() -> str | None:
            return next((line for line in self.said().splitlines() if text in line), None)

        return wait_for(found, what=lambda: f"{text!r} in {self.said()!r}", deadline_s=deadline_s)

    def ends(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(timeout=DEADLINE_S)

    def family(self) -> list[int]:
        """Ids of the processes that it started and that are there now."""
        return children_of(self.process.pid)

    def memory_mb(self) -> float:
        """Memory of all its processes (PSS, so that shared pages count once)."""
        return sum(
            int(line.split()[1]) / 1024
            for pid in (self.process.pid, *self.family())
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss:")
        )

    def send(self, number: signal.Signals) -> None:
        """A signal to the node's process alone."""
        os.kill(self.process.pid, number)


def children_of(pid: int) -> list[int]:
    """Ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass(kw_only=True)
class Coordination:
    """A task, its SuperLink and its gateway."""

    world: object
    superlink: SuperLink
    invite: Invite
    invite_path: Path
    folder: Path
    python: str
    environment: dict[str, str]
    started: list[NodeProcess] = field(default_factory=list)

    def shard(self, number: int, *, rows: int = 30) -> Path:
        """A table of the task's schema."""
        path = self.folder / f"shard-{number}.csv"
        rng = np.random.default_rng(number)
        values = rng.normal(size=(rows, 3))
        lines = ["a,b,c,label", *(f"{a:.6f},{b:.6f},{c:.6f},{int(a > 0)}" for a, b, c in values)]
        path.write_text("\n".join(lines) + "\n")
        return path

    def settings(self, number: int) -> dict[str, str]:
        """What the owner of client `number` types."""
        return {
            "invite": str(self.invite_path),
            "data": str(self.shard(number)),
            "anvil": str(FIRST_CLIENT + number),
            "stake": "3",
            "folder": str(self.folder / f"node-{number}"),
            "accept": "true",
        }

    def start(self, number: int, *, variables: dict[str, str] | None = None, **settings: str) -> NodeProcess:
        """Start client `number`; a setting of None is left out."""
        typed = {key: value for key, value in {**self.settings(number), **settings}.items() if value is not None}
        printed = self.folder / f"printed-{len(self.started)}"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [self.python, "-m", "fl.cli.main", "client", *(f"{key}={value}" for key, value in typed.items())],
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1", **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=DIE_WITH_TESTS,  # noqa: PLW1509 (one system call; no lock that a thread could hold)
            )
        node = NodeProcess(process=process, printed=printed)
        self.started.append(node)
        return node

    def fund(self, number: int, tokens: int = 5) -> None:
        """Tokens for the stake."""
        self.world.token.mint(self.world.clients[number].address, tokens * 10**18, account=self.world.sponsor)

    @contextmanager
    def registering(self) -> Iterator[None]:
        """Let in whoever joined, as the coordinator does between rounds."""
        registry, stop = NodeRegistry(self.superlink), threading.Event()

        def follow() -> None:
            while not stop.wait(0.3):
                registry.follow(self.world.task.enrolments().values())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def grid(self, *, nodes: int = 1, **options: object) -> Iterator[SuperLinkGrid]:
        """A grid with so many connected nodes."""
        with open_grid(self.superlink, **options) as grid:
            wait_for(lambda: len(grid.get_node_ids()) >= nodes, what=f"{nodes} nodes connected")
            yield grid

    def question(self, node_id: int, *, base: np.ndarray, round_number: int, **changes: object) -> Message:
        """A train message as the coordinator sends it."""
        arrays = ArrayRecord({"weight": Array(base[:6].reshape(2, 3)), "bias": Array(base[6:])})
        asked = {"task_id": self.world.task.task_id, "round": round_number, **changes}
        content = {
            "arrays": arrays,
            "config": ConfigRecord({"server-round": round_number}),
            RECORD: TrainRequest(**asked).to_record(),
        }
        return Message(RecordDict(content), node_id, "train", group_id=str(round_number))

    def stop_all(self) -> None:
        """Leave no process behind, whatever the test did."""
        for node in self.started:
            family = node.family()
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()
            for pid in family:
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    """A SuperLink for the tests of a module."""
    with running_superlink(tmp_path_factory.mktemp("superlink")) as running:
        yield running


@pytest.fixture(scope="session")
def launcher(python: str, environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Interpreter and environment of a node's process."""
    return python, environment


@pytest.fixture
def new_coordination(
    new_world: Callable, superlink: SuperLink, spec: Callable, tmp_path: Path, launcher: tuple[str, dict[str, str]]
) -> Iterator[Callable[..., Coordination]]:
    """Opens a task of tables behind a gateway; ends every node that a test started."""
    opened: list[Coordination] = []
    gateways = []

    def open_one(**terms: object) -> Coordination:
        task = new_world(
            joining=0,
            spec=spec(schema=json.loads(SCHEMA.to_json()), class_names=("0", "1"), **terms.pop("spec", {})),
            **terms,
        )
        tls = own_tls(tmp_path / "tls", names=[])
        running = running_gateway(
            "127.0.0.1", 0, tls=tls, superlink=superlink, routers=[archive_router(tmp_path, task=task.task)]
        )
        gateway = running.__enter__()
        gateways.append(running)
        invite = task.invite.served_at(
            f"https://127.0.0.1:{gateway.port}", ca=tls.ca, coordinator=task.task.coordinator
        )
        invite.write(tmp_path / "gateway-invite.json")
        coordination = Coordination(
            world=task,
            superlink=superlink,
            invite=invite,
            invite_path=tmp_path / "gateway-invite.json",
            folder=tmp_path,
            python=launcher[0],
            environment=launcher[1],
        )
        opened.append(coordination)
        return coordination

    yield open_one
    for coordination in opened:
        coordination.stop_all()
    for node in superlink.nodes():  # or the next test would meet this one's nodes
        superlink.unregister(node.node_id)
    for gateway in gateways:
        gateway.__exit__(None, None, None)


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Whether a process is there."""
    return is_alive
