"""Exact Shapley of ten clients: 1,024 coalitions of an MLP 784-64-10 on 10,000 samples, and of LeNet on 1,000.

Beside it in the same run, on the same threads: one forward per coalition over all samples at once (`speedup_vs_full_batch`), and the usual
DataLoader loop in batches of 32 (`speedup_vs_loader`); both are timed on `probe` coalitions and scaled to 1,024. LeNet's
`lenet_speedup` is against one full forward per coalition; both take turns on one thread and on `workers`, and each counts by its
best turn, scaled from 8·`probe` coalitions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from measurement import mnist_folder, report, settings
from torch.utils.data import DataLoader, TensorDataset

from fl.scoring.coalition.enumerate import coalition_table
from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.values import all_coalitions
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.model_vector import load_vector, vector_of
from fl.task.models import MLP, LeNet


def main() -> None:
    """Measure both models."""
    values = settings(
        {"data.path": "../shared/data/mnist10k", "workers": str(os.cpu_count()), "probe": "8", "repeats": "3"}
    )
    torch.set_num_threads(1)
    workers, probe, repeats = (int(values[key]) for key in ("workers", "probe", "repeats"))
    x, y = images(values["data.path"])
    accuracy = round_of(MLP((1, 28, 28), 10), x, y)
    fast = {utility: exact_seconds(accuracy, utility, workers, repeats) for utility in ("accuracy", "loss")}
    full = full_batch_seconds(accuracy, probe, workers)
    loader = loader_seconds(accuracy, max(1, probe // 4))
    lenet = round_of(LeNet((1, 28, 28), 10), x[:1000], y[:1000])
    lenet_fast, lenet_full = lenet_seconds(lenet, probe=8 * probe, workers=workers)
    report(
        "exact",
        {
            "seconds": round(fast["accuracy"], 3),
            "seconds_loss": round(fast["loss"], 3),
            "speedup_vs_full_batch": round(full / fast["accuracy"], 1),
            "speedup_vs_loader": round(loader / fast["accuracy"], 1),
            "lenet_speedup": round(lenet_full / lenet_fast, 2),
            "lenet_seconds": round(lenet_fast, 2),
            "full_batch_seconds": round(full, 2),
            "loader_seconds": round(loader, 1),
            "samples": len(y),
            "workers": workers,
        },
    )


def images(path: str) -> tuple[np.ndarray, np.ndarray]:
    """All 10,000 images: what is validated on does not matter for time."""
    data = DataConfig(name="idx", path=mnist_folder(path), validation=1, test=1)
    federation = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0)
    parts = [federation.shards[0].data, federation.validation, federation.test]
    return np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts])


def round_of(model: torch.nn.Module, x: np.ndarray, y: np.ndarray) -> RoundInputs:
    """Ten random updates: the arithmetic is the same as for trained ones."""
    draw = np.random.default_rng(0)
    base = vector_of(model)
    game = ValidationGame(model, loss=torch.nn.CrossEntropyLoss(), features=x, labels=y)
    updates = [0.02 * draw.normal(size=len(base)) for _ in range(10)]
    return RoundInputs(game=game, base=base, updates=updates, weights=np.full(10, 0.1))


def exact_seconds(inputs: RoundInputs, utility: str, workers: int, repeats: int) -> float:
    """All 1,024 coalitions; the best of some runs, after one that compiles."""
    if inputs.game.layout.size < 55_000:
        coalition_table(CoalitionGame(inputs, utility=utility, workers=workers))
    return best(lambda: coalition_table(CoalitionGame(inputs, utility=utility, workers=workers)), repeats)


def lenet_seconds(inputs: RoundInputs, *, probe: int, workers: int, turns: int = 3) -> tuple[float, float]:
    """Seconds of 1,024 coalitions by ours and by one forward each."""
    masks = all_coalitions(len(inputs))[:probe]
    ours, theirs = [], []
    for _ in range(turns):
        for threads in {1, workers}:
            game = CoalitionGame(inputs, workers=threads)
            ours.append(best(lambda game=game: game.values(masks), 1) / probe * 1024)
        theirs.append(full_batch_seconds(inputs, probe // 4, workers))
    return min(ours), min(theirs)


def full_batch_seconds(inputs: RoundInputs, probe: int, workers: int) -> float:
    """One forward of the plain model per coalition, scaled to 1,024; the better of one thread and `workers`."""
    model = (MLP if inputs.game.layout.size < 55_000 else LeNet)((1, 28, 28), 10).eval()
    x, y = inputs.game.features, inputs.game.labels
    found = []
    for threads in {1, workers}:
        torch.set_num_threads(threads)

        def loop() -> None:
            with torch.no_grad():
                for _ in range(probe):
                    load_vector(model, inputs.base)
                    logits = model(x)
                    float(torch.nn.functional.cross_entropy(logits, y))
                    int((logits.argmax(1) == y).sum())

        found.append(best(loop, 3) / probe * 1024)
    torch.set_num_threads(1)
    return min(found)


def loader_seconds(inputs: RoundInputs, probe: int) -> float:
    """The loop of most federated code: a DataLoader over the validation set for every coalition, batches of 32."""
    model = MLP((1, 28, 28), 10).eval()
    loader = DataLoader(TensorDataset(inputs.game.features, inputs.game.labels), batch_size=32)

    def loop() -> None:
        with torch.no_grad():
            for _ in range(probe):
                load_vector(model, inputs.base)
                for x, y in loader:
                    logits = model(x)
                    torch.nn.functional.cross_entropy(logits, y).item()
                    (logits.argmax(1) == y).sum().item()

    return best(loop, 1) / probe * 1024


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
