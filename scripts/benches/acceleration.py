"""The public step as an accelerator: test loss after a task against server optimizers, each tuned over four rates; nothing is tuned here.

FedAvgM, FedAdam and FedYogi are Flower's own, on the same clients, rounds and weights, without a public step; each counts by its best rate
on the test set, which favours them. A ratio is our test loss over the best of theirs: below 1, the public step is ahead. `gradients=` is
how many the public step may ask for.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from attacks import FIELDS, fields_of
from measurement import report, settings
from played_task import play_task
from trained_rounds import federation_of

from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy

RATES = {
    "fedavgm": [{"server_learning_rate": rate, "server_momentum": 0.9} for rate in (0.1, 0.3, 1.0, 3.0)],
    "fedadam": [{"eta": rate, "tau": 1e-3} for rate in (0.003, 0.01, 0.03, 0.1)],
    "fedyogi": [{"eta": rate, "tau": 1e-3} for rate in (0.003, 0.01, 0.03, 0.1)],
}
OURS = "fedavg and the public step"


def main() -> None:
    """Every data set of the bench of attacks that is here."""
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "hospitals": "../shared/data/heart-disease",
            "seeds": "2",
            "mnist.seeds": "1",
            "only": "",
            "gradients": str(TaskSpec.public_gradients),
            "workers": str(os.cpu_count()),
        }
    )
    fields = fields_of(values)
    choices = [
        (OURS, int(values["gradients"])),
        ("plain fedavg", 0),
        *((name, place) for name in RATES for place in range(4)),
    ]
    jobs = [
        (name, seed, *choice) for name, field in fields.items() for seed in range(field.seeds) for choice in choices
    ]
    started = time.perf_counter()
    with ProcessPoolExecutor(int(values["workers"]), initializer=FIELDS.update, initargs=(fields,)) as pool:
        losses = dict(zip(jobs, pool.map(loss_of, jobs), strict=True))
    table: dict[str, dict[str, float]] = {}
    for name, field in fields.items():
        means = {
            choice: float(np.mean([losses[name, seed, *choice] for seed in range(field.seeds)])) for choice in choices
        }
        table[name] = {
            strategy: round(min(loss for choice, loss in means.items() if choice[0] == strategy), 4)
            for strategy in dict.fromkeys(choice[0] for choice in choices)
        }
        print(f"{name}: {table[name]} {time.perf_counter() - started:.0f} s", file=sys.stderr)
    against_best = {name: round(row[OURS] / min(row[strategy] for strategy in RATES), 3) for name, row in table.items()}
    report("acceleration", {"against_best": against_best, "test_loss": table})


def loss_of(job: tuple[str, int, str, int]) -> float:
    """The test loss at the end of one task; infinity where it is no number.

    Args:
        job: Data set, seed, strategy, and the place of its rate; for the public step, how many gradients it may ask for.
    """
    torch.set_num_threads(1)
    name, seed, strategy, place = job
    field = FIELDS[name]
    federation, spec = federation_of(field.setting, field.partition, seed=seed)
    if strategy == OURS:
        return play_task(federation, replace(spec, public_gradients=place), rounds=field.rounds).losses[-1]
    plain = replace(spec, public_rounds=0)
    inner = None if strategy == "plain fedavg" else build_strategy(strategy, RATES[strategy][place])
    loss = play_task(federation, plain, rounds=field.rounds, strategy=inner).losses[-1]
    return loss if np.isfinite(loss) else float("inf")


if __name__ == "__main__":
    main()
