"""Training whose every step hides each row: DP-SGD (Abadi et al. 2016, "Deep learning with differential privacy", algorithm 1).

A step draws every row with the same chance, by the system's cryptographic source; holds each row's gradient to the clip; and adds
normal noise from that source to their sum. Opacus clips; its own noise comes from torch's generator, whose state a few hundred
values give away, and the package behind its secure mode is not kept any more. So the noise is drawn here, as that of a whole update is.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.workbench import Tools
from fl.privacy.budget import Sampling
from fl.privacy.noise import normal
from fl.privacy.words import stream
from fl.task.objectives import Batch
from fl.task.row_gradients import row_gradients
from fl.task.spec import TaskSpec

_MOST_BYTES = 64 << 20  # of the gradients of rows that are held at once


def train_noisily(
    tools: Tools,
    batch_of: Callable[[NDArray[np.int64]], Batch],
    *,
    count: int,
    spec: TaskSpec,
    proximal_mu: float = 0.0,
) -> float:
    """Take a spec's steps with noise on rows; returns the mean loss of the rows that were drawn, which is for nobody else's eyes.

    Args:
        tools: At the round's base model.
        batch_of: Gives rows by their numbers.
        count: Rows of the shard.
        spec: With noise on rows.
        proximal_mu: FedProx's μ; its pull knows no row, so it is added behind the noise.
    Raises: ConfigError without the extra; UnfitModel for a model whose gradients cannot be parted by rows.
    """
    from opacus.optimizers import DPOptimizer  # noqa: PLC0415 - an extra

    terms, clip = spec.private, float(spec.private.clip)
    rate = Sampling(steps=spec.steps, batch=spec.batch_size, rows=count).rate
    deviation = terms.sigma * clip / spec.batch_size
    anchors = [parameter.detach().clone() for parameter in tools.trained] if proximal_mu else []
    at_once = max(
        1, min(spec.batch_size, _MOST_BYTES // (4 * sum(parameter.numel() for parameter in tools.trained) or 1))
    )

    def add_noise(_: object) -> None:
        for parameter in tools.trained:
            gradient = parameter.grad
            assert gradient is not None  # opacus left the clipped sum over the batch's size there
            noise = torch.from_numpy(normal(parameter.numel())).view_as(parameter)
            parameter.grad = (gradient.double() + deviation * noise).to(parameter.dtype)
        for parameter, anchor in zip(tools.trained, anchors, strict=bool(anchors)):
            assert parameter.grad is not None
            parameter.grad += proximal_mu * (parameter.detach() - anchor)

    total = 0.0
    with row_gradients(tools.model), tools.draws(secrets.randbits(63)):
        # Without noise of its own: see the module's docstring.
        optimizer: Any = DPOptimizer(
            tools.optimizer, noise_multiplier=0.0, max_grad_norm=clip, expected_batch_size=spec.batch_size
        )
        optimizer.attach_step_hook(add_noise)
        for _ in range(spec.steps):
            drawn = drawn_rows(count, rate=rate)
            loss = _clipped_sum(tools, optimizer, batch_of, drawn, at_once=at_once)
            total += loss / max(1, len(drawn))
    return total / spec.steps


def drawn_rows(count: int, *, rate: float) -> NDArray[np.int64]:
    """The rows of one step, ascending: each is in it with the same chance, whoever else is; none, seldom.

    Args:
        count: Rows of the shard.
        rate: The chance.
    """
    words = stream(os.urandom(32), count)
    return np.flatnonzero((words >> np.uint64(11)).astype(np.float64) < rate * float(1 << 53))


def _clipped_sum(
    tools: Tools,
    optimizer: Any,
    batch_of: Callable[[NDArray[np.int64]], Batch],
    drawn: NDArray[np.int64],
    *,
    at_once: int,
) -> float:
    """One step over the rows that were drawn, some at a time; returns the sum of their losses."""
    total = 0.0
    parts = [drawn[start : start + at_once] for start in range(0, len(drawn), at_once)]
    for number, part in enumerate(parts, start=1):
        losses: Tensor = tools.loss(tools.model, batch_of(part))
        losses.sum().backward()
        for (
            parameter
        ) in tools.trained:  # a row whose gradient is not a number counts as none, and fails nobody's training
            gradients: Any = parameter
            torch.nan_to_num_(gradients.grad_sample, nan=0.0, posinf=0.0, neginf=0.0)
        total += float(losses.detach().sum())
        optimizer.signal_skip_step(number < len(parts))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if not parts:  # the noise alone
        for parameter in tools.trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step_hook(optimizer)
        optimizer.original_optimizer.step()
    return total
