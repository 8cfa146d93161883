"""A torch module ⇄ the flat vector that travels: the parameters that a task trains, each once.

What is frozen (`requires_grad=False`) and what is a buffer stays out: scores cannot see it, so it must not use up length or range.
Two names of one array (tied weights) are one part of the vector, under the first of them.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from fl.codec import Layout, Vector, in_order
from fl.codec.layout import S
from fl.errors import ConfigError

ALL, ADAPTERS = "all", "adapters"
_ADAPTER_PATTERNS = ("*lora_*", "*modules_to_save*", "*adapter*")


def travelling(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that travel, by their first name, in `state_dict` order.

    Raises: ConfigError for lazy layers, values that are not there, complex numbers, or two parameters that share a part of their memory.
    """
    found = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }  # a tied one has its first name
    if lazy := [name for name, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise ConfigError(
            f"the model's layer {lazy[0].rpartition('.')[0] or lazy[0]} is lazy and has no size yet; give its size (nn.Linear "
            "for nn.LazyLinear), so that everybody builds the same model"
        )
    for name, tensor in found.items():
        if tensor.is_meta:
            raise ConfigError(
                f"parameter {name} is on torch's device meta and has no values; build the model on a real one"
            )
        if not tensor.is_floating_point():
            raise ConfigError(f"parameter {name} is {tensor.dtype}, and only real floats travel; hold it as float32")
    _check_memory(found)
    # state_dict may be told otherwise by hooks; its order is what files and messages have.
    order = {name: place for place, name in enumerate(model.state_dict())}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def copied(model: nn.Module) -> nn.Module:
    """A copy of a module that shares what is frozen with it: a base of gigabytes is in memory once, and nobody writes to it."""
    frozen = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, frozen)


def choose(model: nn.Module, trainable: str) -> nn.Module:
    """Freeze every parameter that a setting does not name, in place, and return the module.

    Args:
        trainable: all; adapters (of peft); or name patterns with commas, such as `classifier.*`. A parameter that is frozen
            already stays so.
    Raises: ConfigError if it names no parameter.
    """
    if trainable == ALL:
        return model
    own = tuple(part.strip() for part in trainable.split(",") if part.strip())
    patterns = _ADAPTER_PATTERNS if trainable == ADAPTERS else own
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    chosen = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    # Of somebody's own patterns each has to lead somewhere: a typo beside one that fits would freeze what was meant to learn.
    lost = [pattern for pattern in own if not any(fnmatchcase(name, pattern) for name in names)]
    if not chosen or (lost and trainable != ADAPTERS):
        raise ConfigError(_no_parameter(trainable, lost[0] if lost else trainable, names=names))
    for name, parameter in model.named_parameters():
        if name not in chosen:
            parameter.requires_grad_(False)
    return model


def _no_parameter(trainable: str, pattern: str, *, names: list[str]) -> str:
    if trainable == ADAPTERS:
        fix = "set model.arguments.lora to make some, or task.trainable to all or to patterns such as 'classifier.*'"
        return f"task.trainable is {ADAPTERS}, and the model has none; {fix}"
    shown = ", ".join(names[:4]) + (f", … {names[-1]}" if len(names) > 4 else "")
    told = f"is {trainable!r}" if pattern == trainable else f"has {pattern!r}"
    problem = f"task.trainable {told}, which names no parameter of the model ({shown or 'it has none to train'})"
    # A pattern fits a whole name, and what wraps a model puts its own in front: `lm_head.*` is `*.lm_head.*`.
    if within := [name for name in names if fnmatchcase(name, f"*.{pattern}")]:
        return f"{problem}; write '*.{pattern}' for {within[0]}"
    parts = sorted({part for name in names for part in name.split(".") if not part.isdecimal()})
    asked = [part for part in pattern.replace("*", ".").split(".") if part]
    near = [found for part in asked for found in difflib.get_close_matches(part, parts, n=1) if found != part]
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{problem}; {meant}write {ALL}, {ADAPTERS}, or patterns such as 'classifier.*'"


def layout_of(model: nn.Module) -> Layout:
    """The layout of the parameters that travel. Raises: ConfigError, as `travelling`."""
    found = travelling(model)
    return Layout(names=tuple(found), shapes=tuple(tuple(tensor.shape) for tensor in found.values()))


def arrays_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The module's whole state dict as numpy arrays; half precision, which numpy lacks in part, as float32."""
    return {name: _numpy(tensor) for name, tensor in model.state_dict().items()}


def sent_arrays(model: nn.Module, *, whole: bool) -> dict[str, NDArray[Any]]:
    """What a train message carries: the state dict, or of a model with a frozen base only what travels and its statistics."""
    arrays = arrays_of(model)
    if whole:
        return arrays
    kept = {*travelling(model), *statistics_of(model)}
    return {name: array for name, array in arrays.items() if name in kept}


def named_by(model: nn.Module, arrays: Mapping[str, S]) -> dict[str, S] | None:
    """A list of arrays by the model's names in their order: of its whole state dict, or of its parameters; None if it fits neither.

    Args:
        model: Of the task.
        arrays: As Flower's `ArrayRecord([…])` holds them.
    """
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    parameters = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    named = in_order(arrays, state)
    return in_order(arrays, parameters) if named is None else named


def vector_of(model: nn.Module) -> NDArray[np.float32]:
    """The parameters that travel as one vector, shape (P,)."""
    found = travelling(model)
    layout = Layout(names=tuple(found), shapes=tuple(tuple(tensor.shape) for tensor in found.values()))
    return layout.flatten({name: _numpy(tensor) for name, tensor in found.items()})


def load_vector(model: nn.Module, vector: Vector, *, layout: Layout | None = None) -> None:
    """Write a vector of shape (P,) into the module; buffers and what is frozen stay as they are.

    Args:
        vector: Read tensor by tensor.
        layout: The module's own, where it is known.
    Raises: LayoutMismatch if it has not as many values as the module's parameters.
    """
    state, start, layout = dict(model.named_parameters()), 0, layout or layout_of(model)
    layout.check_size(len(vector))
    with torch.no_grad():
        for name, shape, size in zip(layout.names, layout.shapes, layout.sizes, strict=True):
            # copy=True: a read-only array (from a message or a file) may not back a tensor.
            part = np.array(vector[start : start + size], dtype=np.float32, copy=True)
            state[name].copy_(torch.from_numpy(part.reshape(shape)))
            start += size


def statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """The running statistics of batch norms by name: nobody's to send, everybody measures them on the committed rows."""
    return {
        f"{prefix}.{name}" if prefix else name: buffer
        for prefix, module in batch_norms(model)
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }


def batch_norms(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """The layers that normalise by running statistics, with their names."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None
    ]


def load_buffers(model: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write those of the arrays that are buffers of the module; others are not looked at."""
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in arrays and tuple(arrays[name].shape) == tuple(buffer.shape):
                buffer.copy_(torch.from_numpy(np.array(arrays[name], copy=True)))


def frozen_hash(model: nn.Module) -> str | None:
    """sha256 in hex over the parameters that do not travel, None if all do: what a node's own base has to be.

    Over each in `state_dict` order: name, type, shape and bytes, little-endian; half precision as float32.
    """
    sent = set(travelling(model))
    rest = {name: parameter for name, parameter in model.named_parameters() if name not in sent}
    if not rest:
        return None
    digest = hashlib.sha256(b"\x06")
    for name, tensor in rest.items():
        array = np.ascontiguousarray(_numpy(tensor))
        digest.update(f"{name}\0{array.dtype.str.lstrip('<>=|')}\0{array.shape}\0".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _numpy(tensor: Tensor) -> NDArray[Any]:
    held = tensor.detach().cpu()
    return (held.float() if held.dtype in (torch.bfloat16, torch.float16) else held).numpy()


def _check_memory(found: Mapping[str, nn.Parameter]) -> None:
    spans: list[tuple[int, int, str]] = []
    for name, tensor in found.items():
        if tensor.numel():
            reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
            spans.append((tensor.data_ptr(), tensor.data_ptr() + reach * tensor.element_size(), name))
    spans.sort()
    for (_, end, name), (start, _, other) in pairwise(spans):
        if start < end:
            raise ConfigError(
                f"parameters {name} and {other} share memory without being one; tie them by assigning the same nn.Parameter"
            )
