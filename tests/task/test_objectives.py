import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from fl.task.data.text import IGNORED
from fl.task.objectives import (
    Binary,
    Huber,
    LanguageModelling,
    MultiLabel,
    SquaredError,
    UnfitOutput,
    objective_of,
    perplexity,
)


def same(outputs):
    """A model that gives what it is built with."""

    class Same(nn.Module):
        def forward(self, x):
            return outputs[: len(x)]

    return Same()


X = torch.zeros(3, 1)


@pytest.mark.parametrize(
    ("objective", "outputs", "targets", "rows", "right"),
    [
        (SquaredError(), torch.tensor([[1.0], [2], [3]]), torch.tensor([1.0, 0, 0]), [0, 4, 9], None),
        (SquaredError(), torch.ones(3, 2), torch.tensor([[1.0, 0], [1, 1], [0, 0]]), [0.5, 0, 1], None),
        (Huber(), torch.tensor([[0.5], [3.0], [0.0]]), torch.zeros(3, 1), [0.125, 2.5, 0], None),
        (Binary(), torch.zeros(3, 1), torch.tensor([0, 1, 1]), [math.log(2)] * 3, 1),
        (Binary(), torch.tensor([-9.0, 9, 9]), torch.tensor([0, 1, 0]), [0.0001234, 0.0001234, 9.0001234], 2),
        (MultiLabel(), torch.zeros(3, 2), torch.ones(3, 2).long(), [math.log(2)] * 3, None),
        (MultiLabel(), torch.zeros(3, 2), torch.tensor([0, 1, 0]), [math.log(2)] * 3, None),
    ],
)
def test_ready_losses_give_one_loss_a_row(objective, outputs, targets, rows, right):
    model, batch = same(outputs), (X, targets)
    assert objective(model, batch).tolist() == pytest.approx(rows, abs=1e-6)
    mean, found = objective.judge(model, batch)
    assert (float(mean), found) == (pytest.approx(sum(rows) / 3, abs=1e-6), right)


@pytest.mark.parametrize(
    ("objective", "outputs", "targets", "message"),
    [
        (SquaredError(), torch.ones(3, 2), torch.ones(3), "give as many numbers a row as there are targets"),
        (Binary(), torch.ones(3, 2), torch.ones(3), "task.loss=binary takes one logit a row and labels 0 or 1"),
        (MultiLabel(), torch.ones(3, 2), torch.ones(3), "task.loss=multi_label takes one logit for each label"),
        (LanguageModelling(), {"loss": 1}, torch.ones(3), "language modelling takes logits of shape"),
    ],
)
def test_outputs_that_a_loss_cannot_take_are_refused_with_both_shapes(objective, outputs, targets, message):
    class Gives(nn.Module):
        def forward(self, x):
            return outputs

    with pytest.raises(UnfitOutput, match=message):
        objective.mean(Gives(), (X, targets))


def test_language_modelling_means_over_a_rows_tokens_that_count():
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 3, 4], [5, IGNORED, IGNORED, 6]])
    each = functional.cross_entropy(logits.transpose(1, 2), targets.clamp(min=0), reduction="none")
    found = LanguageModelling()(same(logits), (torch.zeros(2, 4).long(), targets))
    torch.testing.assert_close(found, torch.stack([each[0].mean(), each[1, [0, 3]].mean()]))
    nothing = LanguageModelling()(same(logits), (torch.zeros(2, 4).long(), torch.full((2, 4), IGNORED)))
    assert nothing.tolist() == [0, 0]


def test_labels_of_a_named_batch_stand_beside_their_tokens():
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))

    class Output:
        def __init__(self):
            self.logits = logits

    class Causal(nn.Module):
        def forward(self, input_ids, attention_mask):
            return Output()

    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 1]])
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
    expected = functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)
    torch.testing.assert_close(LanguageModelling()(Causal(), batch), expected)


def test_a_function_of_the_mean_gives_its_rows_by_one_call_each():
    outputs = torch.tensor([[1.0], [2], [3]])
    objective = objective_of(lambda model, batch: (batch[0] ** 2).mean())
    assert objective(same(outputs), (outputs,)).tolist() == [1, 4, 9]
    assert float(objective.mean(same(outputs), (outputs,))) == pytest.approx(14 / 3)


def test_perplexity_is_the_exponent_of_the_loss_and_never_overflows():
    assert perplexity(0) == 1
    assert perplexity(1000) == math.inf
