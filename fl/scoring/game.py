"""A round's game: the loss on the committed validation set, as a function of the model's vector."""

from __future__ import annotations

import copy
import ctypes
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.codec import Vector
from fl.scoring.passes import each, threads_for
from fl.scoring.pooling import with_strided_pools
from fl.task.draws import drawing_alike
from fl.task.model_vector import batch_norms, copied, layout_of, load_buffers, load_vector, statistics_of
from fl.task.objectives import Batch, Objective, objective_of, perplexity, rows_in
from fl.task.rows import Rows


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on a data set."""

    loss: float  # mean over samples
    accuracy: float | None = None  # share of samples that are right, in [0, 1]; None where nothing is right or wrong
    perplexity: float | None = None  # of a language model


class ValidationGame:
    """Loss, gradient and accuracy of a model's vector on one data set.

    The model is copied but for what is frozen, kept in evaluation mode (dropout off, batch statistics frozen) and never trained. Memory is
    that of one batch, whatever the size of the set. What a model draws in its forward pass it draws from the same seed each time,
    and the generators are put back.

    Args:
        model: Any module; its parameters that require a gradient are the vector.
        loss: A loss module that means over the samples of a batch, loss(model(x), y); a function loss(model, batch) of one
            loss a row; or an `Objective`.
        features: Inputs, shape (N, ...).
        labels: Targets, shape (N, ...).
        rows: The same and anything else, instead of features and labels.
        batch_size: Samples of one pass; None for 128, which keeps LeNet's activations in a core's cache (a third faster than all 1,000
            at once), or of text so many as have 1,024 tokens, 128 of a model beyond 16 million parameters.
        device: Where to compute; CUDA if it is there by default. Model, loss, inputs and targets may be on any other: a batch is
            moved when its turn comes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: nn.Module | Callable[[nn.Module, Batch], Tensor],
        features: NDArray[Any] | Tensor | None = None,
        labels: NDArray[Any] | Tensor | None = None,
        rows: Rows | None = None,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.rows = rows or Rows(arrays={"features": torch.as_tensor(features), "labels": torch.as_tensor(labels)})
        self.model = with_strided_pools(copied(model)).to(self.device).eval()
        self.objective: Objective = copy.deepcopy(objective_of(loss)).to(self.device)  # class weights move along
        self.layout = layout_of(self.model)
        self.batch_size = batch_size or batch_size_for(self.model, self.rows)
        self._threads: int | None = None
        self._measured: bytes | None = None  # the vector that the batch statistics are of
        # A round asks again for models of which it, or the round before, has asked.
        self._evaluated: dict[bytes, Evaluation] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def features(self) -> Tensor:
        """The first input, shape (N, ...)."""
        return self.rows.features

    @property
    def labels(self) -> Tensor:
        """The targets, shape (N, ...)."""
        return self.rows.labels

    @cached_property
    def validation_hash(self) -> bytes:
        """Hash of the data set, which has to be the task's validationHash."""
        return self.rows.hash()

    def evaluate(self, vector: NDArray[np.float32]) -> Evaluation:
        """Loss, accuracy and perplexity of a model's vector, shape (P,), as far as there are any."""
        mark = hashlib.sha256(np.ascontiguousarray(vector).data).digest()
        if mark in self._evaluated:
            return self._evaluated[mark]
        load_vector(self.model, vector, layout=self.layout)
        total = 0.0
        right: int | None = 0
        with drawing_alike(self.device):
            for loss, correct in each(self._judged, self.batches(), threads=self.threads):
                total += loss
                right = None if correct is None or right is None else right + correct
        loss = total / len(self)
        found = Evaluation(
            loss=loss,
            accuracy=None if right is None else right / len(self),
            perplexity=perplexity(loss) if self.objective.metric == "perplexity" else None,
        )
        while len(self._evaluated) >= _EVALUATED:
            del self._evaluated[next(iter(self._evaluated))]
        self._evaluated[mark] = found
        return found

    def gradient(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        """∇loss at a model's vector, shape (P,)."""
        return self.value_and_gradient(vector)[1]

    def value_and_gradient(self, vector: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        """The loss at a model's vector, and its gradient as `gradient` gives it, in one pass."""
        found = np.zeros(self.layout.size)
        return self.add_gradient(vector, into=found), found

    def add_gradient(self, vector: Vector, *, into: NDArray[np.floating], times: float = 1.0) -> float:
        """Add times · ∇loss at a model's vector to another one, in place; returns the loss.

        Args:
            vector: Shape (P,).
            into: Shape (P,).
            times: What the gradient is multiplied by, as a float64.
        """
        load_vector(self.model, vector, layout=self.layout)
        total, gradients = self._summed() if self.threads > 1 else self._accumulated()
        start = 0
        for name, size in zip(self.layout.names, self.layout.sizes, strict=True):
            if name in gradients:  # each is let go of as it is taken over: of a large model they are gigabytes
                slope = gradients.pop(name).detach().cpu().double().numpy().ravel()
                slope *= times
                into[start : start + size] += slope
            start += size
        return total

    def give_back(self) -> None:
        """Give the memory that passes of a large model took back to the system, where its allocator does not by itself.

        glibc keeps what is freed in small pieces, which are hundreds of megabytes of activations and gradients, for passes to come.
        """
        trim = getattr(_libc(), "malloc_trim", None) if is_large(self.model) else None
        if trim is not None:
            trim(0)

    @property
    def threads(self) -> int:
        """How many threads pass batches through the model."""
        if self._threads is None:
            self._threads = 1 if is_large(self.model) else threads_for(self.model, self.objective)
        return self._threads

    def _judged(self, batch: Batch) -> tuple[float, int | None]:
        """A batch's loss, summed over its rows, and how many are right."""
        with torch.no_grad():  # in here: every thread has a mode of its own
            mean, correct = self.objective.judge(self.model, batch)
            return float(mean) * rows_in(batch), correct

    def _share(self, batch: Batch) -> Tensor:
        # Each batch weighs as its samples do, so the sum is the gradient of the mean over the whole set.
        return self.objective.mean(self.model, batch) * (rows_in(batch) / len(self))

    def _accumulated(self) -> tuple[float, dict[str, Tensor]]:
        """The loss and its gradients by name, batch after batch."""
        self.model.zero_grad(set_to_none=True)
        total = 0.0
        with drawing_alike(self.device):
            for batch in self.batches():
                loss = self._share(batch)
                loss.backward()
                total += float(loss.detach())
        gradients = {
            name: parameter.grad for name, parameter in self.model.named_parameters() if parameter.grad is not None
        }
        self.model.zero_grad(set_to_none=True)
        return total, gradients

    def _summed(self) -> tuple[float, dict[str, Tensor]]:
        """The same, bit for bit, of batches that threads share: added up in their order."""
        named = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

        def slopes_of(batch: Batch) -> tuple[float, tuple[Tensor | None, ...]]:
            loss = self._share(batch)
            return float(loss.detach()), torch.autograd.grad(loss, list(named.values()), allow_unused=True)

        total, gradients = 0.0, dict[str, Tensor]()
        with drawing_alike(self.device):
            for loss, slopes in each(slopes_of, self.batches(), threads=self.threads):
                total += loss
                for name, slope in zip(named, slopes, strict=True):
                    if slope is not None:
                        gradients[name] = gradients[name].add_(slope) if name in gradients else slope.clone()
        return total, gradients

    def measure_statistics(self, vector: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Measure the running statistics of the model's batch norms on these rows; they are this game's from then on.

        A client's running averages say more of its shard than of the task, and no score sees them. So they are measured
        by whoever has the committed rows, for each round's base model, and never taken from a client. Returns them by name; nothing
        for a model without batch norms.
        """
        norms = [module for _, module in batch_norms(self.model)]
        if not norms:
            return {}
        vector = np.asarray(vector, dtype=np.float32)
        if (mark := vector.tobytes()) != self._measured:
            load_vector(self.model, vector, layout=self.layout)
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the batches
                norm.train()
            try:
                with torch.no_grad(), drawing_alike(self.device):
                    # Of a batch of one row there is no variance, so the last rows are shared out.
                    for places in np.array_split(np.arange(len(self)), max(1, len(self) // max(2, self.batch_size))):
                        self.objective.mean(self.model, self.rows.take(torch.from_numpy(places)).batch(self.device))
            finally:
                self._evaluated.clear()
                for norm, momentum in zip(norms, momenta, strict=True):
                    norm.momentum = momentum
                    norm.eval()
            self._measured = mark
        return {name: statistic.detach().cpu().numpy().copy() for name, statistic in statistics_of(self.model).items()}

    def load_statistics(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take running statistics that were measured elsewhere, by name."""
        load_buffers(self.model, arrays)
        self._measured = None
        self._evaluated.clear()

    def subset(self, members: Tensor) -> ValidationGame:
        """The same game on some of the samples, by flags of shape (N,).

        A model without batch norms is not copied for it: whoever passes rows through it loads a vector first.
        """
        rows = self.rows.take(members)
        if batch_norms(self.model):
            return ValidationGame(
                self.model, loss=self.objective, rows=rows, batch_size=self.batch_size, device=str(self.device)
            )
        part = copy.copy(self)
        part.__dict__.pop("validation_hash", None)  # of other rows
        part._evaluated = {}
        part.rows = rows
        return part

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """The data set in batches, on the game's device."""
        return self.rows.batches(size or self.batch_size, device=self.device)


@cache
def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # a system without one that has a name
        return None


_EVALUATED = 8  # models whose evaluation is kept
_ROWS, _TOKENS, _LARGE, _FEW_TOKENS = 128, 1024, 16_000_000, 128


def batch_size_for(model: nn.Module, rows: Rows) -> int:
    """How many rows pass at once, as `ValidationGame` says; activations of text are many times the text."""
    inputs = rows.features
    if inputs.is_floating_point() or inputs.ndim < 2:
        return _ROWS
    return max(1, min(_ROWS, (_FEW_TOKENS if is_large(model) else _TOKENS) // max(1, inputs[0].numel())))


def is_large(model: nn.Module) -> bool:
    """Whether a model has so many parameters that its activations and gradients are counted in batches at a time."""
    return sum(parameter.numel() for parameter in model.parameters()) > _LARGE
