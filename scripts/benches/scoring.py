"""The direction's scores against exact Shapley of the same game: how near, how fast, and the properties that sums depend on.

Ten clients, Dirichlet 0.5, three seeds; every round is scored by both. `speedup_vs_exact` divides the usual exact loop (one forward of
the plain model per coalition, in batches of 128 as `ValidationGame` takes them) by the direction rule, both on one thread in turns,
without the confidence pass, whose seconds stand beside it; the loop is timed on `probe` coalitions and scaled. Exact
values themselves are made with `workers` threads.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from measurement import report, settings
from trained_rounds import Setting, digits, federation_of, mnist, trained_rounds

from fl.scoring.coalition.values import all_coalitions
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import build_scorer
from fl.scoring.scores import rank_correlation, relative_l2
from fl.task.data import PartitionConfig
from fl.task.model_vector import load_vector

PARTITION = PartitionConfig(name="dirichlet", clients=10, alpha=0.5)


def main() -> None:
    """Train, score twice, compare."""
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "digits.rounds": "8",
            "mnist.rounds": "5",
            "mnist.seeds": "1",
            "seeds": "3",
            "probe": "128",
            "workers": str(os.cpu_count()),
        }
    )
    torch.set_num_threads(1)
    workers = int(values["workers"])
    small = compare(digits(), rounds=int(values["digits.rounds"]), seeds=int(values["seeds"]), workers=workers)
    large = compare(
        mnist(values["data.path"]),
        rounds=int(values["mnist.rounds"]),
        seeds=int(values["mnist.seeds"]),
        workers=workers,
    )
    rule, loop = side_by_side(large["last"], probe=int(values["probe"]))
    report(
        "scoring",
        {
            "digits_mlp": {
                "median_rel_l2": round(float(np.median(small["errors"])), 5),
                "max_rel_l2": round(max(small["errors"]), 5),
                "min_spearman": round(min(small["ranks"]), 4),
            },
            "mnist_lenet": {
                "median_rel_l2": round(float(np.median(large["errors"])), 5),
                "min_spearman": round(min(large["ranks"]), 4),
                "speedup_vs_exact": round(loop / rule, 1),
                "rel_l2_by_round": [round(error, 4) for error in large["errors"]],
                "direction_seconds": round(rule, 4),
                "loop_seconds": round(loop, 1),
                "confidence_seconds": round(large["confidence"], 4),
                "our_exact_seconds": round(large["exact_seconds"], 2),
            },
            **properties(),
            "quadrature": quadrature(),
        },
    )


def compare(setting: Setting, *, rounds: int, seeds: int, workers: int) -> dict:
    """Errors, rank correlations and seconds over all rounds, and the last round."""
    errors, ranks, seconds, confidence, exact_seconds, last = [], [], [], [], [], None
    for seed in range(seeds):
        federation, spec = federation_of(setting, PARTITION, seed=seed)
        for inputs in trained_rounds(federation, spec, rounds=rounds):
            exact = build_scorer("shapley", {"workers": workers}).score(inputs, rng=np.random.default_rng(0))
            found = build_scorer("direction").score(inputs, rng=np.random.default_rng(0))
            errors.append(relative_l2(found.values, exact.values))
            ranks.append(rank_correlation(found.values, exact.values))
            seconds.append(found.diagnostics["seconds"])
            confidence.append(found.diagnostics["seconds_confidence"])
            exact_seconds.append(exact.diagnostics["seconds"])
            last = inputs
    return {
        "errors": errors, "ranks": ranks, "last": last, "seconds": float(np.median(seconds)),
        "confidence": float(np.median(confidence)), "exact_seconds": float(np.median(exact_seconds)),
    }  # fmt: skip


def side_by_side(inputs: RoundInputs, *, probe: int, turns: int = 5) -> tuple[float, float]:
    """Seconds of the direction rule, and of the usual exact loop: every coalition's model loaded and run.

    They take turns, since other work on the machine slows either, and each counts by its best turn; the loop is timed on `probe`
    coalitions and scaled to all 2^N.
    """
    from fl.task.models import LeNet  # noqa: PLC0415 - with torch's own pooling

    game, parts = inputs.game, inputs.matrix()
    model, loss = LeNet((1, 28, 28), 10).eval(), game.objective.loss
    scorer = build_scorer("direction", {"confidence": False})
    masks = np.array_split(all_coalitions(len(inputs))[:probe], turns)
    rule, loop = [], []
    for turn in range(turns):
        started = time.perf_counter()
        scorer.score(inputs, rng=np.random.default_rng(0))
        scored = time.perf_counter()
        with torch.no_grad():
            for mask in masks[turn]:
                load_vector(model, (inputs.base + parts[mask].sum(axis=0)).astype(np.float32))
                for x, y in game.batches():
                    float(loss(model(x), y))
        rule.append(scored - started)
        loop.append((time.perf_counter() - scored) / len(masks[turn]))
    return min(rule), min(loop) * (1 << len(inputs))


def properties() -> dict[str, float]:
    """What a split, a copy and a zero update earn, with the whole and one honest client at 1; digits, third round.

    `split_ratio`: one client's update sent under two names with half the weight each. `copy_ratio`: another client sends this
    update instead of its own and keeps its weight; what the two then earn over what they earn with twice the weight on one.
    """
    federation, spec = federation_of(digits(), PARTITION, seed=0)
    *_, inputs = trained_rounds(federation, spec, rounds=3)
    renormalised = {"game": "renormalised"}
    updates, weights = list(inputs.updates), inputs.weights

    def score(updates: list, weights: np.ndarray, name: str = "direction", arguments: dict | None = None) -> np.ndarray:
        given = RoundInputs(game=inputs.game, base=inputs.base, updates=updates, weights=weights)
        return build_scorer(name, arguments).score(given, rng=np.random.default_rng(0)).values

    half = weights * np.where(np.arange(10) == 0, 0.5, 1.0)
    split = score([*updates, updates[0]], np.append(half, half[0]))
    copied = [updates[0], updates[0], *updates[2:]]
    merged = np.append(weights[0] + weights[1], weights[2:])
    copy = score(copied, weights)
    doubled = score([updates[0], *updates[2:]], merged)
    zero = score([np.zeros_like(updates[0]), *updates[1:]], weights)
    split_there = score([*updates, updates[0]], np.append(half, half[0]), "shapley", renormalised)
    whole_there = score(updates, weights, "shapley", renormalised)
    return {
        "split_ratio": round(float((split[0] + split[-1]) / score(updates, weights)[0]), 6),
        "copy_ratio": round(float((copy[0] + copy[1]) / doubled[0]), 6),
        "zero_score": float(zero[0]),
        "split_ratio_renormalised_shapley": round(float((split_there[0] + split_there[-1]) / whole_there[0]), 4),
    }


def quadrature() -> dict[str, float]:
    """Relative L2 distance of the scores with so many nodes to those with 33: median over eight rounds on digits."""
    federation, spec = federation_of(digits(), PARTITION, seed=0)
    errors: dict[int, list[float]] = {1: [], 2: [], 3: [], 5: [], 9: []}
    for inputs in trained_rounds(federation, spec, rounds=8):
        found = {
            nodes: build_scorer("direction", {"nodes": nodes, "confidence": False})
            .score(inputs, rng=np.random.default_rng(0))
            .values
            for nodes in (*errors, 33)
        }
        for nodes, found_errors in errors.items():
            found_errors.append(relative_l2(found[nodes], found[33]))
    return {str(nodes): round(float(np.median(found_errors)), 7) for nodes, found_errors in errors.items()}


if __name__ == "__main__":
    main()
