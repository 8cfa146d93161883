"""The local engine against what else simulates: pfl-research, a plain torch loop, Flower on Ray; and what payment adds.

Rows: MLP (784-64-10) and LeNet on MNIST, logistic regression of 30 columns, 1 and 20 local steps of 32 samples; 100 clients of 80 rows, all
in every round, FedAvg (LeNet with 20 steps: 20 clients). One torch thread a process. Sides take turns, `repeats` times, a few rounds
each; a figure is the median over the repeats of ours ÷ theirs in one repeat, in rounds per second, so that other work on the machine,
which comes and goes, weighs on both. The first round of a side is not counted.

`against_pfl`: one worker against pfl-research's simulation, which has one process too; its users hold the very batches that ours draw.
`against_loop`: one worker against a loop that a person would write: load the base, SGD, add up; `against_loop_workers`: all cores.
`against_ray`: all cores against Flower's own simulation with an actor a core, on mlp_1, one client at a time and vectorised.
`vectorised`: `engine.vectorised=true` against one client at a time, one worker each.
`payment_ms`: what a paid round of mlp_1 takes beyond an unpaid one, a client; the evaluator, who has a machine of its own where
it matters, and the report's own evaluations are left out. `payment_cpu_ms`: the same in processor time of the process, which other
work on the machine moves less.
`clients_10000`: the bench `scale` with 10,000 LeNet clients, in a process of its own.

pfl-research and Flower's simulation are installed into environments under bench/peers on the first run, on top of this one's torch.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import peers_app
import torch
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg
from measurement import ROOT, mnist_folder, report, settings
from peers_app import Row, row_of

from clients.trainer import batches_of
from fl.coordinator.config import EngineConfig, ModelConfig, RunConfig, TaskConfig
from fl.coordinator.engines.local import LocalGrid, workers_for
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.task.data import DataConfig, PartitionConfig
from fl.task.held_arrays import record_of
from fl.task.model_vector import layout_of, vector_of

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / "bench" / "peers"
ROWS = ("mlp_1", "mlp_20", "lenet_1", "lenet_20", "logistic_1", "logistic_20")
SIDES = ("ours", "workers", "loop", "pfl", "vectorised")
PARTS = ("rows", "ray", "payment", "clients")
# About as many rounds of each as take a second or two.
ROUNDS = {"mlp_1": 6, "mlp_20": 2, "lenet_1": 2, "lenet_20": 2, "logistic_1": 10, "logistic_20": 3}


def main() -> None:
    """Take turns, row by row."""
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "rows": ",".join(ROWS),
            "parts": ",".join(PARTS),
            "sides": ",".join(SIDES),
            "repeats": "3",
            "clients": "10000",
        }
    )
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    path, repeats, parts = mnist_folder(values["data.path"]), int(values["repeats"]), values["parts"].split(",")
    result: dict = {"workers": workers_for("auto", threads=1, clients=100)}
    if "rows" in parts:
        sides = values["sides"].split(",")
        seconds = {name: race(name, path, repeats=repeats, wanted=sides) for name in values["rows"].split(",")}
        for key, side, other in (
            ("against_pfl", "ours", "pfl"),
            ("against_loop", "ours", "loop"),
            ("against_loop_workers", "workers", "loop"),
        ):
            if {side, other} <= set(sides):
                result[key] = {name: ratio(taken, side, other) for name, taken in seconds.items()}
        result["vectorised"] = {
            name: ratio(taken, "vectorised", "ours") for name, taken in seconds.items() if "vectorised" in taken
        }
        result["rounds_per_second"] = {
            name: {side: round(1 / statistics.median(each), 2) for side, each in taken.items()}
            for name, taken in seconds.items()
        }
    if "ray" in parts:
        result |= against_ray(path, repeats=repeats)
    if "payment" in parts:
        result |= payment(path, repeats=repeats)
        print({name: result[name] for name in ("payment_ms", "payment_cpu_ms")}, file=sys.stderr)
    if "clients" in parts:
        result["clients_10000"] = many_clients(values["data.path"], clients=int(values["clients"]))
    result["load"] = round(os.getloadavg()[0], 1)
    report("peers", result)


def ratio(seconds: dict[str, list[float]], side: str, other: str) -> float:
    """Median of other ÷ side over the repeats: how many times as many rounds a second."""
    return round(statistics.median(b / a for a, b in zip(seconds[side], seconds[other], strict=True)), 2)


def race(name: str, path: str, *, repeats: int, wanted: Sequence[str]) -> dict[str, list[float]]:
    """Median seconds of a round of each side, for each repeat.

    Args:
        wanted: Names of `SIDES`; LeNet is not vectorised.
    """
    row = row_of(name, clients_of(name), path)
    rounds = ROUNDS[name]
    with ExitStack() as stack:

        def ours(**how: Any) -> Callable[[int], float]:
            return stack.enter_context(Ours(name, path, **how)).run

        sides: dict[str, Callable[[int], float]] = {}
        if "ours" in wanted:
            sides["ours"] = ours(workers=1)
        if "workers" in wanted:
            sides["workers"] = ours(workers=None)
        if "loop" in wanted:
            sides["loop"] = lambda count: loop(row, count)
        if "pfl" in wanted:
            sides["pfl"] = stack.enter_context(Pfl(name, row)).run
        if "vectorised" in wanted and not name.startswith("lenet"):
            sides["vectorised"] = ours(workers=1, together=True)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for side in sides.values():
            side(1)
        for _ in range(repeats):
            for side, run in sides.items():
                taken[side].append(run(rounds))
    print(name, {side: [round(1 / seconds, 2) for seconds in found] for side, found in taken.items()}, file=sys.stderr)
    return taken


def clients_of(name: str) -> int:
    """How many train in a row."""
    return 20 if name == "lenet_20" else 100


class Timed(FedAvg):
    """FedAvg that notes when each round begins."""

    def __init__(self, clients: int) -> None:
        super().__init__(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=clients)
        self.begun: list[float] = []

    def configure_train(self, *arguments: object, **named: object):
        """A round begins."""
        self.begun.append(time.perf_counter())
        return super().configure_train(*arguments, **named)


class Ours:
    """The local engine, unpaid."""

    def __init__(self, name: str, path: str, *, workers: int | None, together: bool = False) -> None:
        self.clients, self.config = clients_of(name), ConfigRecord({"row": name, "path": path})
        self.row = row_of(name, self.clients, path)
        configs = {node + 2: {"partition-id": node, "num-partitions": self.clients} for node in range(self.clients)}
        self.grid = LocalGrid(
            peers_app.app,
            configs,
            workers=workers or workers_for("auto", threads=1, clients=self.clients),
            together=peers_app.answer_together if together else None,
        )

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *error: object) -> None:
        self.grid.close()

    def run(self, rounds: int) -> float:
        """Median seconds of a round."""
        strategy = Timed(self.clients)
        model = self.row.spec.build_model()
        initial = record_of(layout_of(model).unflatten(vector_of(model)), shared=True)
        strategy.start(self.grid, initial, num_rounds=rounds, train_config=self.config)
        ends = [*strategy.begun[1:], time.perf_counter()]
        return statistics.median(end - begin for begin, end in zip(strategy.begun, ends, strict=True))


def loop(row: Row, rounds: int) -> float:
    """Median seconds of a round of the loop that a person would write."""
    spec, model, loss_fn = row.spec, row.spec.build_model(), torch.nn.CrossEntropyLoss()
    data = [(torch.from_numpy(features), torch.from_numpy(labels)) for features, labels in row.shards]
    base = [parameter.detach().clone() for parameter in model.parameters()]
    taken = []
    for number in range(rounds):
        started = time.perf_counter()
        total = [torch.zeros_like(tensor) for tensor in base]
        for client, (x, y) in enumerate(data):
            with torch.no_grad():
                for own, given in zip(model.parameters(), base, strict=True):
                    own.copy_(given)
            optimizer = torch.optim.SGD(model.parameters(), lr=spec.learning_rate)
            seed = row.job(client, number).seed
            for rows in batches_of(len(x), size=spec.batch_size, steps=spec.steps, seed=seed):
                optimizer.zero_grad()
                loss_fn(model(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                for summed, own in zip(total, model.parameters(), strict=True):
                    summed.add_(own, alpha=1 / len(data))
        base = total
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


class Pfl:
    """pfl-research in a process of its own."""

    def __init__(self, name: str, row: Row) -> None:
        python = environment("pfl", ["pfl==0.6.0"])
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "shards.npz"
        spec, orders = row.spec, []
        for number in range(len(row.shards)):
            batches = batches_of(peers_app.ROWS, size=spec.batch_size, steps=spec.steps, seed=row.job(number, 1).seed)
            orders.append(np.concatenate(list(batches)))
        np.savez(
            file,
            features=np.stack([features[rows] for (features, _), rows in zip(row.shards, orders, strict=True)]),
            labels=np.stack([labels[rows] for (_, labels), rows in zip(row.shards, orders, strict=True)]),
        )
        self._process = subprocess.Popen(
            [python, str(HERE / "peers_pfl.py"), str(file), name, str(spec.learning_rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def __enter__(self) -> Pfl:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # it has nothing to put away, and forked workers hold its input open
        self._process.wait()
        self._folder.cleanup()

    def run(self, rounds: int) -> float:
        """Median seconds of a round."""
        self._process.stdin.write(f"{rounds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit("bench: pfl-research's side ended; run scripts/benches/peers_pfl.py by hand to see why")
        return statistics.median(map(float, line.split()))


def against_ray(path: str, *, repeats: int) -> dict:
    """mlp_1 against Flower's simulation, whose workers start anew for each repeat; their first round is not counted."""
    python = environment("ray", ["flwr[simulation]==1.41.0"])
    taken: dict[str, list[float]] = {"workers": [], "vectorised": [], "ray": []}
    with Ours("mlp_1", path, workers=None) as many, Ours("mlp_1", path, workers=None, together=True) as together:
        for runner in (many, together):
            runner.run(1)
        for _ in range(repeats):
            taken["workers"].append(many.run(ROUNDS["mlp_1"]))
            taken["vectorised"].append(together.run(ROUNDS["mlp_1"]))
            done = subprocess.run(
                [python, str(HERE / "peers_ray.py"), path, str(ROUNDS["mlp_1"])],
                env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
                text=True,
            )
            taken["ray"].append(statistics.median(map(float, done.stdout.splitlines()[-1].split())))
    print("ray", {side: [round(1 / seconds, 2) for seconds in found] for side, found in taken.items()}, file=sys.stderr)
    return {"against_ray": ratio(taken, "workers", "ray"), "against_ray_vectorised": ratio(taken, "vectorised", "ray")}


def payment(path: str, *, repeats: int) -> dict:
    """Paid rounds in turn with unpaid ones of the same clients, models and steps, one worker each."""
    clients, left_out = 100, ("evaluating", "reporting", "training", "signing")
    config = RunConfig(
        task=TaskConfig(rounds=2 * repeats + 1, steps=1, learning_rate=0.05),
        model=ModelConfig(path="fl.task.models:MLP"),
        data=DataConfig(name="idx", path=path, validation=1000, test=1000),
        partition=PartitionConfig(name="iid", clients=clients),
        engine=EngineConfig(workers="1"),
    )
    unpaid: list[float] = []
    unpaid_cpu: list[float] = []
    marks: list[tuple[int, str, float]] = []  # round, step that begins, processor time

    def unpaid_round(*_: object) -> None:
        started = time.process_time()
        unpaid.append(ours.run(2))
        unpaid_cpu.append((time.process_time() - started) / 2)

    with Ours("mlp_1", path, workers=1) as ours, tempfile.TemporaryDirectory() as folder:
        ours.run(1)
        watcher = Watcher(
            on_round=unpaid_round, on_phase=lambda number, step: marks.append((number, step, time.process_time()))
        )
        result = run_federation(config, folder=Path(folder), watcher=watcher)
    paid = [
        sum(seconds for name, seconds in round_.seconds.items() if name not in left_out) for round_ in result.rounds
    ]
    extra = [1000 * (with_pay - without) / clients for with_pay, without in zip(paid, unpaid, strict=True)][1:]
    cpu: dict[int, float] = {}
    for (number, step, begun), (_, _, ended) in pairwise(marks):
        if step not in ("evaluating", "reporting"):
            cpu[number] = cpu.get(number, 0.0) + ended - begun
    extra_cpu = [
        1000 * (with_pay - without) / clients for with_pay, without in zip(cpu.values(), unpaid_cpu, strict=True)
    ]
    steps = {
        name: round(1000 * statistics.median(round_.seconds[name] for round_ in result.rounds[1:]) / clients, 2)
        for name in result.rounds[-1].seconds
    }
    return {
        "payment_ms": round(statistics.median(extra), 2),
        "payment_cpu_ms": round(statistics.median(extra_cpu[1:]), 2),
        "payment_steps_ms": steps,
    }


def many_clients(path: str, *, clients: int) -> dict:
    """Seconds of a round on the coordinator and the most memory of its process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "scale.py"), f"clients={clients}", f"data.path={path}"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return {name: told[name] for name in ("seconds", "peak_mb", "evaluator_peak_mb", "evaluator_seconds", "parts")}


def environment(name: str, packages: list[str]) -> str:
    """The interpreter of an environment that has these packages over this one's own; made once."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    wanted = " ".join(packages)
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: installing {wanted} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        site = next((folder / "lib").glob("python*/site-packages"))
        # What is installed here is seen there, so that torch is neither fetched again nor another one.
        paths = [path for path in sys.path if path.endswith("site-packages")]
        (site / "over.pth").write_text("\n".join(paths) + "\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return str(python)


if __name__ == "__main__":
    main()
