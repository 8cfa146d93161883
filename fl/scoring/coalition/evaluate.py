"""Many models' loss and accuracy on one data set, without moving each of them into a module.

A model is a row of values; the module's parameters are pointed at views of it, pooling is done by strided maxima, batches
are small enough for a core's cache, and workers (threads, each with a module of its own) share the rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.scoring.game import ValidationGame
from fl.task.draws import drawing_alike
from fl.task.objectives import Batch, OutputObjective, rows_in
from fl.task.rows import PAIR

ROWS_BYTES = 64 << 20  # of model vectors held at once
CPU_BATCH = 64  # samples of one pass: LeNet's widest activations then stay within a core's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Standings:
    """How M models do on one data set."""

    losses: NDArray[np.float64]  # mean over samples, shape (M,)
    correct: NDArray[np.int64]  # samples whose largest logit is the label's, shape (M,)


def evaluate(
    game: ValidationGame,
    *,
    base: NDArray[np.float32],
    parts: NDArray[np.float64],
    factors: NDArray[np.float64],
    workers: int = 1,
) -> Standings:
    """Standings of the models base + Σ_k factors[m, k] · parts[k].

    Args:
        game: Model, loss and data.
        base: Shape (P,).
        parts: Shape (N, P).
        factors: Shape (M, N).
        workers: Threads; each takes a share of the models.
    """
    count = len(factors)
    losses, correct = np.zeros(count), np.zeros(count, dtype=np.int64)
    rows_at_once = max(1, ROWS_BYTES // (8 * len(base)))
    seats = [_Seat(game) for _ in range(max(1, min(workers, count)))]
    with ThreadPoolExecutor(len(seats)) as pool:
        for start in range(0, count, rows_at_once):
            # Summed in float64 and rounded once, so that a coalition's model does not depend on the order of its sum.
            rows = (factors[start : start + rows_at_once] @ parts + base).astype(np.float32)
            tensor = torch.from_numpy(rows).to(game.device)

            def work(share: int, tensor: Tensor = tensor, start: int = start) -> None:
                for row in range(share, len(tensor), len(seats)):
                    losses[start + row], correct[start + row] = seats[share].evaluate(tensor[row])

            if len(seats) == 1:
                work(0)
            else:
                list(pool.map(work, range(len(seats))))
    return Standings(losses=losses, correct=correct)


class _Seat:
    """A module of one worker's own."""

    def __init__(self, game: ValidationGame) -> None:
        self.game = game
        model = copy.deepcopy(game.model).eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.model = _with_relus_in_place(model, next(game.batches(2)))
        # A loss of output and target alone means over samples, so once over all of them is the mean of the batches.
        self.plain: tuple[OutputObjective, Tensor] | None = None
        if isinstance(game.objective, OutputObjective) and game.rows.form == PAIR:
            self.plain = game.objective, game.labels.to(game.device)
        self.setters = _setters(self.model, game)
        self.batch = CPU_BATCH if game.device.type == "cpu" else max(game.batch_size, 1024)

    def evaluate(self, vector: Tensor) -> tuple[float, int]:
        """Mean loss and number of right answers of one model's vector."""
        for point in self.setters:
            point(vector)
        if self.plain is not None:
            return self._evaluate_at_once(*self.plain)
        total, right = 0.0, 0
        with torch.inference_mode(), drawing_alike(self.game.device):
            for batch in self.game.batches(self.batch):
                loss, correct = self.game.objective.judge(self.model, batch)
                total += float(loss) * rows_in(batch)
                right += correct or 0
        return total / len(self.game), right

    def _evaluate_at_once(self, objective: OutputObjective, labels: Tensor) -> tuple[float, int]:
        with torch.inference_mode(), drawing_alike(self.game.device):
            logits = torch.cat(
                [self.model(cast(tuple[Tensor, ...], batch)[0]) for batch in self.game.batches(self.batch)]
            )
            return float(objective.mean_of(logits, labels)), objective.right_of(logits, labels) or 0


def _with_relus_in_place(model: nn.Module, batch: Batch) -> nn.Module:
    """Let ReLUs overwrite their input, which saves an array each, where nothing reads that input again."""
    hasty, spoilt = copy.deepcopy(model), copy.deepcopy(model)
    for module in hasty.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    for module in spoilt.modules():
        if isinstance(module, nn.ReLU) and not module.inplace:
            module.register_forward_hook(_spoil_input, with_kwargs=True)
    if not any(isinstance(module, nn.ReLU) for module in model.modules()) or isinstance(batch, dict):
        return model
    with torch.no_grad():
        try:
            expected, *others = (copied(*(part.clone() for part in batch[:-1])) for copied in (model, spoilt, hasty))
            # Whatever the values are: what is read again shows, as it is no number any more.
            unread = all(torch.equal(expected, other) for other in others)
        except (RuntimeError, TypeError):  # a view that may not be written; an output that is no tensor
            return model
    return hasty if unread else model


def _spoil_input(module: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor], made: Tensor) -> None:
    for value in (*given, *named.values()):
        value.fill_(torch.nan)


def _setters(model: nn.Module, game: ValidationGame) -> list[Callable[[Tensor], None]]:
    """For each array of the layout, what points the module at its view of a vector."""
    owners = {}
    for prefix, module in model.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                owners[f"{prefix}.{name}" if prefix else name] = (module, name)
    setters, start = [], 0
    for name, shape in zip(game.layout.names, game.layout.shapes, strict=True):
        stop = start + int(np.prod(shape))
        setters.append(_setter(*owners[name], place=slice(start, stop), shape=shape))
        start = stop
    return setters


def _setter(module: nn.Module, name: str, *, place: slice, shape: tuple[int, ...]) -> Callable[[Tensor], None]:
    parameter = module._parameters.get(name)
    if parameter is not None:

        def point(vector: Tensor) -> None:
            parameter.data = vector[place].view(shape)

    else:

        def point(vector: Tensor) -> None:
            module._buffers[name] = vector[place].view(shape)

    return point
