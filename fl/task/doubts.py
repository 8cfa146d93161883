"""What works with a model and its loss and is seldom meant: said before any money moves, and left to whoever brought them.

A loss of logits takes probabilities without a word. It puts its softmax or sigmoid on top of the model's own, and the task learns
slowly towards a loss that it never comes below. Types do not show that, values do.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fl.task.draws import drawing_alike
from fl.task.model_vector import travelling
from fl.task.objectives import Batch, Binary, LanguageModelling, MultiLabel, Objective, SquaredError
from fl.task.objectives import Huber as HuberObjective
from fl.task.rows import Rows

_FEW = 32  # rows that are looked at
_DRAWS = 8  # of all parameters: a model that could go below 0 does in one of them
_SPREAD = 0.5  # of a drawn parameter
_SUMS_TO_ONE = 1e-3
_OUTSIDE = 0.05  # share of the targets that no output reaches

_CLASSES, _YES_NO, _NUMBERS = "classes", "yes or no", "numbers"


def doubts(model: nn.Module, objective: Objective, rows: Rows) -> list[str]:
    """Sentences on outputs that are not what the loss takes, each with what to change; none where nothing is odd.

    Args:
        model: As the task builds it; it stays as it was.
        objective: What the task minimises.
        rows: Rows to look at; some are taken, from all over the set.
    """
    batch = rows.spread(_FEW).batch()
    training = {module: module.training for module in model.modules()}  # parts may be frozen, each by itself
    model.eval()
    try:
        return _doubts(model, objective, batch)
    # Whatever a model of somebody's own raises: the preflight refuses what fails, and no doubt stops a task.
    except Exception:
        return []
    finally:
        for module, was in training.items():
            module.training = was


def _doubts(model: nn.Module, objective: Objective, batch: Batch) -> list[str]:
    with torch.no_grad(), drawing_alike():
        output = _output(model, batch)
        if output is None or not output.is_floating_point() or not output.numel():
            return []
        target = batch["labels"] if isinstance(batch, dict) else batch[-1]
        takes = _takes(objective, model, batch, output=output, target=target)
    if takes == _NUMBERS:
        return _beyond_reach(model, batch, output=output, target=target)
    if takes == _CLASSES:
        output = output.flatten(0, -2) if isinstance(objective, LanguageModelling) else output.transpose(1, -1)
        if output.shape[-1] > 1 and _are_probabilities(output):
            floor = math.log(1 + (output.shape[-1] - 1) / math.e)
            return [
                "the model's outputs are probabilities already (they sum to 1), and the loss takes a softmax of them: no row's "
                f"loss comes below {floor:.3g}; leave out the softmax at the end of forward"
            ]
    if takes is None or float(output.min()) < 0:
        return []
    return _one_sided(reach(model, batch), takes=takes)


def _one_sided(reached: tuple[float, float] | None, *, takes: str) -> list[str]:
    """Of logits: whether none is below 0 for any parameters."""
    if reached is None or reached[0] < 0:
        return []
    if reached[1] > 1:
        return [
            "the model's outputs are never below 0, and the loss takes logits, of which 0 says that it is open; leave out the ReLU "
            "at the end of forward"
        ]
    told = (
        f"a row of class 0 never comes below a loss of {math.log(2):.3g}"
        if takes == _YES_NO
        else "no class is ever far from another"
    )
    return [
        f"the model's outputs lie between 0 and 1 whatever it learns, and the loss takes logits: {told}; leave out the sigmoid at "
        "the end of forward"
    ]


def reach(model: nn.Module, batch: Batch) -> tuple[float, float] | None:
    """The lowest and the highest output over parameters that are drawn at random; None where no draw gives finite ones.

    Args:
        model: It is copied.
        batch: Of a few rows.
    """
    drawn = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(0)
    lows, highs = [], []
    with torch.no_grad(), drawing_alike():
        for _ in range(_DRAWS):
            for parameter in travelling(drawn).values():
                noise = torch.randn(parameter.shape, generator=draw) * _SPREAD
                parameter.copy_(noise.to(parameter.device, parameter.dtype))
            output = _output(drawn, batch)
            if output is not None and bool(torch.isfinite(output).all()):
                lows.append(float(output.min()))
                highs.append(float(output.max()))
    return (min(lows), max(highs)) if lows else None


def _output(model: nn.Module, batch: Batch) -> Tensor | None:
    if isinstance(batch, dict):
        found: Any = model(**{name: array for name, array in batch.items() if name != "labels"})
    else:
        found = model(*batch[:-1])
    found = found if isinstance(found, Tensor) else getattr(found, "logits", None)
    return found if isinstance(found, Tensor) else None


def _takes(objective: Objective, model: nn.Module, batch: Batch, *, output: Tensor, target: Tensor) -> str | None:
    """What a loss takes an output for: by its type, or by what it comes to where it is somebody's own."""
    loss = getattr(objective, "loss", None)
    if isinstance(objective, LanguageModelling) or isinstance(loss, nn.CrossEntropyLoss):
        return _CLASSES
    if isinstance(objective, Binary | MultiLabel) or isinstance(
        loss, nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss
    ):
        return _YES_NO
    if isinstance(objective, SquaredError | HuberObjective) or isinstance(
        loss, nn.MSELoss | nn.L1Loss | nn.SmoothL1Loss | nn.HuberLoss
    ):
        return _NUMBERS
    if type(loss).__module__.startswith("torch."):
        return None  # another of torch's own
    told = float(objective.mean(model, batch))
    for takes, usual in ((_CLASSES, functional.cross_entropy), (_YES_NO, _of_logits), (_NUMBERS, _of_squares)):
        try:
            found = float(usual(output, target))
        except (RuntimeError, IndexError, ValueError):
            continue  # the shapes are another loss's
        if math.isclose(found, told, rel_tol=1e-4):
            return takes
    return None


def _of_logits(output: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(output.reshape(target.shape), target.to(output.dtype))


def _of_squares(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output.reshape(target.shape), target.to(output.dtype))


def _are_probabilities(output: Tensor) -> bool:
    """Whether outputs are from 0 to 1 and sum to 1 over the last axis."""
    sums = output.float().sum(-1)
    inside = float(output.min()) >= 0 and float(output.max()) <= 1 + _SUMS_TO_ONE
    return inside and torch.allclose(sums, torch.ones_like(sums), atol=_SUMS_TO_ONE)


def _beyond_reach(model: nn.Module, batch: Batch, *, output: Tensor, target: Tensor) -> list[str]:
    """Of numbers: whether the outputs are held within bounds that many targets lie beyond."""
    if float(output.min()) < -1 or (float(output.max()) > 1 and float(output.min()) < 0):
        return []
    reached = reach(model, batch)
    bounds = next(
        (
            (low, high, layer)
            for low, high, layer in ((0.0, 1.0, "sigmoid"), (-1.0, 1.0, "tanh"), (0.0, math.inf, "ReLU"))
            if reached is not None and low <= reached[0] and reached[1] <= high
        ),
        None,
    )
    if bounds is None:
        return []
    low, high, layer = bounds
    outside = float(((target < low) | (target > high)).float().mean())
    if outside < _OUTSIDE:
        return []
    told = "never below 0" if math.isinf(high) else f"between {low:g} and {high:g} whatever it learns"
    return [
        f"the model's outputs lie {told}, and {outside:.0%} of the targets do not (they run from {float(target.min()):.4g} to "
        f"{float(target.max()):.4g}); leave out the {layer} at the end of forward"
    ]
