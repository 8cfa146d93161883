"""Rounds per second of the engines, and what an idle node weighs.

`speedup_vs_ray`: the same ClientApp (digits, an MLP, `steps` local steps, one of which sees a client's whole shard), the same
FedAvg over the same 100 clients, all sampled, the same rounds: once in the local engine, once in Flower's own simulation
(`flwr.simulation.run_simulation`), which is given a worker for each core, where the local engine takes one core
(`ray_cpus=2` is Flower's own default: a worker for two cores). Seconds are
from one round's beginning to the next; the first round, in which workers import torch, is left out. The two take turns,
`turns` times. `speedup_with_start` counts all: from the call to its end, with Ray's start and the imports of its workers.

`superlink_round_seconds`: the median round of two nodes in processes of their own, each a SuperNode and its executor, on a
real SuperLink over TLS with node authentication; the app and FedAvg are the same, on halves of the data.

`node_idle_mb`: memory (PSS, so that shared pages count once) of all processes of such a node before its first message, with
all modules that `fl client` imports until then.

Wall time says little on a machine that has other work: `load` is its load average at the end, and `…_cpu_seconds` is the time
that all processes of an engine together computed in a round.
"""

from __future__ import annotations

import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from measurement import ROOT, report, settings
from plain_app import app, dealt

from fl.chain.node_key import create_node_key
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.superlink.grid import open_grid
from fl.coordinator.superlink.process import SuperLink, running_superlink

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A point of time, on two clocks."""

    wall: float = field(default_factory=time.perf_counter)  # seconds
    cpu: float = field(default_factory=lambda: sum(map(cpu_seconds, family(os.getpid()))))  # of all our processes


class Timed(FedAvg):
    """FedAvg that notes when each round begins."""

    def __init__(self) -> None:
        super().__init__(fraction_train=1.0, fraction_evaluate=0.0)
        self.begun: list[Moment] = []

    def configure_train(self, *arguments: object, **named: object):
        """A round begins."""
        self.begun.append(Moment())
        return super().configure_train(*arguments, **named)

    def train(self, grid: Grid, *, clients: int, steps: int, rounds: int) -> list[tuple[float, float]]:
        """All rounds; seconds on the wall and of the processors, of each but the first."""
        self.min_available_nodes = clients
        initial = ArrayRecord(dealt(clients, steps)[1].build_model().state_dict())
        self.start(grid, initial, num_rounds=rounds, train_config=ConfigRecord({"steps": steps}))
        ends = [*self.begun[1:], Moment()]
        return [(end.wall - begin.wall, end.cpu - begin.cpu) for begin, end in zip(self.begun, ends, strict=True)][1:]


def main() -> None:
    """Take turns, then start the nodes."""
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
    values = settings(
        {"clients": "100", "rounds": "10", "steps": "1", "turns": "3", "superlink_rounds": "10", "ray_cpus": "1"}
    )
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    work = {name: int(values[name]) for name in ("clients", "steps", "rounds")}
    local, ray, whole = [], [], {"local": [], "ray": []}
    simulation = partial(in_flowers_simulation, cpus=int(values["ray_cpus"]))
    for _ in range(int(values["turns"])):
        for name, seconds, run in (("local", local, in_this_process), ("ray", ray, simulation)):
            started = time.perf_counter()
            seconds += run(**work)
            whole[name].append(time.perf_counter() - started)
    rounds, idle_mb = on_a_superlink(steps=work["steps"], rounds=int(values["superlink_rounds"]))
    (local_wall, local_cpu), (ray_wall, ray_cpu) = (
        map(statistics.median, zip(*side, strict=True)) for side in (local, ray)
    )
    report(
        "engine",
        {
            "speedup_vs_ray": round(ray_wall / local_wall, 2),
            "superlink_round_seconds": round(statistics.median(wall for wall, _ in rounds), 3),
            "node_idle_mb": round(idle_mb, 1),
            "speedup_with_start": round(statistics.median(whole["ray"]) / statistics.median(whole["local"]), 2),
            "local_round_seconds": round(local_wall, 4),
            "ray_round_seconds": round(ray_wall, 4),
            "local_round_cpu_seconds": round(local_cpu, 3),
            "ray_round_cpu_seconds": round(ray_cpu, 3),
            "superlink_round_cpu_seconds": round(statistics.median(cpu for _, cpu in rounds), 3),
            "load": round(os.getloadavg()[0], 1),
            "ray_cpus": int(values["ray_cpus"]),
            **work,
        },
    )


def in_this_process(*, clients: int, steps: int, rounds: int) -> list[tuple[float, float]]:
    """The local engine."""
    configs = {number + 2: {"partition-id": number, "num-partitions": clients} for number in range(clients)}
    return Timed().train(LocalGrid(app, configs), clients=clients, steps=steps, rounds=rounds)


def in_flowers_simulation(*, clients: int, steps: int, rounds: int, cpus: int) -> list[tuple[float, float]]:
    """Flower's own engine, with a worker for every so many cores."""
    seconds: list[tuple[float, float]] = []
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        seconds.extend(Timed().train(grid, clients=clients, steps=steps, rounds=rounds))

    resources = {"client_resources": {"num_cpus": cpus, "num_gpus": 0.0}}
    run_simulation(server, app, num_supernodes=clients, backend_config=resources)
    return seconds


def on_a_superlink(*, steps: int, rounds: int) -> tuple[list[tuple[float, float]], float]:
    """Seconds of the rounds of two nodes, and the mean memory of one before its first message, in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = [folder / f"node-{number}.pem" for number in range(2)]
        with running_superlink(folder / "coordinator") as superlink:
            for key in keys:
                superlink.register(create_node_key(key))
            with nodes(superlink, keys, folder=folder) as processes:
                while sum(state.online for state in superlink.nodes()) < len(keys):
                    time.sleep(0.2)
                time.sleep(3.0)  # past what a SuperNode does when it has connected
                idle = [sum(map(proportional_mb, family(process.pid))) for process in processes]
                with open_grid(superlink) as grid:
                    return Timed().train(grid, clients=2, steps=steps, rounds=rounds), statistics.mean(idle)


@contextmanager
def nodes(superlink: SuperLink, keys: Sequence[Path], *, folder: Path) -> Iterator[list[subprocess.Popen]]:
    """A process for each key, with what it starts."""
    ca = folder / "ca.pem"
    ca.write_bytes(superlink.ca)
    processes = []
    try:
        for number, key in enumerate(keys):
            own = folder / f"node-{number}"
            own.mkdir()
            command = [sys.executable, str(HERE / "plain_node.py"), superlink.address, str(ca), str(key), str(own)]
            processes.append(
                subprocess.Popen(
                    [*command, str(number), str(len(keys))],
                    env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"},
                    process_group=0,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(timeout=60)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return [pid, *(descendant for child in children for descendant in family(child))]


def cpu_seconds(pid: int) -> float:
    """What a process computed so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def proportional_mb(pid: int) -> float:
    """PSS of one process: its own pages, and its part of those that it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
