"""Several clients' training in one go: what `clients.trainer.train` does for each, stacked, for nets of linear layers and ReLU.

Small nets spend their time in Python between the products; ten clients stacked cost about what one does. The same batches, the same steps;
the last bits of sums may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clients.trainer import batches_of, train
from fl.task.data import Dataset
from fl.task.model_vector import load_vector, vector_of
from fl.task.models import MLP, LogisticRegression
from fl.task.spec import TaskSpec


def train_together(
    model: nn.Module, base: NDArray[np.float32], *, data: Sequence[Dataset], spec: TaskSpec, seeds: Sequence[int]
) -> list[NDArray[np.float32]]:
    """The trained vector of each client, shape (P,)."""
    if (
        not isinstance(model, MLP | LogisticRegression)
        or spec.momentum
        or spec.loss != "cross_entropy"
        or len(data) < 2
    ):
        return [
            train(model, base, features=rows.features, labels=rows.labels, spec=spec, seed=seed)[0]
            for rows, seed in zip(data, seeds, strict=True)
        ]
    load_vector(model, base)
    order = [
        list(batches_of(len(rows), size=spec.batch_size, steps=spec.steps, seed=seed))
        for rows, seed in zip(data, seeds, strict=True)
    ]
    inputs = [torch.from_numpy(rows.features).flatten(1) for rows in data]
    labels = [torch.from_numpy(rows.labels) for rows in data]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    stacked = [
        (
            layer.weight.detach().expand(len(data), *layer.weight.shape).clone().requires_grad_(),
            layer.bias.detach().expand(len(data), 1, -1).clone().requires_grad_(),
        )
        for layer in layers
    ]
    values = [value for pair in stacked for value in pair]
    for step in range(spec.steps):
        batch = [chosen[step] for chosen in order]
        hidden = torch.stack([rows[chosen] for rows, chosen in zip(inputs, batch, strict=True)])
        for place, (weight, bias) in enumerate(stacked):
            hidden = torch.baddbmm(bias, hidden if place == 0 else hidden.relu(), weight.transpose(1, 2))
        truth = torch.cat([rows[chosen] for rows, chosen in zip(labels, batch, strict=True)])
        # A sum over clients of means over their batches: each client's gradient is its own.
        loss = nn.functional.cross_entropy(hidden.flatten(0, 1), truth, reduction="sum") / spec.batch_size
        slopes = torch.autograd.grad(loss, values)
        with torch.no_grad():
            torch._foreach_add_(values, slopes, alpha=-spec.learning_rate)
    trained = []
    for client in range(len(data)):
        with torch.no_grad():
            for layer, (weight, bias) in zip(layers, stacked, strict=True):
                layer.weight.copy_(weight[client])
                layer.bias.copy_(bias[client, 0])
        trained.append(vector_of(model))
    return trained
