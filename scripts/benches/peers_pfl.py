"""pfl-research's side of the peers bench, in an environment of its own: reads the shards, then runs rounds when it is told to.

    python peers_pfl.py SHARDS.npz ROW RATE

Each line of standard input is a number of rounds; each line of standard output, the seconds of one of them.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn


class Trained(nn.Module):
    """The row's model, with the two methods that pfl asks for."""

    def __init__(self, model: str) -> None:
        super().__init__()
        if model == "mlp":
            layers = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)]
        elif model == "logistic":
            layers = [nn.Linear(30, 2)]
        else:
            stages = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            stages += [nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
            layers = [*stages, nn.Linear(784, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
        self.layers = nn.Sequential(*layers)
        self.loss_fn = nn.CrossEntropyLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(x)

    def loss(self, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> torch.Tensor:
        """Of one batch."""
        return self.loss_fn(self(x), y)

    def metrics(self, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> dict:
        """Of one batch."""
        return {"loss": Weighted(float(self.loss(x, y)) * len(y), len(y))}


class Clock(TrainingProcessCallback):
    """Notes when each round ends."""

    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """See pfl."""
        self.ends.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    """Read, then run."""
    torch.set_num_threads(1)
    loaded, name, rate = np.load(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    model_name, _, steps = name.partition("_")
    features, labels = torch.from_numpy(loaded["features"]), torch.from_numpy(loaded["labels"])  # (clients, rows, ...)
    clients = len(features)
    data = {
        number: Dataset(raw_data=[features[number], labels[number]], user_id=str(number)) for number in range(clients)
    }

    def next_user() -> int:
        nonlocal place
        place = (place + 1) % clients
        return place

    place = -1
    federated = FederatedDataset(data.__getitem__, next_user)
    backend = SimulatedBackend(training_data=federated, val_data=None, postprocessors=[])
    torch.manual_seed(0)
    net = Trained(model_name)
    model = PyTorchModel(
        model=net,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
    )
    train = NNTrainHyperParams(
        local_num_epochs=None, local_num_steps=int(steps), local_learning_rate=rate, local_batch_size=32
    )
    for line in sys.stdin:
        rounds, clock = int(line), Clock()
        params = NNAlgorithmParams(
            central_num_iterations=rounds, evaluation_frequency=10**9, train_cohort_size=clients, val_cohort_size=0
        )
        FederatedAveraging().run(
            algorithm_params=params,
            backend=backend,
            model=model,
            model_train_params=train,
            model_eval_params=NNEvalHyperParams(local_batch_size=32),
            callbacks=[clock],
            send_metrics_to_platform=False,
        )
        took = [end - begin for begin, end in zip(clock.ends, clock.ends[1:])]
        print(" ".join(f"{seconds:.6f}" for seconds in took), flush=True)


if __name__ == "__main__":
    main()
