"""Every sampled rule at 64, 112, 256 and 512 evaluations against exact Shapley on stored games, shapiq's estimators beside them.

The games are rounds of ten clients that were really trained: an MLP on digits and LeNet on MNIST. Their 1,024 values are kept under
bench/games/, so that a second run only samples. Median relative L2 error over games and draws. Our rules see the round, so `leverage`
may take its three gradients; shapiq's see the same table of values.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measurement import ROOT, report, settings
from numpy.typing import NDArray
from trained_rounds import Setting, digits, federation_of, mnist, trained_rounds

from fl.scoring.coalition.enumerate import coalition_table
from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.values import shapley_values
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import build_scorer
from fl.scoring.scores import relative_l2
from fl.task.data import PartitionConfig

CLIENTS = 10
BUDGETS = (64, 112, 256, 512)
OURS = {
    "leverage": ("leverage", {}),
    "leverage, no control": ("leverage", {"control": False}),
    "permutation": ("permutation", {"truncation": 0.0}),
    "permutation, truncated": ("permutation", {}),
    "gtg": ("gtg", {}),
}
THEIRS = {
    "shapiq KernelSHAP": ("KernelSHAP", {}),
    "shapiq KernelSHAP, paired": ("KernelSHAP", {"pairing_trick": True}),
    "shapiq kADDSHAP": ("kADDSHAP", {"pairing_trick": True}),
    "shapiq SVARM": ("SVARM", {"pairing_trick": True}),
    "shapiq UnbiasedKernelSHAP": ("UnbiasedKernelSHAP", {"pairing_trick": True}),
    "shapiq PermutationSamplingSV": ("PermutationSamplingSV", {}),
    "shapiq StratifiedSamplingSV": ("StratifiedSamplingSV", {}),
    "shapiq OwenSamplingSV": ("OwenSamplingSV", {}),
}


def main() -> None:
    """Play every game with every estimator."""
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "digits.rounds": "4",
            "mnist.rounds": "4",
            "draws": "10",
            "shapiq": "true",
        }
    )
    torch.set_num_threads(1)
    groups = {
        "digits_mlp": list(games("digits", digits(), int(values["digits.rounds"]))),
        "mnist_lenet": list(games("mnist", mnist(values["data.path"]), int(values["mnist.rounds"]))),
    }
    table: dict[str, dict] = {}
    for group, played in groups.items():
        table[group] = {
            "direction (3 gradients)": {
                "any": round(float(np.median([error_of("direction", {}, game, 0) for game in played])), 5)
            }
        }
        for name, run in estimators(shapiq=values["shapiq"] == "true").items():
            started = time.perf_counter()
            table[group][name] = {
                str(budget): round(
                    float(
                        np.median([run(game, budget, draw) for game in played for draw in range(int(values["draws"]))])
                    ),
                    5,
                )
                for budget in BUDGETS
            }
            print(f"{group} {name} {table[group][name]} {time.perf_counter() - started:.1f} s", file=sys.stderr)
    report("estimators", {"median_rel_l2": table, "games": {key: len(group) for key, group in groups.items()}})


def games(name: str, setting: Setting, rounds: int) -> Iterator[RoundInputs]:
    """Trained rounds with the worth of each of their coalitions, from the store where they are in it."""
    federation, spec = federation_of(setting, PartitionConfig(name="dirichlet", clients=CLIENTS, alpha=0.5), seed=0)
    for number, inputs in enumerate(trained_rounds(federation, spec, rounds=rounds)):
        path = ROOT / "bench" / "games" / f"{name}-{number}.npy"
        yield replace(inputs, table=stored(path, inputs))


def stored(path: Path, inputs: RoundInputs) -> NDArray[np.float64]:
    """The game's table, from its file if the round that trained today is the one that was stored."""
    own = CoalitionGame(inputs)
    ends = own.values([[False] * CLIENTS, [True] * CLIENTS])
    if path.exists():
        table = np.load(path)
        if np.allclose(table[[0, -1]], ends, atol=1e-6):
            return table
    table = coalition_table(own)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    return table


def error_of(name: str, arguments: dict, inputs: RoundInputs, draw: int) -> float:
    """Relative L2 error of one of our rules."""
    found = build_scorer(name, arguments).score(inputs, rng=np.random.default_rng(draw))
    assert found.diagnostics["evaluations"] <= arguments.get("evaluations", 0)
    return relative_l2(found.values, shapley_values(inputs.table))


def estimators(*, shapiq: bool) -> dict[str, Callable[[RoundInputs, int, int], float]]:
    """Name → error of one draw at a budget."""
    found: dict[str, Callable[[RoundInputs, int, int], float]] = {}
    for label, (name, arguments) in OURS.items():

        def ours(inputs: RoundInputs, budget: int, draw: int, name=name, arguments=arguments) -> float:
            return error_of(name, {**arguments, "evaluations": budget}, inputs, draw)

        found[label] = ours
    if not shapiq:
        return found
    import shapiq as package  # noqa: PLC0415 - only this bench needs it: pip install shapiq

    for label, (name, arguments) in THEIRS.items():

        def theirs(inputs: RoundInputs, budget: int, draw: int, name=name, arguments=arguments) -> float:
            powers = 1 << np.arange(CLIENTS)
            estimator = getattr(package.approximator, name)(n=CLIENTS, random_state=draw, **arguments)
            values = estimator.approximate(
                budget, lambda masks: inputs.table[np.atleast_2d(masks).astype(int) @ powers]
            )
            singles = np.array([values[(client,)] for client in range(CLIENTS)])
            return relative_l2(singles, shapley_values(inputs.table))

        found[label] = theirs
    return found


if __name__ == "__main__":
    main()
