"""What being paid costs: the share of a round's wall time that signing, checking, scoring, the tree and posting take.

A whole paid federation on Anvil: LeNet on MNIST, 10 clients, Dirichlet 0.5, 200 local steps of 32 samples (one pass over a
tenth of MNIST's 60,000), 3 rounds after one that is not counted (it imports). A round's wall time is from its first message
to its transaction being in a block.

`fraction` is the coordinator's and the clients' part: signing, checking, scoring, the public step, tree and bundle, posting. An evaluator
recomputes the direction on a machine of its own; the local engine runs it in between, and `fraction_with_evaluator` counts
it, on both sides of the division.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measurement import mnist_folder, report, settings

from fl.coordinator.config import EngineConfig, ModelConfig, RunConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.round.clock import PAYING
from fl.coordinator.run import run_federation
from fl.task.data import DataConfig, PartitionConfig

# `collecting` is the clients' work, one after the other in this engine, with their signing inside it.
OWN = tuple(step for step in PAYING if step != "evaluating")


def main() -> None:
    """Run, and report the fraction and its parts."""
    values = settings({"data.path": "../shared/data/mnist10k", "rounds": "4", "steps": "200", "threads": "1"})
    config = RunConfig(
        task=TaskConfig(rounds=int(values["rounds"]), steps=int(values["steps"]), learning_rate=0.05),
        model=ModelConfig(path="fl.task.models:LeNet"),
        data=DataConfig(name="idx", path=mnist_folder(values["data.path"]), validation=1000, test=1000),
        partition=PartitionConfig(name="dirichlet", clients=10, alpha=0.5),
        engine=EngineConfig(threads=int(values["threads"])),
    )
    with tempfile.TemporaryDirectory() as folder:
        result = run_federation(config, folder=Path(folder), watcher=Watcher())
    counted = [round_.seconds for round_ in result.rounds[1:]]
    parts = {name: sum(seconds[name] for seconds in counted) for name in OWN}
    evaluating = sum(seconds["evaluating"] for seconds in counted)
    # The clients sign while the coordinator collects, so signing is inside `collecting` already.
    rest = sum(seconds["collecting"] + seconds["aggregating"] for seconds in counted) - parts["signing"]
    paying = sum(parts.values())
    report(
        "overhead",
        {
            "fraction": round(paying / (rest + paying), 4),
            "fraction_with_evaluator": round((paying + evaluating) / (rest + paying + evaluating), 4),
            "round_seconds": round((rest + paying + evaluating) / len(counted), 3),
            "parts": {name: round(seconds / (rest + paying), 5) for name, seconds in parts.items()},
            "steps": config.task.steps,
            "accuracy": result.tests[-1].accuracy,
        },
    )


if __name__ == "__main__":
    main()
