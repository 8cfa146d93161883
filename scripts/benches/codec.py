"""What int16 blocks cost in accuracy and save in bytes, against float32 updates on the same seeds.

FedAvg by stake, LeNet on MNIST, 10 clients, Dirichlet 0.5; both variants train from the same weights with the same batches, and
differ only in whether an update goes through the codec. No chain: nothing else is measured.
"""

from __future__ import annotations

import numpy as np
import torch
from measurement import mnist_folder, report, settings

from clients.trainer import train
from fl.codec import Blocks
from fl.scoring.game import ValidationGame
from fl.task.data import DataConfig, Federation, PartitionConfig, load_federation
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec


def main() -> None:
    """Train both ways on three seeds and report the mean difference."""
    values = settings({"data.path": "../shared/data/mnist10k", "rounds": "15", "steps": "40", "seeds": "3"})
    torch.set_num_threads(1)
    data = DataConfig(name="idx", path=mnist_folder(values["data.path"]), validation=1000, test=1000)
    partition = PartitionConfig(name="dirichlet", clients=10, alpha=0.5)
    accuracies = {"float32": [], "blocks": []}
    wire = 0
    for seed in range(int(values["seeds"])):
        federation = load_federation(data, partition, seed=seed)
        spec = TaskSpec(
            model="fl.task.models:LeNet",
            feature_shape=federation.feature_shape,
            num_classes=federation.num_classes,
            steps=int(values["steps"]),
            learning_rate=0.05,
            seed=seed,
        )
        for name, found in accuracies.items():
            accuracy, wire_bytes, plain_bytes = run(spec, federation, int(values["rounds"]), coded=name == "blocks")
            found.append(accuracy)
            wire = wire_bytes / plain_bytes if name == "blocks" else wire
    means = {name: float(np.mean(found)) for name, found in accuracies.items()}
    report(
        "codec",
        {
            "bytes_ratio": round(wire, 4),
            "accuracy_delta": round(abs(means["float32"] - means["blocks"]), 5),
            "accuracy": accuracies,
            "rounds": int(values["rounds"]),
        },
    )


def run(spec: TaskSpec, federation: Federation, rounds: int, *, coded: bool) -> tuple[float, int, int]:
    """Train a federation; returns test accuracy, and bytes of one update as sent and as float32."""
    model = spec.build_model()
    base = vector_of(model)
    weights = np.array([len(shard.data) for shard in federation.shards], dtype=np.float64)
    weights /= weights.sum()
    wire = 0
    for number in range(rounds):
        step = np.zeros(len(base))
        for client, (shard, weight) in enumerate(zip(federation.shards, weights, strict=True)):
            trained, _ = train(
                model,
                base,
                features=shard.data.features,
                labels=shard.data.labels,
                spec=spec,
                seed=int(np.random.SeedSequence([spec.seed, client, number]).generate_state(1)[0]),
            )
            update = trained.astype(np.float64) - base
            if coded:
                blocks = Blocks.encode(update)
                wire = len(blocks.to_bytes())
                update = blocks.decode()
            step += weight * update
        base = (base + step).astype(np.float32)
    test = ValidationGame(
        model, loss=spec.build_loss(), features=federation.test.features, labels=federation.test.labels
    )
    return test.evaluate(base).accuracy, wire, 4 * len(base)


if __name__ == "__main__":
    main()
