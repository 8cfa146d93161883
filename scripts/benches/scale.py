"""A round of a thousand LeNet clients on the coordinator: seconds, and the peak of this process's memory.

Updates lie in files, as they came off the wire; each pass reads one at a time. Pass one makes the step, the direction is three
gradients on 1,000 images, pass two scores in integers; then balances, payouts and the tree. `tree_10k_seconds` is the round tree of
10,000 leaves with every proof checked for a hundred of them.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measurement import report, settings
from trained_rounds import mnist

from fl.codec import Blocks
from fl.rewards import (
    WEIGHT_ONE,
    Account,
    Leaf,
    RoundTree,
    cap_q64,
    norm_q64,
    score,
    settle_round,
    verify_leaf,
    weights_q32,
)
from fl.scoring.direction import direction, weighted_step
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import StoredUpdates
from fl.task.data import PartitionConfig, load_federation
from fl.task.model_vector import vector_of
from fl.task.models import LeNet


def main() -> None:
    """Write the updates, then settle the round from disk."""
    values = settings({"data.path": "../shared/data/mnist10k", "clients": "1000"})
    torch.set_num_threads(1)
    clients = int(values["clients"])
    validation = load_federation(
        mnist(values["data.path"]).data, PartitionConfig(name="iid", clients=1), seed=0
    ).validation
    model = LeNet((1, 28, 28), 10)
    base = vector_of(model)
    game = ValidationGame(
        model, loss=torch.nn.CrossEntropyLoss(), features=validation.features, labels=validation.labels
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = write_updates(Path(folder), clients=clients, size=len(base))
        started = time.perf_counter()
        parts = settle_from_disk(game, base, StoredUpdates(paths=paths, size=len(base)))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    report(
        "scale",
        {
            "clients": clients,
            "peak_mb": round(peak, 1),
            "seconds": round(seconds, 2),
            "tree_10k_seconds": round(tree_seconds(10_000), 3),
            "parts": {name: round(one, 3) for name, one in parts.items()},
            "values_per_update": len(base),
        },
    )


def write_updates(folder: Path, *, clients: int, size: int) -> list[Path]:
    """Updates of a common direction with noise, written one by one."""
    draw = np.random.default_rng(0)
    common, paths = draw.normal(size=size) * 0.002, []
    for client in range(clients):
        paths.append(folder / f"{client:05d}.blocks")
        paths[-1].write_bytes(Blocks.encode(common + draw.normal(size=size) * 0.002).to_bytes())
    return paths


def settle_from_disk(game: ValidationGame, base: np.ndarray, stored: StoredUpdates) -> dict[str, float]:
    """Everything between the last update and the header; seconds by step."""
    clock, parts = time.perf_counter(), {}

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        parts[name], clock = now - clock, now

    everybody = range(len(stored))
    weights = weights_q32(
        stakes=[10**18] * len(stored), norms=[norm_q64(stored.blocks(one)) for one in everybody], cap=cap_q64("10")
    )
    assert sum(weights) <= WEIGHT_ONE + len(stored)
    lap("weights")
    step = weighted_step(((stored.blocks(one), weights[one]) for one in everybody), size=len(base))
    lap("step")
    blocks = Blocks.encode(direction(game, base=base, step=step))
    lap("direction")
    accounts = {f"0x{one + 1:040x}": Account() for one in everybody}
    scores = {account: score(stored.blocks(one), blocks, weight=weights[one]) for one, account in enumerate(accounts)}
    lap("scores")
    payout = settle_round(accounts, scores=scores, pot=10**20)
    RoundTree(
        [
            Leaf(
                account=account, update_root=bytes(32), weight=weight, score=scores[account],
                balance=payout.accounts[account].balance, cumulative=payout.accounts[account].cumulative,
            )
            for account, weight in zip(accounts, weights, strict=True)
        ]
    )  # fmt: skip
    lap("payout and tree")
    return parts


def tree_seconds(count: int) -> float:
    """The round tree of so many leaves, and a hundred proofs."""
    draw = np.random.default_rng(1)
    leaves = [
        Leaf(
            account=f"0x{int(place) + 1:040x}", update_root=bytes(32), weight=1, score=int(amount), balance=int(amount),
            cumulative=int(amount),
        )
        for place, amount in enumerate(draw.integers(1 << 40, size=count))
    ]  # fmt: skip
    started = time.perf_counter()
    tree = RoundTree(leaves)
    seconds = time.perf_counter() - started
    for index in range(0, count, count // 100):
        assert verify_leaf(
            tree.leaves[index], index=index, count=count, proof=tree.proof(index), root=tree.root,
            entitlement=tree.entitlement, cumulative=tree.cumulative,
        )  # fmt: skip
    return seconds


if __name__ == "__main__":
    main()
