"""Gradients row by row, by opacus, and what keeps a model from having any: the first half of DP-SGD (Abadi et al. 2016).

What one row can move is bounded only if each row's gradient follows from that row alone. Layers that look at a whole batch (batch
norms) opacus knows by name; what somebody's own layer or loss does is tried on a few rows, each in a batch and by itself.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fl.errors import ConfigError
from fl.task.objectives import Batch, Objective
from fl.task.preflight import UnfitModel
from fl.task.rows import Rows

_FEW = 3  # rows that are tried
_ALIKE = 1e-3  # relative: float32 sums in another order differ by less
_LONGEST = 200  # characters of opacus' own words


@contextmanager
def row_gradients(model: nn.Module) -> Iterator[None]:
    """Within it a backward pass of a sum over rows leaves `grad_sample` at each trained parameter, shape (rows, ...).

    Raises: ConfigError without the extra; UnfitModel for layers that opacus cannot part by rows.
    """
    try:
        from opacus.grad_sample import GradSampleHooks  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("privacy=dpsgd needs the package opacus; run `pip install 'fairshare[privacy]'`") from None
    try:
        hooks: Any = GradSampleHooks(model, loss_reduction="sum")
    except NotImplementedError as error:
        raise _unfit(error) from error
    with warnings.catch_warnings():
        # Of a first layer, whose inputs nobody wants a gradient of.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            yield
        finally:
            hooks.cleanup()


def check_rows(model: nn.Module, objective: Objective, rows: Rows) -> None:
    """Try whether each row's gradient follows from that row alone.

    Args:
        model: As the task builds it; it is copied.
        objective: What the task minimises.
        rows: Rows to try it on.
    Raises: ConfigError without the extra; UnfitModel with the layer, or the loss, that mixes rows.
    """
    try:
        from opacus.validators import ModuleValidator  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("privacy=dpsgd needs the package opacus; run `pip install 'fairshare[privacy]'`") from None
    model = copy.deepcopy(model).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if any(parameter.dtype != torch.float32 for parameter in trained):
        raise UnfitModel(
            "privacy=dpsgd holds gradients to a length in float32, and a trained parameter is not",
            "build what is trained in float32",
        )
    if errors := ModuleValidator.validate(model, strict=False):
        raise _unfit(errors[0], layer=_named_layer(model))
    for module in model.modules():
        if isinstance(
            module, nn.modules.dropout._DropoutNd
        ):  # draws otherwise for a row in another batch, and mixes none
            module.eval()
    rows = rows.spread(_FEW)
    try:
        with row_gradients(model):
            objective(model, rows.batch()).sum().backward()
            found = [getattr(parameter, "grad_sample", None) for parameter in trained]
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, IndexError) as error:
        raise _unfit(error) from error
    for number in range(len(rows)):
        alone = _alone(model, objective, rows.take(slice(number, number + 1)).batch(), trained)
        for part, expected in zip(found, alone, strict=True):
            if not isinstance(part, Tensor) or len(part) != len(rows) or _far(part[number], expected):
                raise UnfitModel(
                    "privacy=dpsgd needs gradients row by row, and a row's gradient in a batch is not the one that it has alone",
                    "leave out layers and losses that look at other rows of a batch, and layers of your own that opacus cannot part "
                    "by rows; a loss(model, batch) has to return one loss a row",
                )


def _alone(model: nn.Module, objective: Objective, batch: Batch, trained: list[nn.Parameter]) -> list[Tensor]:
    found = torch.autograd.grad(objective(model, batch).sum(), trained, allow_unused=True)
    return [
        torch.zeros_like(parameter) if part is None else part for part, parameter in zip(found, trained, strict=True)
    ]


def _far(seen: Tensor, expected: Tensor) -> bool:
    gap, size = float((seen - expected).norm()), float(expected.norm())
    return not gap <= _ALIKE * max(size, 1e-4)


def _named_layer(model: nn.Module) -> str:
    """The first layer that opacus refuses, by its name in the model."""
    from opacus.validators import ModuleValidator  # noqa: PLC0415 - an extra

    for name, module in model.named_modules():
        validator = ModuleValidator.VALIDATORS.get(type(module))
        if validator is not None and validator(module):
            return name
    return ""


def _unfit(error: Exception, *, layer: str = "") -> UnfitModel:
    told = " ".join(str(error).split())[:_LONGEST]
    return UnfitModel(
        "privacy=dpsgd cannot part the model's gradients by rows"
        + (f" at {layer}" if layer else "")
        + f" (opacus: {told})",
        "put GroupNorm or LayerNorm in the place of batch norms (fl.task.models:LeNet has group_norm=true), and opacus' own "
        "layers in that of attention and LSTMs",
    )
