"""The published hard cases of paying for contributions, on real data, rule by rule.

Each case plays a federation by the protocol (median length, public step) and lets every rule score every round; pay is what `fl.rewards`
makes of the scores (one price for whole scores, a budget spread evenly over the rounds). Shares are means over seeds. `size_error` is the
mean distance between pay share and weight share in points. Cheats have a bench of their own, `attacks`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from measurement import report, settings
from numpy.typing import NDArray
from played_task import one_price_pay, play_task
from trained_rounds import Setting, digits, federation_of, hospitals, mnist, trained_rounds

from fl.codec import Blocks
from fl.scoring.inputs import RoundInputs
from fl.scoring.replication import cosines
from fl.scoring.scorer import Scorer, build_scorer
from fl.task.data import Dataset, Federation, PartitionConfig, Shard

RULES = {
    "direction": ("direction", {"confidence": False}),
    "shapley": ("shapley", {}),
    "shapley renormalised": ("shapley", {"game": "renormalised"}),
    "loo": ("loo", {}),
    "cosine": ("cosine", {}),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One experiment."""

    setting: Setting
    partition: PartitionConfig
    behaviours: dict[int, str] = field(default_factory=dict)
    deal: Callable[[Federation], Federation] = field(default=lambda federation: federation)
    rules: dict = field(default_factory=lambda: RULES)
    rounds: int = 12


def main() -> None:
    """Run the cases that are named, all by default."""
    values = settings(
        {"data.path": "../shared/data/mnist10k", "hospitals": "../shared/data/heart-disease", "seeds": "3", "only": ""}
    )
    torch.set_num_threads(1)
    large = mnist(values["data.path"])
    clinics = hospitals(values["hospitals"])
    sizes = PartitionConfig(name="sizes", clients=6, sizes=[1, 2, 3, 4, 5, 6])
    thirds, whole = PartitionConfig(name="iid", clients=3), PartitionConfig(name="iid", clients=1)
    flipped = {2: "label_flip:0.3"}
    # Slow enough that the last round still learns; what happens where it does not is a case of its own.
    small = replace(digits(), learning_rate=0.1, steps=20)
    cases = {
        "sizes 1:2:3:4:5:6, digits": Case(setting=small, partition=sizes),
        "sizes 1:2:3:4:5:6, digits, after convergence": Case(setting=digits(), partition=sizes),
        "sizes 1:2:3:4:5:6, MNIST": Case(setting=large, partition=sizes, rounds=6),
        "sizes 4:1:1, digits": Case(setting=small, partition=PartitionConfig(name="sizes", clients=3, sizes=[4, 1, 1])),
        "30 % of one's labels flipped, digits": Case(setting=small, partition=thirds, behaviours=flipped),
        "30 % of one's labels flipped, MNIST": Case(setting=large, partition=thirds, behaviours=flipped, rounds=6),
        "40 % of the largest's labels flipped, digits": Case(
            setting=small, partition=PartitionConfig(name="sizes", clients=5, sizes=[2, 1, 1, 1, 1]), behaviours={0: "label_flip:0.4"},
        ),
        "only holder of class 9, digits": Case(setting=small, partition=whole, deal=only_holder),
        "disjoint classes, digits": Case(setting=small, partition=whole, deal=disjoint),
        "disjoint classes, MNIST": Case(setting=large, partition=whole, deal=disjoint, rounds=6),
        "four hospitals": Case(setting=clinics, partition=PartitionConfig(name="natural", clients=0)),
        "four hospitals, va flips 30 %": Case(
            setting=clinics, partition=PartitionConfig(name="natural", clients=0),
            behaviours={3: "label_flip:0.3"},
        ),
    }  # fmt: skip
    found: dict[str, dict] = {}
    for name, case in cases.items():
        if values["only"] in name:
            started = time.perf_counter()
            found[name] = shares_of(case, seeds=int(values["seeds"]))
            print(f"{name}: {found[name]} {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if values["only"] in "two names":
        found["two names"] = two_names(small, seeds=int(values["seeds"]))
    if values["only"] in "cosines":
        found["cosines"] = honest_cosines(large, clinics)
        print(f"cosines: {found['cosines']}", file=sys.stderr)
    report("cases", found)


# ---- cases of a few clients ------------------------------------------------------------------------------------------


def shares_of(case: Case, *, seeds: int) -> dict:
    """Weight share, and pay share by rule, in percent; means over seeds."""
    weights, pays = [], {rule: [] for rule in case.rules}
    for seed in range(seeds):
        federation, spec = federation_of(case.setting, case.partition, seed=seed)
        federation = case.deal(federation)
        rounds: list[RoundInputs] = []
        play_task(federation, spec, rounds=case.rounds, behaviours=case.behaviours, on_round=rounds.append)
        rows = np.array([len(shard.data) for shard in federation.shards], dtype=float)
        weights.append(rows / rows.sum())
        for rule, (name, arguments) in case.rules.items():
            pays[rule].append(pay_shares(rounds, build_scorer(name, arguments)))
    weight = np.mean(weights, axis=0)
    return {
        "weight": _percent(weight),
        **{rule: _percent(np.mean(shares, axis=0)) for rule, shares in pays.items()},
        "size_error": {
            rule: round(float(100 * np.mean(np.abs(np.array(shares) - np.array(weights)))), 2)
            for rule, shares in pays.items()
        },
    }


def pay_shares(rounds: Sequence[RoundInputs], scorer: Scorer) -> NDArray[np.float64]:
    """Each client's share of all that was paid, by the protocol's own arithmetic."""
    earned = one_price_pay([scorer.score(inputs, rng=np.random.default_rng(0)).values for inputs in rounds])
    return earned / earned.sum() if earned.sum() else earned


def regroup(federation: Federation, members: Sequence[NDArray[np.bool_]]) -> Federation:
    """The one shard's rows dealt anew, by flags."""
    data = federation.shards[0].data
    shards = tuple(
        Shard(name=f"client-{place}", data=Dataset(features=data.features[own], labels=data.labels[own]))
        for place, own in enumerate(members)
    )
    return replace(federation, shards=shards)


def only_holder(federation: Federation) -> Federation:
    """Client 0 holds class 9 and nothing else, five others share the rest alike."""
    labels = federation.shards[0].data.labels
    rest = np.cumsum(labels != 9) % 5
    return regroup(federation, [labels == 9, *((labels != 9) & (rest == place) for place in range(5))])


def disjoint(federation: Federation) -> Federation:
    """Five clients of two classes each, no class with two of them."""
    labels = federation.shards[0].data.labels
    return regroup(federation, [labels // 2 == place for place in range(5)])


# ---- one client under two names, and how alike honest updates are ------------------------------------------------------


def two_names(setting: Setting, *, seeds: int) -> dict[str, float]:
    """What a client's pay share becomes, times what it was, if it sends its update under two names with half the stake each.

    Seven clients, Dirichlet 0.5, four rounds; every client in turn splits itself, and shares before sum to one, so the sum of the shares
    after is the mean factor, weighted by share. Under a robust rule names count and stakes do not.
    """
    rules = {
        "direction": {"confidence": False}, "shapley": {}, "median": {}, "trimmed_mean": {}, "bulyan": {"malicious": 1},
    }  # fmt: skip
    factors: dict[str, list[float]] = {name: [] for name in rules}
    for seed in range(seeds):
        federation, spec = federation_of(setting, PartitionConfig(name="dirichlet", clients=7, alpha=0.5), seed=seed)
        rounds = list(trained_rounds(federation, spec, rounds=4))
        for name, arguments in rules.items():
            scorer = build_scorer(name, arguments)
            shares = [pay_shares([split(round_, client) for round_ in rounds], scorer) for client in range(7)]
            factors[name].append(sum(float(after[client] + after[-1]) for client, after in enumerate(shares)))
    return {name: round(float(np.mean(found)), 3) for name, found in factors.items()}


def split(inputs: RoundInputs, client: int) -> RoundInputs:
    """The round with one client under two names, the second of them last."""
    weights = inputs.weights * np.where(np.arange(len(inputs)) == client, 0.5, 1.0)
    updates = [*inputs.updates, inputs.updates[client]]
    clips = None if inputs.clips is None else np.append(inputs.clips, inputs.clips[client])
    return replace(inputs, updates=updates, weights=np.append(weights, weights[client]), clips=clips)


def honest_cosines(large: Setting, hospitals: Setting) -> dict:
    """Cosines between clients' updates: of honest ones, and of two who train on the same shard with other batches."""
    found: dict[str, dict] = {}
    ten = PartitionConfig(name="iid", clients=10)
    for name, setting, partition, rounds in (
        ("digits, 10 IID", digits(), ten, 8),
        ("digits, 10 Dirichlet 0.5", digits(), replace(ten, name="dirichlet"), 8),
        ("digits, softmax regression, 10 IID", replace(digits(), model="fl.task.models:LogisticRegression"), ten, 8),
        ("MNIST LeNet, 10 IID", large, ten, 4),
        ("four hospitals", hospitals, PartitionConfig(name="natural", clients=0), 8),
    ):
        federation, spec = federation_of(setting, partition, seed=0)
        federation = replace(
            federation, shards=(*federation.shards, federation.shards[0])
        )  # the last one has the first one's data
        apart, same = [], []
        for inputs in trained_rounds(federation, spec, rounds=rounds):
            matrix = cosines([Blocks.encode(np.asarray(update)) for update in inputs.updates])
            honest = matrix[:-1, :-1]
            apart += honest[np.triu_indices(len(honest), 1)].tolist()
            same.append(float(matrix[0, -1]))
        found[name] = {
            "honest_median": round(float(np.median(apart)), 4),
            "honest_max": round(max(apart), 4),
            "same_data_median": round(float(np.median(same)), 4),
            "honest_pairs_grouped": {
                threshold: round(float(np.mean(np.array(apart) >= float(threshold))), 4)
                for threshold in ("0.9", "0.95", "0.98", "0.99", "0.995", "0.999")
            },
        }
    return found


def _percent(shares: NDArray[np.float64]) -> list[float]:
    return [round(100 * float(share), 1) for share in shares]


if __name__ == "__main__":
    main()
