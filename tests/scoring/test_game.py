import numpy as np
import pytest
import torch
from torch import nn

from fl.codec import LayoutMismatch
from fl.scoring.coalition.evaluate import _with_relus_in_place, evaluate
from fl.scoring.game import ValidationGame
from fl.task.model_vector import load_vector, vector_of
from fl.task.models import LeNet


class Everything(nn.Module):
    """Dropout, batch statistics (float and integer buffers) and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 2)
        self.frozen.requires_grad_(False)
        self.norm.running_mean += 0.5
        self.norm.running_var *= 2

    def forward(self, x):
        return self.last(self.drop(self.norm(self.frozen(x))))


@pytest.fixture
def everything(rows):
    """A game of a model with all that a vector may hold."""
    torch.manual_seed(0)
    return ValidationGame(Everything(), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)


def test_a_gradient_is_zero_at_buffers_and_frozen_parameters(everything):
    gradient = everything.layout.unflatten(everything.gradient(vector_of(everything.model)))
    assert set(gradient) == {
        "frozen.weight", "frozen.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
        "last.weight", "last.bias",
    }  # fmt: skip
    for name in ("frozen.weight", "frozen.bias", "norm.running_mean", "norm.running_var"):
        assert not gradient[name].any(), name
    for name in ("norm.weight", "last.weight", "last.bias"):
        assert gradient[name].any(), name


def test_a_game_scores_in_evaluation_mode(everything):
    vector = vector_of(everything.model)
    first, second = everything.evaluate(vector), everything.evaluate(vector)
    assert first == second  # dropout is off
    everything.gradient(vector)
    np.testing.assert_array_equal(vector_of(everything.model), vector)  # batch statistics are frozen
    assert not everything.model.training


class Standardising(nn.Module):
    """Writes into what it is given, as preprocessing inside of a model does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x.sub_(1.0).div_(2.0))


def test_a_model_that_writes_into_its_input_leaves_the_validation_set_as_it_was(rows):
    game = ValidationGame(Standardising(), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    before, vector = game.features.clone(), vector_of(game.model)
    assert game.evaluate(vector) == game.evaluate(vector)
    np.testing.assert_array_equal(game.gradient(vector), game.gradient(vector))
    zeros = np.zeros((1, len(vector)))
    first, second = (evaluate(game, base=vector, parts=zeros, factors=np.ones((1, 1))).losses for _ in range(2))
    assert first == second == pytest.approx(game.evaluate(vector).loss)
    torch.testing.assert_close(game.features, before, rtol=0, atol=0)


class SkippingRelu(nn.Module):
    """Reads again what its ReLU was given, which is positive in the first rows."""

    def __init__(self):
        super().__init__()
        self.layer, self.act, self.last = nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x):
        hidden = self.layer(x)
        return self.last(hidden + self.act(hidden))


def test_a_relu_whose_input_is_read_again_does_not_overwrite_it():
    draw = np.random.default_rng(0)
    features = np.concatenate([np.ones((2, 3)), draw.normal(size=(30, 3))]).astype(np.float32)
    model = SkippingRelu()
    with torch.no_grad():
        model.layer.weight.copy_(torch.eye(3))
        model.layer.bias.zero_()
    game = ValidationGame(model, loss=nn.CrossEntropyLoss(), features=features, labels=draw.integers(2, size=32))
    vector = vector_of(model)
    found = evaluate(game, base=vector, parts=np.zeros((1, len(vector))), factors=np.ones((1, 1)))
    assert found.losses[0] == pytest.approx(game.evaluate(vector).loss, abs=1e-6)


def test_a_relu_whose_input_nobody_reads_again_overwrites_it():
    hasty = _with_relus_in_place(LeNet((1, 8, 8), 3).eval(), torch.randn(2, 1, 8, 8))
    assert all(one.inplace for one in hasty.modules() if isinstance(one, nn.ReLU))


def test_a_games_model_is_a_copy(rows):
    model = nn.Linear(3, 2)
    before = vector_of(model).copy()
    game = ValidationGame(model, loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    game.evaluate(np.zeros(8, dtype=np.float32))
    np.testing.assert_array_equal(vector_of(model), before)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1000])
def test_the_size_of_a_batch_does_not_change_the_gradient_or_the_loss(rows, batch_size):
    model, vector = nn.Linear(3, 2), np.linspace(-1, 1, 8, dtype=np.float32)
    whole = ValidationGame(model, loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    parts = ValidationGame(
        model, loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels, batch_size=batch_size
    )
    np.testing.assert_allclose(parts.gradient(vector), whole.gradient(vector), atol=1e-7)
    assert parts.evaluate(vector).loss == pytest.approx(whole.evaluate(vector).loss)
    assert parts.evaluate(vector).accuracy == whole.evaluate(vector).accuracy


def test_accuracy_is_the_share_of_right_answers(rows):
    game = ValidationGame(nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    exact = np.zeros(8, dtype=np.float32)
    exact[0], exact[3] = -1, 1  # class 1 where the first column is above 0
    assert game.evaluate(exact).accuracy == 1.0
    assert game.evaluate(-exact).accuracy == 0.0


def test_a_regression_has_a_loss_and_no_accuracy(rows):
    targets = rows.features[:, :1]
    game = ValidationGame(nn.Linear(3, 1), loss=nn.MSELoss(), features=rows.features, labels=targets)
    vector = np.array([1, 0, 0, 0], dtype=np.float32)
    assert game.evaluate(vector).loss == pytest.approx(0)
    assert game.evaluate(vector).accuracy == 0


def test_gradients_do_not_add_up_between_calls(rows):
    game = ValidationGame(nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    vector = np.ones(8, dtype=np.float32)
    np.testing.assert_array_equal(game.gradient(vector), game.gradient(vector))


@pytest.mark.parametrize(("inputs", "labels"), [(0, 0), (2, 3), (0, 1)])
def test_an_empty_or_uneven_validation_set_is_refused(inputs, labels):
    with pytest.raises(ValueError, match=f"the validation set has {inputs} inputs and {labels} labels") as caught:
        ValidationGame(
            nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), features=np.zeros((inputs, 3)), labels=np.zeros(labels)
        )
    assert str(caught.value).endswith("it needs as many of both, and at least one")


def test_a_vector_of_another_size_is_refused(rows):
    game = ValidationGame(nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    with pytest.raises(LayoutMismatch):
        game.evaluate(np.zeros(9, dtype=np.float32))


def test_an_integer_buffer_stays_as_it_is():
    model = nn.BatchNorm1d(2)
    model.num_batches_tracked += 7
    load_vector(model, np.zeros(8, dtype=np.float32))
    assert int(model.num_batches_tracked) == 7
    assert len(vector_of(model)) == 8
