"""Local training: a fixed number of steps, counted in steps and not in epochs.

With epochs a small shard takes fewer steps, its update is shorter and lighter, and pay would grow with the square of the
shard. Plain SGD on mini-batches, drawn by a generator of the round's own, so that the same round trains the same way twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.task.model_vector import layout_of, load_vector, vector_of
from fl.task.spec import TaskSpec


def train(
    model: nn.Module,
    base: NDArray[np.float32],
    *,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    spec: TaskSpec,
    seed: int,
    proximal_mu: float = 0.0,
) -> tuple[NDArray[np.float32], float]:
    """Train from `base` and return the trained vector, shape (P,), and the mean loss over the steps.

    Args:
        model: A module of the task; its values are overwritten.
        base: The round's base model.
        features: Inputs of the shard, shape (N, ...), N ≥ 1.
        labels: Targets, shape (N,).
        spec: Steps, batch size, learning rate and loss.
        seed: Draws batches and dropout.
        proximal_mu: FedProx's μ; adds μ/2·‖w − base‖² (Li et al. 2020, arXiv:1812.06127).
    """
    load_vector(model, base)
    model.train()
    loss_fn = spec.build_loss()
    optimizer = torch.optim.SGD(
        [one for one in model.parameters() if one.requires_grad], lr=spec.learning_rate, momentum=spec.momentum
    )
    anchors = [one.detach().clone() for one in model.parameters()] if proximal_mu else []
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    rng = np.random.default_rng(seed)
    total = 0.0
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global state, which is not ours to move
        torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds four kinds of device, in 2 ms
        for batch in batches(len(x), size=spec.batch_size, steps=spec.steps, rng=rng):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(model(x[batch]), y[batch])
            total += float(loss.detach())
            if proximal_mu:
                gaps = (((one - anchor) ** 2).sum() for one, anchor in zip(model.parameters(), anchors, strict=True))
                loss = loss + proximal_mu / 2 * sum(gaps)
            loss.backward()
            optimizer.step()
    return vector_of(model), total / spec.steps


def gradient(
    model: nn.Module, vector: NDArray[np.float32], *, features: NDArray[np.float32], labels: NDArray, spec: TaskSpec
) -> NDArray[np.float64]:
    """∇loss of a vector on all rows at once, shape (P,); 0 at buffers. The module's values are overwritten."""
    load_vector(model, vector)
    model.eval()
    model.zero_grad(set_to_none=True)
    spec.build_loss()(model(torch.from_numpy(features)), torch.from_numpy(labels)).backward()
    slopes = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    layout = layout_of(model)
    found = [
        slopes[name].numpy().ravel() if name in slopes else np.zeros(int(np.prod(shape)))
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    ]
    return np.concatenate(found).astype(np.float64)


def batches(count: int, *, size: int, steps: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Row numbers of each step's batch: passes over a shuffled shard, so that every sample is seen before one is seen again."""
    order = rng.permutation(count)
    while len(order) < size * steps:
        order = np.concatenate([order, rng.permutation(count)])
    for step in range(steps):
        yield torch.from_numpy(order[step * size : (step + 1) * size])
