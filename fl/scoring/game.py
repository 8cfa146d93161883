"""A round's game: the loss on the committed validation set, as a function of the model's vector."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.scoring.pooling import with_strided_pools
from fl.task.data import Dataset
from fl.task.model_vector import layout_of, load_vector
from fl.task.spec import dataset_hash


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on a data set."""

    loss: float  # mean over samples
    accuracy: float  # share of samples whose largest logit is the label's, in [0, 1]


class ValidationGame:
    """Loss, gradient and accuracy of a model's vector on one data set.

    The model is copied, kept in evaluation mode (dropout off, batch statistics frozen) and never trained. Memory is
    that of one batch, whatever the size of the set.

    Args:
        model: Any module; its float parameters and buffers are the vector.
        loss: Means over the samples of a batch: loss(model(x), y).
        features: Inputs, shape (N, ...).
        labels: Targets, shape (N, ...).
        batch_size: Samples of one pass. 128 keeps LeNet's activations in a core's cache: a third faster than all 1,000 at once.
        device: Where to compute; CUDA if it is there by default. Model, loss, inputs and targets may be on any other: a batch is
            moved when its turn comes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: nn.Module,
        features: NDArray[Any] | Tensor,
        labels: NDArray[Any] | Tensor,
        batch_size: int = 128,
        device: str | None = None,
    ) -> None:
        if len(features) == 0 or len(features) != len(labels):
            raise ValueError(
                f"the validation set has {len(features)} inputs and {len(labels)} labels; it needs as many of both, "
                "and at least one"
            )
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = with_strided_pools(copy.deepcopy(model)).to(self.device).eval()
        self.loss_fn = copy.deepcopy(loss).to(self.device)  # class weights move along
        self.layout = layout_of(self.model)
        self.features = torch.as_tensor(features)
        self.labels = torch.as_tensor(labels)
        self.batch_size = batch_size

    @cached_property
    def validation_hash(self) -> bytes:
        """Hash of the data set, which has to be the task's validationHash."""
        return dataset_hash(Dataset(features=self.features.cpu().numpy(), labels=self.labels.cpu().numpy()))

    def evaluate(self, vector: NDArray[np.float32]) -> Evaluation:
        """Loss and accuracy of a model's vector, shape (P,)."""
        load_vector(self.model, vector)
        total, correct = 0.0, 0
        with torch.no_grad():
            for x, y in self.batches():
                logits = self.model(x)
                total += float(self.loss_fn(logits, y)) * len(x)
                if y.ndim == 1 and logits.ndim == 2:
                    correct += int((logits.argmax(1) == y).sum())
        return Evaluation(loss=total / len(self.features), accuracy=correct / len(self.features))

    def gradient(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        """∇loss at a model's vector, shape (P,); 0 at buffers and at parameters that are not trained."""
        return self.value_and_gradient(vector)[1]

    def value_and_gradient(self, vector: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        """The loss at a model's vector, and its gradient as `gradient` gives it, in one pass."""
        load_vector(self.model, np.asarray(vector, dtype=np.float32))
        self.model.zero_grad(set_to_none=True)
        total = 0.0
        for x, y in self.batches():
            # Each batch weighs as its samples do, so the sum is the gradient of the mean over the whole set.
            loss = self.loss_fn(self.model(x), y) * (len(x) / len(self.features))
            loss.backward()
            total += float(loss.detach())
        gradients = {name: one.grad for name, one in self.model.named_parameters() if one.grad is not None}
        parts = [
            gradients[name].detach().cpu().numpy().ravel().astype(np.float64)
            if name in gradients
            else np.zeros(int(np.prod(shape)))
            for name, shape in zip(self.layout.names, self.layout.shapes, strict=True)
        ]
        self.model.zero_grad(set_to_none=True)
        return total, np.concatenate(parts)

    def subset(self, members: Tensor) -> ValidationGame:
        """The same game on some of the samples, by flags of shape (N,)."""
        return ValidationGame(
            self.model,
            loss=self.loss_fn,
            features=self.features[members],
            labels=self.labels[members],
            batch_size=self.batch_size,
            device=str(self.device),
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The data set in batches, on the game's device."""
        for start in range(0, len(self.features), self.batch_size):
            stop = start + self.batch_size
            # Inputs are copied: a model that standardises in place would write into the validation set.
            yield self.features[start:stop].to(self.device, copy=True), self.labels[start:stop].to(self.device)
