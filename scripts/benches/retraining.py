"""Pay over a whole task against what each client's data is worth to it: exact Shapley of retraining, every coalition from the start.

A coalition's worth is minus the test loss of the model that it trains alone: by plain federated averaging, or with `trained=protocol`
by the task's own rules, public step and all. `rank`: who is absent leaves its weight empty, as in the game that is paid.
`rank_renormalised`: weights are rescaled among those present, as in most published work. Both are Spearman's correlation of pay with that
value, means over splits and seeds, for the rule that pays and for the rules beside it on the same rounds (`by_rule`), for the direction
with all three rules off, and for the direction in units of log loss. `gradients=` is how many the public step may ask for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from attacks import keep, kept_in
from measurement import report, settings
from numpy.typing import NDArray
from played_task import equal_pots_pay, one_price_pay, play_task
from trained_rounds import digits, federation_of

from fl.scoring.coalition.values import all_coalitions, shapley_values
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import build_scorer
from fl.scoring.scores import rank_correlation
from fl.task.data import Dataset, Federation, PartitionConfig
from fl.task.spec import TaskSpec

CLIENTS = 6
OFF = {"length": "capped", "public_rounds": 0}
TRAINED: dict[str, dict] = {"plain": OFF, "protocol": {}}
BESIDE = {
    "gtg": ("gtg", {}),
    "loo": ("loo", {}),
    "cosine": ("cosine", {}),
    "shapley of rounds": ("shapley", {}),
    "shapley of rounds, renormalised": ("shapley", {"game": "renormalised"}),
}
SPLITS = {
    "Dirichlet 0.5": PartitionConfig(name="dirichlet", clients=CLIENTS, alpha=0.5),
    "Dirichlet 0.2": PartitionConfig(name="dirichlet", clients=CLIENTS, alpha=0.2, min_samples=5),
    "sizes 1:2:3:4:5:6": PartitionConfig(name="sizes", clients=CLIENTS, sizes=[1, 2, 3, 4, 5, 6]),
    "noisy labels": PartitionConfig(name="iid", clients=CLIENTS),
}


def main() -> None:
    """Every split and seed."""
    values = settings(
        {
            "seeds": "3",
            "rounds": "8",
            "trained": "plain",
            "gradients": str(TaskSpec.public_gradients),
            "workers": str(os.cpu_count()),
            "kept": "",
        }
    )
    wanted = [
        (split, seed, int(values["rounds"]), values["trained"], int(values["gradients"]))
        for seed in range(int(values["seeds"]))
        for split in SPLITS
    ]
    found = kept_in(values["kept"])
    jobs = [job for job in wanted if job not in found]
    started = time.perf_counter()
    with ProcessPoolExecutor(int(values["workers"])) as pool:
        for job, ranks in zip(jobs, pool.map(ranks_of, jobs), strict=True):
            found[job] = ranks
            keep(job, ranks, path=values["kept"])
            told = {rule: [round(rank, 2) for rank in pair] for rule, pair in ranks.items()}
            print(f"{job[0]}, seed {job[1]}: {told} {time.perf_counter() - started:.0f} s", file=sys.stderr)
    by_rule = {
        rule: {
            name: round(float(np.mean([found[job][rule][place] for job in wanted])), 3)
            for place, name in enumerate(("rank", "rank_renormalised"))
        }
        for rule in found[wanted[0]]
    }
    report("retraining", {**by_rule["direction"], "by_rule": by_rule})


def ranks_of(job: tuple[str, int, int, str, int]) -> dict[str, tuple[float, float]]:
    """Rule → rank correlation of its pay with the value of retraining, weights held and renormalised."""
    torch.set_num_threads(1)
    split, seed, rounds, trained, gradients = job
    setting = replace(digits(), learning_rate=0.1, steps=20)
    federation, spec = federation_of(setting, SPLITS[split], seed=seed)
    spec = replace(spec, public_gradients=gradients)
    if split == "noisy labels":
        federation = with_noise(federation, seed=seed)
    pays = pays_of(federation, spec, rounds=rounds)
    yardstick = replace(spec, **TRAINED[trained])
    worths = [retrained(federation, yardstick, rounds=rounds, held=held) for held in (True, False)]
    return {rule: tuple(rank_correlation(pay, worth) for worth in worths) for rule, pay in pays.items()}


def pays_of(federation: Federation, spec: TaskSpec, *, rounds: int) -> dict[str, NDArray[np.float64]]:
    """What each client earns by each rule, on the rounds that the protocol plays."""
    played: list[RoundInputs] = []
    own = play_task(federation, spec, rounds=rounds, on_round=played.append)
    off = play_task(federation, replace(spec, **OFF), rounds=rounds)
    pays = {"direction": own.pay(), "direction, rules off": equal_pots_pay(off.scores)}
    pays["direction by log loss"] = one_price_pay(
        [row * per_log_loss(inputs) for row, inputs in zip(own.scores, played, strict=True)]
    )
    for label, (name, arguments) in BESIDE.items():
        scorer = build_scorer(name, arguments)
        rows = [scorer.score(inputs, rng=np.random.default_rng(0)).values for inputs in played]
        pays[label] = one_price_pay(rows)
    return pays


def per_log_loss(inputs: RoundInputs) -> float:
    """What one of a round's loss is worth in log loss."""
    before, after = (
        inputs.game.evaluate(model.astype(np.float32)).loss for model in (inputs.base, inputs.base + inputs.step())
    )
    return float((np.log(before) - np.log(after)) / (before - after)) if before != after else 1 / before


def retrained(federation: Federation, spec: TaskSpec, *, rounds: int, held: bool) -> NDArray[np.float64]:
    """Exact Shapley value of each client in the game of retraining, shape (N,)."""
    table = np.zeros(1 << CLIENTS)
    for number, mask in enumerate(all_coalitions(CLIENTS)):
        table[number] = -test_loss(federation, spec, rounds=rounds, members=np.flatnonzero(mask).tolist(), held=held)
    return shapley_values(table)


def test_loss(federation: Federation, spec: TaskSpec, *, rounds: int, members: Sequence[int], held: bool) -> float:
    """Of the model that some clients train."""
    return play_task(federation, spec, rounds=rounds, present=members, held=held).losses[-1]


def with_noise(federation: Federation, *, seed: int) -> Federation:
    """Client k has k tenths of its labels drawn at random."""
    shards = []
    for number, shard in enumerate(federation.shards):
        rng = np.random.default_rng([seed, number])
        labels = shard.data.labels.copy()
        drawn = rng.permutation(len(labels))[: len(labels) * number // 10]
        labels[drawn] = rng.integers(0, federation.num_classes, len(drawn))
        shards.append(replace(shard, data=Dataset(features=shard.data.features, labels=labels)))
    return replace(federation, shards=tuple(shards))


if __name__ == "__main__":
    main()
