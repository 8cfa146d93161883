"""What a task minimises: a function of a model and a batch that gives one loss a row.

    rows = objective(model, batch)        # shape (n,); the loss of a data set is the mean over its rows

A batch is a tuple of tensors, inputs first and the target last, or a dict of them; each has its rows in the first axis. An
ordinary loss module, `loss(model(x), y)`, is taken for one by `objective_of`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from fl.errors import ConfigError, FairshareError
from fl.task.data.text import IGNORED

Batch = tuple[Tensor, ...] | dict[str, Tensor]


class UnfitOutput(FairshareError):
    """A model gives something that its loss cannot take."""

    def __init__(self, seen: str, fix: str) -> None:
        super().__init__(seen, fix)
        self.seen, self.fix = seen, fix

    def __str__(self) -> str:
        return f"the model gives {self.seen}; {self.fix}"


class Objective(nn.Module):
    """Per-row losses of a model on a batch. A subclass gives `forward`; the rest follows from it."""

    metric: str | None = None  # what is told beside the loss: accuracy, perplexity, or nothing

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss a row, shape (n,)."""
        raise NotImplementedError

    def mean(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss, a scalar."""
        return self(model, batch).mean()

    def judge(self, model: nn.Module, batch: Batch) -> tuple[Tensor, int | None]:
        """The batch's loss, and how many rows are right; None where there is no right."""
        return self.mean(model, batch), None

    def outputs(self, num_classes: int) -> int:
        """How many numbers a model has to give for a row of a data set with so many classes."""
        return num_classes


class OutputObjective(Objective):
    """A loss of the model's output and a target: the last of a tuple, or `labels` of a dict."""

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """One loss a row, shape (n,)."""
        raise NotImplementedError

    def mean_of(self, output: Tensor, target: Tensor) -> Tensor:
        """Their mean."""
        return self.rows_of(output, target).mean()

    def right_of(self, output: Tensor, target: Tensor) -> int | None:
        """How many rows are right; None where there is no right."""
        return None

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss a row, shape (n,)."""
        return self.rows_of(*_output_and_target(model, batch))

    def mean(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss, a scalar."""
        return self.mean_of(*_output_and_target(model, batch))

    def judge(self, model: nn.Module, batch: Batch) -> tuple[Tensor, int | None]:
        """The batch's loss, and how many rows are right."""
        output, target = _output_and_target(model, batch)
        return self.mean_of(output, target), self.right_of(output, target)


class ModuleObjective(OutputObjective):
    """A loss module of torch's kind, which means over a batch: loss(model(x), y)."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        # With class weights torch divides by the weights of the batch, so that a row would count for more in another batch.
        self.weighted = getattr(loss, "reduction", None) == "mean" and getattr(loss, "weight", None) is not None
        self.single: nn.Module | None = None
        if getattr(loss, "reduction", None) == "mean":
            single: Any = copy.deepcopy(loss)  # a module says nothing of its own settings' types
            single.reduction = "none"
            self.single = single

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """One loss a row; a loss over several outputs (MSE) means over those of a row."""
        if self.single is not None:
            return self.single(output, target).reshape(len(output), -1).mean(1)
        try:
            return vmap(lambda row, label: self.loss(row[None], label[None]))(output, target)
        except RuntimeError:  # it looks at values, which vmap has none of
            return torch.stack([self.loss(output[row : row + 1], target[row : row + 1]) for row in range(len(output))])

    def mean_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The batch's loss."""
        return self.rows_of(output, target).mean() if self.weighted else self.loss(output, target)

    def right_of(self, output: Tensor, target: Tensor) -> int | None:
        """Rows whose largest output is the label's, where rows have one label."""
        return _right_classes(output, target)


class Function(Objective):
    """A function `loss(model, batch)` of somebody's own, with a loss a row or, if it cannot say them, the batch's mean."""

    def __init__(self, function: Callable[[nn.Module, Batch], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss a row; of a function that only gives a mean, by one call a row."""
        found = self._called(model, batch)
        if found.ndim:
            return found
        return torch.stack([self._called(model, row) for row in _single_rows(batch)])

    def mean(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss."""
        return self._called(model, batch).mean()

    def _called(self, model: nn.Module, batch: Batch) -> Tensor:
        found = self.function(model, batch)
        if not isinstance(found, Tensor) or found.ndim > 1 or (found.ndim and len(found) != rows_in(batch)):
            seen = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            name = getattr(self.function, "__name__", type(self.function).__name__)
            raise UnfitOutput(
                seen=f"its loss function {name} {seen} for {rows_in(batch)} rows",
                fix="a loss(model, batch) returns one loss a row, shape (n,), or their mean",
            )
        return found


# ---- ready ones ------------------------------------------------------------------------------------------------------


class _Regression(OutputObjective):
    """Numbers, one or several a row; (n, 1) and (n,) are the same."""

    pointwise: Callable[..., Tensor]

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over a row's numbers."""
        if output.numel() != target.numel():
            raise UnfitOutput(
                seen=f"outputs of shape {tuple(output.shape)} for targets of shape {tuple(target.shape)}",
                fix="give as many numbers a row as there are targets",
            )
        errors = type(self).pointwise(output.reshape(target.shape), target.to(output.dtype), reduction="none")
        return errors.reshape(len(errors), -1).mean(1)


class SquaredError(_Regression):
    """Mean squared error."""

    pointwise = staticmethod(functional.mse_loss)


class Huber(_Regression):
    """Huber's loss with δ = 1: squared where the error is small, absolute where it is large (Huber 1964)."""

    pointwise = staticmethod(functional.huber_loss)


class Binary(OutputObjective):
    """Two classes told by one logit: (n, 1) or (n,), positive for class 1."""

    metric = "accuracy"

    def outputs(self, num_classes: int) -> int:
        """One."""
        return 1

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the logit."""
        if output.numel() != len(target) or target.numel() != len(target):
            raise UnfitOutput(
                seen=f"outputs of shape {tuple(output.shape)} for labels of shape {tuple(target.shape)}",
                fix="task.loss=binary takes one logit a row and labels 0 or 1; set task.loss=cross_entropy for more classes",
            )
        logits, labels = output.reshape(-1), target.reshape(-1).to(output.dtype)
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    def right_of(self, output: Tensor, target: Tensor) -> int:
        """Rows on the right side of 0."""
        return int(((output.reshape(-1) > 0) == (target.reshape(-1) > 0.5)).sum())


class MultiLabel(OutputObjective):
    """Any number of labels a row: logits (n, L) and targets (n, L) of 0 and 1."""

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over the labels of a row; one class a row, shape (n,), is the one label that it has."""
        if target.ndim == 1 and output.ndim == 2 and not target.is_floating_point():
            target = functional.one_hot(target, output.shape[1])
        if output.shape != target.shape:
            raise UnfitOutput(
                seen=f"outputs of shape {tuple(output.shape)} for labels of shape {tuple(target.shape)}",
                fix="task.loss=multi_label takes one logit for each label, and labels of 0 and 1 in as many columns",
            )
        losses = functional.binary_cross_entropy_with_logits(output, target.to(output.dtype), reduction="none")
        return losses.reshape(len(losses), -1).mean(1)


class LanguageModelling(Objective):
    """The next token, masked by token: each row's loss is the mean over its targets that are not −100.

    A batch is (tokens, targets), or a dict with input_ids, labels and what else the model takes. In a tuple the targets are the
    next tokens already; in a dict labels stand beside their own tokens, as transformers wants them, and are shifted here.
    """

    metric = "perplexity"

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss a row, in nats a token."""
        check_target(batch)
        if isinstance(batch, dict):
            inputs = {name: array for name, array in batch.items() if name != "labels"}
            logits, targets = logits_of(model(**inputs))[:, :-1], batch["labels"][:, 1:]
        else:
            logits, targets = logits_of(model(*batch[:-1])), batch[-1]
        losses = functional.cross_entropy(
            logits.transpose(1, 2).float(), targets, reduction="none", ignore_index=IGNORED
        )
        counted = targets != IGNORED
        return (losses * counted).sum(1) / counted.sum(1).clamp(min=1)


def check_target(batch: Batch) -> None:
    """A module takes the target from the last place of a tuple, or from `labels`. Raises: ConfigError if there is none."""
    if isinstance(batch, dict):
        if "labels" not in batch:
            first, *_, last = [*batch, *batch]
            raise ConfigError(
                f"the batches have {', '.join(batch)}, and a loss module takes its targets from labels; call them so, or give a function, "
                f"as loss=lambda model, batch: criterion(model(batch[{first!r}]), batch[{last!r}])"
            )
    elif len(batch) < 2:
        raise ConfigError(
            "the batches are inputs alone, and a loss module takes targets too; give (inputs, targets), such as (x, x) to an autoencoder, or "
            "a function loss(model, batch)"
        )


class TokenClassification(OutputObjective):
    """A class for each token, masked by token: each row's loss is the mean over its targets that are not −100."""

    def rows_of(self, output: Tensor, target: Tensor) -> Tensor:
        """One loss a row."""
        if output.ndim != 3 or output.shape[:2] != target.shape:
            raise UnfitOutput(
                seen=f"outputs of shape {tuple(output.shape)} for labels of shape {tuple(target.shape)}",
                fix="token classification takes logits of shape (n, tokens, classes) and a class for each token",
            )
        losses = functional.cross_entropy(
            output.transpose(1, 2).float(), target, reduction="none", ignore_index=IGNORED
        )
        counted = target != IGNORED
        return (losses * counted).sum(1) / counted.sum(1).clamp(min=1)


class Preference(Objective):
    """Pairs of answers, the better one first: −log σ(β·(gain of the better − gain of the other)), β = 0.1.

    An answer's gain is how much likelier the model makes it than its base does. A batch is (tokens, targets), both of shape
    (n, 2, t), with −100 where a target counts for nothing. Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7.
    """

    alone = True  # it switches the model's adapters off and on: no other thread may pass at the same time

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss a row."""
        if isinstance(batch, dict) or batch[0].ndim != 3:
            raise UnfitOutput(
                seen="no pairs to compare", fix="task.loss=preference takes tokens of shape (n, 2, t): data.form=pairs"
            )
        reference: Any = getattr(model, "reference", None)
        if reference is None:
            raise UnfitOutput(
                seen="no base to compare it with",
                fix="give it reference(tokens) beside forward(tokens), as fl.task.language:CausalLM has",
            )
        tokens, targets = batch[0].flatten(0, 1), batch[-1].flatten(0, 1)
        gains = _likelihood(logits_of(model(tokens)), targets) - _likelihood(logits_of(reference(tokens)), targets)
        better, other = gains.reshape(-1, 2).unbind(1)
        return -functional.logsigmoid(_BETA * (better - other))


_BETA = 0.1


def _likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """The logarithm of each row's probability, over the targets that count, shape (n,)."""
    losses = functional.cross_entropy(logits.transpose(1, 2).float(), targets, reduction="none", ignore_index=IGNORED)
    return -losses.sum(1)


def objective_of(loss: Any) -> Objective:
    """An objective from what people have: one already, a loss module, or a function loss(model, batch)."""
    if isinstance(loss, Objective):
        return loss
    return ModuleObjective(loss) if isinstance(loss, nn.Module) else Function(loss)


def logits_of(output: Any) -> Tensor:
    """The logits of what a transformers model returns, or the tensor itself. Raises: UnfitOutput."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    if not isinstance(found, Tensor):
        raise UnfitOutput(seen=_shown(output), fix="language modelling takes logits of shape (n, tokens, words)")
    return found


def perplexity(loss: float) -> float:
    """What a loss in nats a token comes to; infinity beyond what a float holds."""
    return math.exp(loss) if loss < 700 else math.inf


def rows_in(batch: Batch) -> int:
    """How many rows a batch has."""
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch[0])


def _single_rows(batch: Batch) -> Iterator[Batch]:
    for row in range(rows_in(batch)):
        place = slice(row, row + 1)
        if isinstance(batch, dict):
            yield {name: array[place] for name, array in batch.items()}
        else:
            yield tuple(array[place] for array in batch)


def _output_and_target(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    check_target(batch)
    if isinstance(batch, dict):
        target = batch["labels"]
        output = model(**{name: array for name, array in batch.items() if name != "labels"})
        output = output if isinstance(output, Tensor) else logits_of(output)
    else:
        target = batch[-1]
        output = model(*batch[:-1])
    if not isinstance(output, Tensor):
        raise UnfitOutput(
            seen=_shown(output),
            fix="return one tensor from forward, or give a loss(model, batch) that takes what it needs from it",
        )
    return output, target


def _shown(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(str, list(output)[:4]))}"
    return f"a {type(output).__name__}" + (f" of {len(output)}" if isinstance(output, tuple | list) else "")


def _right_classes(output: Tensor, target: Tensor) -> int | None:
    if target.ndim == 1 and output.ndim == 2 and not target.is_floating_point():
        return int((output.argmax(1) == target).sum())
    return None
