"""Rows made up from public models: a batch whose gradients point where the model went.

Somebody without data knows the models of the last rounds, and so where real data took them. It makes a tiny batch whose gradient at each of
those models is aligned with the step that was made from it, and trains on that batch. Source: gradient matching, Zhao et al. 2021,
"Dataset Condensation with Gradient Matching", arXiv:2006.05929; Zhu et al. 2019, "Deep Leakage from Gradients", arXiv:1906.08935.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.errors import ConfigError
from fl.task.model_vector import layout_of, load_vector
from fl.task.objectives import Objective, objective_of

_ITERATIONS, _RATE = 40, 0.1


def synthetic_rows(
    model: nn.Module,
    *,
    loss: nn.Module | Objective,
    moves: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]],
    feature_shape: tuple[int, ...],
    num_classes: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs of shape (count, *feature_shape) and their labels.

    Args:
        model: A module of the task; its values are overwritten.
        loss: Means over a batch.
        moves: Public models and the steps that were made from them, shape (P,) each.
        count: Rows.
        rng: Draws the inputs to begin with.
    Raises: ConfigError for a task without classes.
    """
    if num_classes < 2:
        raise ConfigError(
            "behaviour synthetic makes up rows of classes, and the labels of this task are numbers; choose another one"
        )
    features = torch.tensor(rng.standard_normal((count, *feature_shape)), dtype=torch.float32, requires_grad=True)
    labels = torch.arange(count) % num_classes
    optimizer = torch.optim.Adam([features], lr=_RATE)
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    layout = layout_of(model)
    targets = [
        (before, _joined(layout.unflatten(step.astype(np.float32)), names)) for before, step in moves if step.any()
    ]
    model.eval()  # no dropout: the gradient is a function of the rows alone
    for _ in range(_ITERATIONS):
        optimizer.zero_grad(set_to_none=True)
        for before, target in targets:
            load_vector(model, before)
            values = [value for name, value in model.named_parameters() if name in names]
            gradients = torch.autograd.grad(
                objective_of(loss).mean(model, (features, labels)), values, create_graph=True
            )
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            # The cosine of gradient and step, which point against each other. Each model's before the next one's values come in.
            (torch.dot(flat, target) / (flat.norm() * target.norm() + 1e-12)).backward(inputs=[features])
        optimizer.step()
    return features.detach().numpy(), labels.numpy()


def _joined(arrays: dict[str, NDArray[np.float32]], names: Sequence[str]) -> torch.Tensor:
    return torch.cat([torch.from_numpy(np.array(arrays[name], copy=True)).reshape(-1) for name in names])
