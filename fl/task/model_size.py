"""How many values a model has, found out before they are there.

Import path and arguments of a model are somebody else's text: `Linear(in_features=100000, out_features=100000)` is 40 GB. So a
model is first made on torch's device "meta", whose tensors have shapes and no values, while what it registers is counted, and
so is the work: a thousand layers are built, a hundred million are not.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy

from fl.errors import FairshareError
from fl.task.bounds import MOST_MODEL

_MOST_MODULES = 100_000
# What torch imports when a layer first needs it is no part of the work of building: it is the machine's, and done once.
_IMPORT = importlib._bootstrap._find_and_load.__code__  # type: ignore[attr-defined]
_MOST_TENSORS = 20_000  # some layers of torch look each one's name up among all before it
_MOST_CALLS = 2_000_000  # of Python and C functions while it is made: a second
_MOST_CALLS_OF_BASE = (
    20_000_000  # where the machine's owner put the layers there: 80 of them with adapters are 5 million
)


class ModelTooLarge(FairshareError):
    """A task's model has more values, or takes more work to build, than a machine is asked for."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"the task's model {self.path} {self.problem}; do not take part, and tell the coordinator that it is too large"


def check_size(make: Callable[[], nn.Module], *, path: str, most: int = MOST_MODEL) -> None:
    """Make a model without its values, and count.

    Args:
        make: Makes it.
        path: Of its class, for messages.
        most: Values that it may have.
    Raises: ModelTooLarge; whatever `make` raises.
    """
    with (
        torch.device("meta"),
        counted(path, most=most),
        _measured(path, most=_MOST_CALLS if most <= MOST_MODEL else _MOST_CALLS_OF_BASE),
    ):
        make()


@contextmanager
def counted(path: str, *, most: int = MOST_MODEL) -> Iterator[None]:
    """Count what the modules that are made in here register, by this thread. Raises: ModelTooLarge beyond so many values."""
    own = threading.get_ident()
    tensors: dict[int, torch.Tensor] = {}  # held, so that no two have one id
    sizes = {"values": 0, "modules": 0}

    def on_tensor(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        if threading.get_ident() != own or tensor is None or is_lazy(tensor) or id(tensor) in tensors:
            return
        tensors[id(tensor)] = tensor
        if len(tensors) > _MOST_TENSORS:
            raise ModelTooLarge(path=path, problem=f"has more than {_MOST_TENSORS:,} tensors")
        sizes["values"] += tensor.numel()
        if sizes["values"] > most:
            raise ModelTooLarge(path=path, problem=f"has more than {most:,} values")

    def on_module(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        if threading.get_ident() != own:
            return
        sizes["modules"] += 1
        if sizes["modules"] > _MOST_MODULES:
            raise ModelTooLarge(path=path, problem=f"has more than {_MOST_MODULES:,} layers")

    with ExitStack() as stack:
        for handle in (
            register_module_parameter_registration_hook(on_tensor),
            register_module_buffer_registration_hook(on_tensor),
            register_module_module_registration_hook(on_module),
        ):
            stack.callback(handle.remove)
        yield


@contextmanager
def _measured(path: str, *, most: int) -> Iterator[None]:
    # Copies of a layer are registered once all of them are made: until then nothing but this sees them.
    calls, importing, before = 0, 0, sys.getprofile()

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls, importing
        if frame.f_code is _IMPORT and event in ("call", "return"):
            importing += 1 if event == "call" else -1
        calls += not importing
        if calls > most:
            raise ModelTooLarge(path=path, problem=f"takes more than {most:,} steps to build")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
