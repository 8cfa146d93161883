"""Models without torch: named arrays, and what they are worth by a function (arrays) -> float.

A scikit-learn model, say, whose coefficients travel. There is no gradient, so there is no direction: such a task is scored by a rule
that evaluates coalitions, which evaluators attest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.errors import ConfigError
from fl.task.objectives import Batch, Objective, rows_in
from fl.task.rows import Rows

Arrays = Mapping[str, NDArray[Any]]


class ArraysModel(nn.Module):
    """Named arrays as a module: floats are its parameters, whole numbers are held as they are.

    Args:
        arrays: By name, as the app sends them; a Flower `ArrayRecord` or numpy arrays.
    Raises: ConfigError if there are no floats, or a value is not a number.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        super().__init__()
        self._named: dict[str, tuple[nn.Module, str]] = {}
        for name, value in arrays.items():
            array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
            *path, last = str(name).split(".")
            holder: nn.Module = self
            for part in path:
                if part not in holder._modules:
                    holder.add_module(part, nn.Module())
                holder = holder.get_submodule(part)
            if array.dtype.kind == "f":
                holder.register_parameter(last, nn.Parameter(torch.from_numpy(array.astype(np.float32))))
            elif array.dtype.kind in "iub":
                holder.register_buffer(last, torch.from_numpy(np.array(array)))
            else:
                raise ConfigError(
                    f"the model's array {name} holds {array.dtype} and not numbers; leave it out of what travels"
                )
            self._named[str(name)] = holder, last
        if not list(self.parameters()):
            raise ConfigError("the model has no array of floats, and only floats are trained and paid")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of them, by name, as copies."""
        return {
            name: getattr(holder, last).detach().cpu().numpy().copy() for name, (holder, last) in self._named.items()
        }


class Utility(Objective):
    """Minus what a function says that the arrays are worth. Its gradient is 0, as it has none.

    Args:
        function: Arrays by name to a number, larger for better; the same each time.
    """

    def __init__(self, function: Callable[[dict[str, NDArray[Any]]], float]) -> None:
        super().__init__()
        self.function = _Held(function)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Minus the worth, once a row, shape (n,)."""
        if not isinstance(model, ArraysModel):
            raise ConfigError(f"utility values arrays, and the model is a {type(model).__name__}; give loss for it")
        worth = self.function.held(model.arrays())
        reached = sum((parameter.sum() for parameter in model.parameters()), torch.zeros(()))
        rows = torch.full((rows_in(batch),), -float(worth) if math.isfinite(worth) else math.inf)
        return rows + 0.0 * torch.nan_to_num(reached)


def check_utility(model: ArraysModel, utility: Utility) -> None:
    """Value the initial arrays twice. Raises: ConfigError if that fails, is not a finite number, or differs."""
    try:
        first, second = (utility.function.held(model.arrays()) for _ in range(2))
    except Exception as error:  # whatever a function of somebody's own raises
        raise ConfigError(
            f"utility fails on the initial arrays ({type(error).__name__}: {str(error)[:200]}); it is given a dict of float32 arrays by name"
        ) from error
    for worth in (first, second):
        if isinstance(worth, bool) or not isinstance(worth, (int, float, np.number)) or not math.isfinite(worth):
            raise ConfigError(f"utility returns {worth!r:.50}; return one finite number, larger for better")
    if first != second:
        raise ConfigError(f"utility returns {first} and then {second} for the same arrays; seed what it draws")


class _Held:
    """A function that is not copied with what holds it: it may hold a data set."""

    def __init__(self, held: Callable[[dict[str, NDArray[Any]]], float]) -> None:
        self.held = held

    def __deepcopy__(self, memo: dict[int, Any]) -> _Held:
        return self


def committed(validation: Any) -> Rows:
    """One row that stands for whatever the utility measures on: the sha256 of its arrays, None for none.

    Args:
        validation: Arrays, or tuples and dicts of them, in their order.
    """
    digest = hashlib.sha256(b"fairshare utility")
    _digest(validation, digest)
    return Rows(
        arrays={
            "features": torch.from_numpy(np.frombuffer(digest.digest(), dtype=np.uint8).astype(np.float32))[None],
            "labels": torch.zeros(1, dtype=torch.int64),
        }
    )


def _digest(values: Any, digest: Any) -> None:
    if values is None:
        return
    if isinstance(values, Mapping):
        for name, value in values.items():
            digest.update(f"{name}\0".encode())
            _digest(value, digest)
    elif isinstance(values, tuple | list) and any(
        hasattr(value, "shape") or isinstance(value, tuple | list | Mapping) for value in values
    ):
        for value in values:
            _digest(value, digest)
    else:
        array = np.ascontiguousarray(values)
        if array.dtype.kind not in "fiub":
            raise ConfigError(f"validation holds {array.dtype} and not numbers; encode it first, or leave it out")
        digest.update(f"{array.dtype.newbyteorder('<').str}{array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
