"""What a node trains with, built once and kept from one message to the next: building it anew costs more than a short training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.task.model_vector import copied, layout_of
from fl.task.objectives import Function
from fl.task.spec import TaskSpec

# Modules that remember nothing but their parameters and buffers.
_FORGETFUL = ("torch.nn.modules.", "fl.task.models.", "fl.task.objectives.")
# Those of them that are known to draw no random numbers while they train.
_STEADY = (
    nn.Sequential,
    nn.Linear,
    nn.Conv2d,
    nn.ReLU,
    nn.Flatten,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.GroupNorm,
    nn.LayerNorm,
)


class Tools:
    """A model with what trains it.

    Args:
        model: A module of the task.
        spec: Loss, learning rate and momentum.
    """

    def __init__(self, model: nn.Module, spec: TaskSpec) -> None:
        self.model, self.loss = model.train(), spec.build_loss()
        trained = self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(trained, lr=spec.learning_rate)
            if spec.optimizer == "adam"
            else torch.optim.SGD(trained, lr=spec.learning_rate, momentum=spec.momentum)
        )
        self._layout, state = layout_of(model), model.state_dict()  # whose tensors share memory with the module's
        self._parts = [state[name].detach() for name in self._layout.names]
        self.exact = all(
            part.dtype == torch.float32 for part in self._parts
        )  # whether a vector comes out as it went in
        self._views = [part.numpy() for part in self._parts] if self.exact and _on_cpu(self._parts) else None
        # Plain SGD is one addition a parameter; the optimizer's own bookkeeping takes longer than that.
        self._plain = trained if spec.optimizer == "sgd" and not spec.momentum else None
        self._rate = spec.learning_rate
        self._draws = any(not _is_steady(module) for module in model.modules())

    def begin(self, base: NDArray[np.float32]) -> None:
        """Go back to a vector of shape (P,), with an optimizer that has seen nothing."""
        self.optimizer.state.clear()
        arrays = self._layout.unflatten(base).values()
        if self._views is not None:
            for view, array in zip(self._views, arrays, strict=True):
                np.copyto(view, array)
            return
        for part, array in zip(self._parts, arrays, strict=True):
            part.copy_(torch.from_numpy(array if array.flags.writeable else array.copy()))

    def forget_gradients(self) -> None:
        """Before a step's backward pass."""
        for parameter in self.trained:
            parameter.grad = None

    def step(self) -> None:
        """Move the values along the gradients that are there."""
        if self._plain is None:
            self.optimizer.step()
            return
        with torch.no_grad():
            for parameter in self._plain:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-self._rate)

    def vector(self) -> NDArray[np.float32]:
        """The values now, shape (P,)."""
        if self._views is not None:
            return np.concatenate([view.ravel() for view in self._views])
        return np.concatenate([part.to(torch.float32).numpy().ravel() for part in self._parts])

    @contextmanager
    def draws(self, seed: int) -> Iterator[None]:
        """Seeds what the model itself draws (dropout), from the global state, which is not ours to move."""
        if not self._draws:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds four kinds of device, in 2 ms
            yield


class Workbench:
    """Hands out the tools of a task, with a model as it was built but for the values that travel.

    Args:
        spec: Of the task.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec, self._built = spec, spec.build_model()
        own = [f"{type(module).__module__}." for module in (*self._built.modules(), *spec.build_loss().modules())]
        # A function of somebody else's may keep what it likes.
        forgets = all(name.startswith(_FORGETFUL) for name in own) and not isinstance(spec.build_loss(), Function)
        self._kept = Tools(copied(self._built), spec) if forgets else None
        kept = self._kept.model if self._kept else self._built
        self._buffers = list(zip(kept.buffers(), self._built.buffers(), strict=True))

    def tools(self) -> Tools:
        """To train with; the same ones every time if nothing of a training can stay in them."""
        if self._kept is None:
            return Tools(copied(self._built), self._spec)
        with torch.no_grad():  # counters of batches, and buffers that no state dict holds
            for kept, built in self._buffers:
                kept.copy_(built)
        return self._kept


def _on_cpu(parts: Sequence[Tensor]) -> bool:
    return all(part.device.type == "cpu" for part in parts)


def _is_steady(module: nn.Module) -> bool:
    return type(module) in _STEADY or type(module).__module__ == "fl.task.models"
