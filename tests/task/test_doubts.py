"""Outputs that are not what a loss takes are doubted by their values, with what to change; what is usual is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fl.task.doubts import doubts
from fl.task.models import MLP, LeNet, LogisticRegression
from fl.task.objectives import Binary, Huber, LanguageModelling, MultiLabel, SquaredError, objective_of
from fl.task.rows import rows_of

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(40, 5)).astype(np.float32)
CLASSES = X[:, :3].argmax(1)
YES = (X[:, 0] > 0).astype(np.int64)
NUMBERS = X[:, :1] + X[:, 1:2]
IMAGES = DRAW.random(size=(40, 1, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """A layer, and what a test does to its output."""

    def __init__(self, change=lambda outputs: outputs, *, outputs=3, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.change = nn.Linear(5, outputs), change
        with torch.no_grad():
            self.layer.weight.mul_(scale)

    def forward(self, x):
        return self.change(self.layer(x))


class Words(nn.Module):
    """Tokens to the next one."""

    def __init__(self, change=lambda outputs: outputs):
        super().__init__()
        self.words, self.out, self.change = nn.Embedding(20, 4), nn.Linear(4, 20), change

    def forward(self, tokens):
        return self.change(self.out(self.words(tokens)))


class OwnCrossEntropy(nn.Module):
    """Somebody's own, of the same values."""

    def forward(self, output, target):
        return -output.log_softmax(1)[torch.arange(len(target)), target].mean()


def own_function(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def own_two_sided(model, batch):
    return functional.binary_cross_entropy_with_logits(model(batch[0])[:, 0], batch[1].float(), reduction="none")


def softmax(outputs):
    return outputs.softmax(1)


TOKENS = DRAW.integers(0, 20, size=(40, 6))
SOFTMAX = "the model's outputs are probabilities already (they sum to 1), and the loss takes a softmax of them: no row's loss comes below {}; leave out the softmax at the end of forward"
SIGMOID = "the model's outputs lie between 0 and 1 whatever it learns, and the loss takes logits: {}; leave out the sigmoid at the end of forward"
RELU = "the model's outputs are never below 0, and the loss takes logits, of which 0 says that it is open; leave out the ReLU at the end of forward"
ODD = {
    "softmax": (Net(softmax), nn.CrossEntropyLoss(), (X, CLASSES), SOFTMAX.format("0.551")),
    "softmax, smoothed": (Net(softmax), nn.CrossEntropyLoss(label_smoothing=0.1), (X, CLASSES), SOFTMAX.format("0.551")),
    "softmax, own loss": (Net(softmax), OwnCrossEntropy(), (X, CLASSES), SOFTMAX.format("0.551")),
    "softmax, own function": (Net(softmax), own_function, (X, CLASSES), SOFTMAX.format("0.551")),
    "softmax of two": (Net(softmax, outputs=2), nn.CrossEntropyLoss(), (X, YES), SOFTMAX.format("0.313")),
    "softmax of words": (
        Words(lambda out: out.softmax(-1)),
        LanguageModelling(),
        (TOKENS, TOKENS),
        SOFTMAX.format("2.08"),
    ),
    "sigmoid": (Net(torch.sigmoid, outputs=1), Binary(), (X, YES), SIGMOID.format("a row of class 0 never comes below a loss of 0.693")),
    "sigmoid, torch's loss": (
        Net(lambda out: out[:, 0].sigmoid(), outputs=1),
        nn.BCEWithLogitsLoss(),
        (X, YES.astype(np.float32)),
        SIGMOID.format("a row of class 0 never comes below a loss of 0.693"),
    ),
    "sigmoid, own function": (
        Net(torch.sigmoid, outputs=1), own_two_sided, (X, YES), SIGMOID.format("a row of class 0 never comes below a loss of 0.693"),
    ),
    "sigmoid of labels": (
        Net(torch.sigmoid), MultiLabel(), (X, (X[:, :3] > 0).astype(np.float32)), SIGMOID.format("a row of class 0 never comes below a loss of 0.693"),
    ),
    "sigmoid of classes": (Net(torch.sigmoid), nn.CrossEntropyLoss(), (X, CLASSES), SIGMOID.format("no class is ever far from another")),
    "relu of classes": (Net(torch.relu), nn.CrossEntropyLoss(), (X, CLASSES), RELU),
    "relu of one logit": (Net(torch.relu, outputs=1), Binary(), (X, YES), RELU),
    "sigmoid for numbers": (Net(torch.sigmoid, outputs=1), SquaredError(), (X, NUMBERS), "leave out the sigmoid at the end of forward"),
    "tanh for numbers": (Net(torch.tanh, outputs=1), Huber(), (X, 3 * NUMBERS), "lie between -1 and 1 whatever it learns, and"),
    "relu for numbers": (Net(torch.relu, outputs=1), nn.MSELoss(), (X, NUMBERS), "lie never below 0, and"),
}  # fmt: skip
USUAL = {
    "logits": (Net(), nn.CrossEntropyLoss(), (X, CLASSES)),
    "small logits": (Net(scale=1e-3), nn.CrossEntropyLoss(), (X, CLASSES)),
    "one small positive logit": (Net(lambda out: out * 0.1 + 0.3, outputs=1, scale=1e-3), Binary(), (X, YES)),
    "log softmax under cross-entropy": (Net(lambda out: out.log_softmax(1)), nn.CrossEntropyLoss(), (X, CLASSES)),
    "log softmax": (Net(lambda out: out.log_softmax(1)), nn.NLLLoss(), (X, CLASSES)),
    "probabilities that are asked for": (Net(torch.sigmoid, outputs=1), nn.BCELoss(), (X, YES.astype(np.float32)[:, None])),
    "softmax under squares": (Net(softmax), nn.MSELoss(), (X, np.eye(3, dtype=np.float32)[CLASSES])),
    "a share": (Net(torch.sigmoid, outputs=1), SquaredError(), (X, np.abs(np.sin(NUMBERS)))),
    "counts": (Net(torch.relu, outputs=1), SquaredError(), (X, np.abs(NUMBERS))),
    "numbers": (Net(outputs=1), SquaredError(), (X, NUMBERS)),
    "words": (Words(), LanguageModelling(), (TOKENS, TOKENS)),
    "regression": (LogisticRegression((5,), 3), nn.CrossEntropyLoss(), (X, CLASSES)),
    "layers": (MLP((5,), 3), nn.CrossEntropyLoss(), (X, CLASSES)),
    "one logit of layers": (MLP((5,), 1), Binary(), (X, YES)),
    "images": (LeNet((1, 8, 8), 3), nn.CrossEntropyLoss(), (IMAGES, CLASSES)),
    "one logit of images": (LeNet((1, 8, 8), 1), Binary(), (IMAGES, YES)),
    "what fails": (Net(outputs=2), nn.MSELoss(), (X[:, :4], NUMBERS)),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_outputs_that_are_not_what_the_loss_takes_are_doubted(name):
    model, loss, validation, told = ODD[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (doubt,) = doubts(model, objective_of(loss), rows_of(validation))
    assert told in doubt
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("name", USUAL)
def test_what_is_usual_is_not_doubted(name):
    model, loss, validation = USUAL[name]
    assert doubts(model, objective_of(loss), rows_of(validation)) == []


def test_the_least_loss_that_is_told_is_the_one_that_a_certain_model_has():
    certain = torch.eye(3)
    assert float(functional.cross_entropy(certain, torch.arange(3))) == pytest.approx(math.log(1 + 2 / math.e))
    assert float(functional.binary_cross_entropy_with_logits(torch.zeros(1), torch.zeros(1))) == pytest.approx(
        0.693, abs=1e-3
    )


@pytest.mark.parametrize("columns", [5, 4], ids=["as it works", "where it fails"])
def test_a_part_that_is_frozen_stays_frozen(columns):
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Softmax(dim=1))
    model[1].eval()
    found = doubts(model, objective_of(nn.CrossEntropyLoss()), rows_of((X[:, :columns], CLASSES)))
    assert bool(found) == (columns == 5)
    assert [part.training for part in model.modules()] == [True, True, False, True, True]
