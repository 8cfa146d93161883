"""A torch module ⇄ the flat vector that travels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.codec import Layout


def layout_of(model: nn.Module) -> Layout:
    """The layout of a module's float parameters and float buffers, in `state_dict` order."""
    return Layout.of(arrays_of(model))


def arrays_of(model: nn.Module) -> dict[str, NDArray]:
    """The module's state dict as numpy arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def vector_of(model: nn.Module) -> NDArray[np.float32]:
    """The module's float parameters and buffers as one vector, shape (P,)."""
    arrays = arrays_of(model)
    return Layout.of(arrays).flatten(arrays)


def load_vector(model: nn.Module, vector: NDArray[np.float32]) -> None:
    """Write a vector of shape (P,) into the module; integer buffers stay as they are."""
    state = model.state_dict()  # tensors here share memory with the module's
    with torch.no_grad():
        for name, array in layout_of(model).unflatten(vector).items():
            # copy=True: a read-only array (from a message or a file) may not back a tensor.
            state[name].copy_(torch.from_numpy(np.array(array, copy=True)))
