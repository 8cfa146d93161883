"""Everything that can go wrong with a model and its loss, tried on a few rows before any money moves.

Whoever opens a task tries it on validation rows, and a node on rows of its own before it stakes: forward and backward, what a
loss means, what a gradient reaches, and whether the same comes out twice. What fails is refused in one line that says what to
change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fl.errors import FairshareError
from fl.task.data.text import IGNORED
from fl.task.doubts import reach
from fl.task.draws import drawing_alike
from fl.task.model_vector import batch_norms, copied, travelling
from fl.task.objectives import Batch, Binary, MultiLabel, Objective, OutputObjective, check_target
from fl.task.rows import Rows
from fl.task.utility import Utility

FEW = 8  # rows that are tried
_LONGEST = 200  # characters of torch's own words
_DRAWS = 8  # of a model that draws in forward
_MOST_ERRORS = 6  # standard errors by which its losses may differ


class UnfitModel(FairshareError):
    """A model and its loss cannot be trained, scored or paid as they are."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem, self.fix = problem, fix

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}"


def check_model(model: nn.Module, objective: Objective, rows: Rows, *, batch_size: int | None = None) -> None:
    """Try a model and its loss on a few rows.

    Args:
        model: As the task builds it; it is copied.
        objective: What the task minimises.
        rows: Rows to try it on; at most eight are taken, from all over the set.
        batch_size: Of training, where it is done here: one batch is tried in training mode too.
    Raises: UnfitModel, ConfigError or UnfitOutput, in one line each.
    """
    travelling(model)  # before a copy parts what shares memory
    try:
        model = copied(model)  # what is frozen stays shared: a base of gigabytes is in memory once
    except Exception as error:
        raise UnfitModel(
            f"the model cannot be copied ({_words(error)})", "make what it holds copyable; scoring works on copies"
        ) from error
    named = travelling(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise UnfitModel("the model is compiled by torch.jit", "give the module that it was made of")
    if not named:
        raise UnfitModel("the model has no parameter that is trained", "leave requires_grad on where it is to learn")
    for name, array in named.items():
        if not bool(torch.isfinite(array).all()):
            raise UnfitModel(f"the initial parameter {name} holds NaN or infinity", "start from finite values")
    _check_targets(objective, rows)
    rows = rows.spread(FEW)
    model.eval()
    first = _gradients(model, objective, rows)
    if first and not isinstance(objective, Utility) and not any(bool(tensor.any()) for tensor in first.values()):
        raise UnfitModel(
            "the gradient of the initial model is 0 for every parameter",
            "look for a loss that outputs cannot change, as cross-entropy of a single output is, for layers that pass nothing on, or "
            "for targets that do not fit the loss",
        )
    _check_same(first, _gradients(model, objective, rows))
    _check_mean(model, objective, rows)
    _check_logarithms(model, objective, rows)
    _check_probabilities(model, objective, rows)
    _check_reached(named, first)
    if batch_size is not None:
        _check_training(model, objective, rows, batch_size=batch_size)


def _check_targets(objective: Objective, rows: Rows) -> None:
    """Refuse targets that a loss of classes takes without a word, and makes nonsense of."""
    if isinstance(objective, OutputObjective):
        check_target(rows.take(slice(0, 1)).batch())
    labels, loss = rows.labels, getattr(objective, "loss", None)
    if labels.is_complex() or not labels.numel():
        return
    numbers = "set task.loss=mse or huber (nn.MSELoss() or nn.HuberLoss() for paying) to predict a number"
    indices = isinstance(objective, MultiLabel) and labels.ndim == 1 and not labels.is_floating_point()
    if (not indices and isinstance(objective, Binary | MultiLabel)) or isinstance(
        loss, nn.BCELoss | nn.BCEWithLogitsLoss
    ):
        low, high = float(labels.min()), float(labels.max())
        if low < 0 or high > 1:
            raise UnfitModel(
                f"the targets run from {low:g} to {high:g}, and the loss takes 0 and 1",
                f"{numbers}, or cross_entropy for more than two classes",
            )
    if isinstance(loss, nn.CrossEntropyLoss) and labels.is_floating_point() and labels.ndim > 1:
        sums = labels.sum(1)
        if bool((labels < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise UnfitModel(
                "the targets are numbers, and cross-entropy takes a class or the probabilities of all", numbers
            )


def _gradients(model: nn.Module, objective: Objective, rows: Rows) -> dict[str, Tensor]:
    """Gradients by name at the model as it stands; a parameter that none reaches is absent."""
    model.zero_grad(set_to_none=True)
    with drawing_alike():
        loss = _loss(model, objective, rows.batch(), rows=rows)
    if not loss.requires_grad:
        raise UnfitModel(
            "the loss does not depend on the model's parameters by a gradient",
            "leave out detach(), no_grad(), argmax() and .item() between them",
        )
    try:
        with drawing_alike():
            loss.backward()
    except (RuntimeError, NotImplementedError) as error:
        raise UnfitModel(
            f"the loss has no gradient ({_words(error)})", "use differentiable operations in forward and loss"
        ) from error
    sparse = [
        name for name, parameter in travelling(model).items() if parameter.grad is not None and parameter.grad.is_sparse
    ]
    if sparse:
        raise UnfitModel(f"the gradient of {sparse[0]} is sparse", "build the embedding with sparse=False")
    found = {
        name: parameter.grad.detach().clone()
        for name, parameter in travelling(model).items()
        if parameter.grad is not None
    }
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UnfitModel(
                f"the gradient of {name} holds NaN or infinity at the initial model",
                "look for a division by zero, a log of 0 or an overflow of half precision in forward and loss",
            )
    return found


def _loss(model: nn.Module, objective: Objective, batch: Batch, *, rows: Rows) -> Tensor:
    try:
        loss = objective.mean(model, batch)
    except FairshareError:
        raise
    except (Exception, SystemExit) as error:  # whatever a model of somebody's own raises
        raise UnfitModel(
            f"the model or its loss fails on {rows.described()}: {_words(error)}", _hint(model, error)
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim or loss.is_complex():
        seen = (
            f"has shape {tuple(loss.shape)}, {loss.dtype}"
            if isinstance(loss, Tensor)
            else f"is a {type(loss).__name__}"
        )
        raise UnfitModel(
            f"the loss {seen}",
            "make it one real number: reduction='mean', or a loss(model, batch) of one loss a row",
        )
    if not math.isfinite(float(loss.detach())):
        ignored = bool((rows.labels == IGNORED).any())
        raise UnfitModel(
            f"the loss of the initial model is {float(loss.detach())}",
            f"leave out the rows that are labelled {IGNORED}: alone they have no mean"
            if ignored
            else "look for NaN in the rows, a log of 0 or an overflow; standardise the inputs",
        )
    return loss


def _check_mean(model: nn.Module, objective: Objective, rows: Rows) -> None:
    if len(rows) < 2:
        return
    whole, mean = _together_and_alone(model, objective, rows)
    halves = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())
    allowed = (0.05 if halves else 1e-3) * max(abs(whole), abs(mean), 1e-6) + (1e-3 if halves else 1e-6)
    if abs(whole - mean) <= allowed or (_draws(model, objective, rows) and _agree_on_average(model, objective, rows)):
        return
    made = _outputs(model, rows)
    raise UnfitModel(
        f"the loss of {len(rows)} rows together is {whole:.6g}, the mean of their losses one by one {mean:.6g}"
        f"{_shapes(made, rows)}",
        f"a loss has to be the mean over its rows: {_to_mean(whole, mean, made=made, rows=rows)}",
    )


def _together_and_alone(model: nn.Module, objective: Objective, rows: Rows, *, seed: int = 0) -> tuple[float, float]:
    """The loss of rows as one batch, and the mean of their losses one by one."""
    with torch.no_grad():
        with drawing_alike(seed=seed):
            whole = float(_loss(model, objective, rows.batch(), rows=rows))
        alone = []
        for row in range(len(rows)):
            single = rows.take(slice(row, row + 1))
            with drawing_alike(seed=seed):
                alone.append(float(_loss(model, objective, single.batch(), rows=single)))
    return whole, sum(alone) / len(alone)


def _agree_on_average(model: nn.Module, objective: Objective, rows: Rows) -> bool:
    """Whoever draws in forward draws otherwise for a row than for a batch; over many draws both still come to the same."""
    found = [_together_and_alone(model, objective, rows, seed=1000 * draw) for draw in range(1, _DRAWS + 1)]
    gaps = torch.tensor([whole - mean for whole, mean in found], dtype=torch.float64)
    size = max(max(abs(whole), abs(mean)) for whole, mean in found)
    return abs(float(gaps.mean())) <= _MOST_ERRORS * float(gaps.std()) / math.sqrt(_DRAWS) + 0.05 * size


def _to_mean(whole: float, mean: float, *, made: Tensor | None, rows: Rows) -> str:
    """What makes a mean of a loss that is none, by what it looks like."""
    if abs(whole - len(rows) * mean) <= 1e-3 * abs(whole):
        return "leave out reduction='sum', or divide it by the number of rows"
    if made is not None and made.shape != rows.labels.shape and made.numel() == rows.labels.numel():
        return "give outputs and targets one shape, (N, 1) against (N,) pairs every output with every target"
    return (
        "leave out what looks at other rows of a batch, as a Dice, contrastive or ranking term over all of them does, or a division by "
        "the sum of the batch's weights; a loss(model, batch) may give one loss a row"
    )


def _check_logarithms(model: nn.Module, objective: Objective, rows: Rows) -> None:
    """Refuse raw outputs under a loss of log-probabilities, which falls without end."""
    batch = rows.batch()
    if not isinstance(getattr(objective, "loss", None), nn.NLLLoss) or not isinstance(batch, tuple):
        return
    with torch.no_grad(), drawing_alike():
        sums = model(*batch[:-1]).exp().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=0.01):
        raise UnfitModel(
            "nn.NLLLoss takes logarithms of probabilities, and the outputs' do not sum to 1",
            "end forward with log_softmax(1), or use nn.CrossEntropyLoss()",
        )


def _check_probabilities(model: nn.Module, objective: Objective, rows: Rows) -> None:
    """Refuse raw outputs under a loss of probabilities, which fails as soon as one leaves 0 to 1: in a round that is paid for."""
    if not isinstance(getattr(objective, "loss", None), nn.BCELoss):
        return
    reached = reach(model, rows.batch())
    if reached is not None and (reached[0] < 0 or reached[1] > 1):
        raise UnfitModel(
            "nn.BCELoss takes probabilities, and the outputs leave 0 to 1 as the parameters move",
            "end forward with sigmoid(), or use nn.BCEWithLogitsLoss()",
        )


def _draws(model: nn.Module, objective: Objective, rows: Rows) -> bool:
    """Whether the model draws random numbers as it stands: its loss is another with another seed."""
    batch = rows.batch()
    with torch.no_grad():
        found = []
        for seed in (1, 2):
            with drawing_alike(seed=seed):
                found.append(float(_loss(model, objective, batch, rows=rows)))
    return found[0] != found[1]


def _check_reached(named: dict[str, nn.Parameter], gradients: dict[str, Tensor]) -> None:
    if unreached := [name for name in named if name not in gradients]:
        shown = ", ".join(unreached[:4]) + (", …" if len(unreached) > 4 else "")
        raise UnfitModel(
            f"no gradient reaches {shown}, so nobody could be paid for moving it",
            "freeze it with requires_grad_(False), leave it out of task.trainable, or use it in forward",
        )


def _check_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name, tensor in first.items():
        gap, size = float((tensor - second[name]).float().norm()), float(tensor.float().norm())
        if gap > 1e-5 * max(size, 1e-12):
            raise UnfitModel(
                f"two gradients of the initial model differ by {gap / max(size, 1e-12):.1e} at {name}",
                "draw only from torch's, numpy's and Python's global generators, which are seeded for each gradient, and keep no "
                "state in forward",
            )


def _check_training(model: nn.Module, objective: Objective, rows: Rows, *, batch_size: int) -> None:
    if batch_size == 1 and batch_norms(model):
        raise UnfitModel(
            "the model has batch norms and task.batch_size is 1, which has no variance", "set task.batch_size=2 or more"
        )
    few = (
        rows
        if len(rows) >= 2
        else Rows(arrays={name: torch.cat([row, row]) for name, row in rows.arrays.items()}, form=rows.form)
    )
    model.train()
    try:
        _gradients(model, objective, few)
    except UnfitModel as error:
        raise UnfitModel(f"in training mode: {error.problem}", error.fix) from error


# What torch says of a misfit, and what to do about it; the first that fits counts.
_HINTS = (
    (
        ("target size",),
        "give outputs and targets one shape; for one logit a row use task.loss=binary, for several labels multi_label "
        "(fl.task.objectives has both for paying)",
    ),
    (
        ("target dtype", "result type"),
        "classes have to be whole numbers, and targets of a regression or of binary cross-entropy floats",
    ),
    (
        ("class probabilities",),
        "cross-entropy takes an output for each class, shape (n, classes); for one logit a row use task.loss=binary "
        "(fl.task.objectives.Binary for paying), for several labels a row multi_label (nn.BCEWithLogitsLoss(), and floats)",
    ),
    (
        ("for argument #1 'indices'",),
        "ids have to come as whole numbers: set data.ids=true for a table of them, which is read as standardised numbers otherwise, "
        "and give them to paying() as an integer array",
    ),
    (
        ("dtype", "scalar type", "can't be cast"),
        "inputs come as float32 or int64 and the parameters are {kinds}: convert in forward (x.float(), x.long(), "
        "x.to(self.weight.dtype)), or build the model in float32",
    ),
    (
        ("out of bounds", "out of range"),
        "give an output for each class (for one logit a row use task.loss=binary), and an embedding a row for each word, or "
        "correct the labels",
    ),
    (
        ("more than 1 value per channel", "more than 1 spatial"),
        "keep running statistics (track_running_stats=True), or use LayerNorm or GroupNorm: a row's loss may not depend on the rows "
        "beside it",
    ),
    (
        ("forward()",),
        "give forward the inputs that it takes: (x, y) for one, ((x, z), y) for two, a dict for named ones",
    ),
    (
        ("must be tensor", "has no attribute"),
        "a loss is a module, such as nn.CrossEntropyLoss(), or a function loss(model, batch) that calls the model itself",
    ),
    (("",), "make forward take the inputs, and the loss (outputs, targets), in these shapes"),
)


def _hint(model: nn.Module, error: Exception | SystemExit) -> str:
    words = str(error).lower()
    kinds = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()})
    found = next(advice for signs, advice in _HINTS if any(sign in words for sign in signs))
    return found.format(kinds=", ".join(kinds))


def _outputs(model: nn.Module, rows: Rows) -> Tensor | None:
    try:
        batch = rows.batch()
        with torch.no_grad(), drawing_alike():
            made = model(*batch[:-1]) if isinstance(batch, tuple) else None
    except Exception:  # it is only for the message
        return None
    return made if isinstance(made, Tensor) else None


def _shapes(made: Tensor | None, rows: Rows) -> str:
    return (
        f" (outputs of shape {tuple(made.shape)}, targets of shape {tuple(rows.labels.shape)})"
        if made is not None
        else ""
    )


def _words(error: Exception | SystemExit) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}"
