"""Local training: a fixed number of steps, counted in steps and not in epochs.

With epochs a small shard takes fewer steps, its update is shorter and lighter, and pay would grow with the square of the
shard. Plain SGD on mini-batches, drawn by a generator of the round's own, so that the same round trains the same way twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.privacy.dpsgd import train_noisily
from clients.workbench import Tools
from fl.codec import ranges
from fl.task.model_vector import layout_of, load_vector
from fl.task.spec import TaskSpec


def train(
    tools: Tools | nn.Module,
    base: NDArray[np.float32],
    *,
    features: NDArray[np.float32],
    labels: NDArray[Any],
    spec: TaskSpec,
    seed: int,
    proximal_mu: float = 0.0,
) -> tuple[NDArray[np.float32], float]:
    """Train from `base` and return the trained vector, shape (P,), and the mean loss over the steps.

    Args:
        tools: Of a workbench, or a module of the task; the module's values are overwritten.
        base: The round's base model.
        features: Inputs of the shard, shape (N, ...), N ≥ 1.
        labels: Targets, shape (N,).
        spec: Steps, batch size, learning rate and loss.
        seed: Draws batches and dropout; of a task with noise on rows the system draws both, and nobody can know them.
        proximal_mu: FedProx's μ; adds μ/2·‖w − base‖² (Li et al. 2020, arXiv:1812.06127).
    """
    tools = Tools(tools, spec) if isinstance(tools, nn.Module) else tools
    tools.begin(base)
    loaded = base if tools.exact else tools.vector()  # what half precision makes of the base
    model, objective = tools.model, tools.loss
    anchors = [parameter.detach().clone() for parameter in tools.trained] if proximal_mu else []
    x, y = _source(features), _source(labels)
    if spec.private.noise == "rows":
        mean = train_noisily(
            tools, lambda rows: (x(rows), y(rows)), count=len(features), spec=spec, proximal_mu=proximal_mu
        )
        return tools.vector(), mean
    total = 0.0
    with tools.draws(seed):
        for rows in batches_of(len(features), size=spec.batch_size, steps=spec.steps, seed=seed):
            tools.forget_gradients()
            for part in _together(rows, most=spec.rows_at_once):
                loss = objective.mean(model, (x(part), y(part)))
                if len(part) < len(rows):  # the mean over the step's rows, whatever a part's share of them
                    loss = loss * (len(part) / len(rows))
                total += float(loss.detach())
                if proximal_mu and part is rows:
                    loss = loss + proximal_mu / 2 * _gap(tools.trained, anchors)
                loss.backward()
            if proximal_mu and 0 < spec.rows_at_once < len(rows):
                (proximal_mu / 2 * _gap(tools.trained, anchors)).backward()
            tools.step()
    made = tools.vector()
    # The difference is the training's alone, not what rounding took from the base.
    return made if tools.exact or np.array_equal(loaded, base) else base + (made - loaded), total / spec.steps


def _together(rows: NDArray[np.int64], *, most: int) -> list[NDArray[np.int64]]:
    """A step's rows in parts of at most so many; 0 leaves them together."""
    if not 0 < most < len(rows):
        return [rows]
    return [rows[part] for part in ranges(len(rows), each=most)]


def _gap(trained: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    gaps = [((parameter - anchor) ** 2).sum() for parameter, anchor in zip(trained, anchors, strict=True)]
    return sum(gaps, torch.zeros(()))


def _source(array: NDArray[Any]) -> Callable[[NDArray[np.int64]], Tensor]:
    """What takes rows of an array into a batch; of one in a file, only they are read."""
    if array.dtype in (np.float32, np.int64) and not isinstance(array, np.memmap):
        whole = torch.from_numpy(array)
        return lambda rows: whole[torch.from_numpy(rows)]
    kind = np.int64 if array.dtype.kind in "iu" else np.float32
    return lambda rows: torch.from_numpy(np.asarray(array[rows], dtype=kind))


def gradient(
    model: nn.Module,
    vector: NDArray[np.float32],
    *,
    features: NDArray[np.float32],
    labels: NDArray[Any],
    spec: TaskSpec,
) -> NDArray[np.float64]:
    """∇loss of a vector on all rows at once, shape (P,). The module's values are overwritten.

    Args:
        model: A module.
        vector: The values to take it at, shape (P,).
        features: Of the rows.
        labels: Of the rows.
        spec: Loss and model.
    """
    load_vector(model, vector)
    model.eval()
    model.zero_grad(set_to_none=True)
    spec.build_loss().mean(model, (torch.from_numpy(features), torch.from_numpy(labels))).backward()
    slopes = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    layout = layout_of(model)
    found = [
        slopes[name].numpy().ravel() if name in slopes else np.zeros(int(np.prod(shape)))
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    ]
    return np.concatenate(found).astype(np.float64)


def batches_of(count: int, *, size: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each step's batch, shape (size,): passes over a shuffled shard, wrapping round.

    Every sample is seen before one is seen again.

    Args:
        count: Rows of the shard.
        size: Of a batch.
        steps: How many batches.
        seed: Of the order.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    while len(order) < size * steps:
        order = np.concatenate([order, rng.permutation(count)])
    for step in range(steps):
        yield order[step * size : (step + 1) * size]
