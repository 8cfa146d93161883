import numpy as np
import pytest
import torch
from torch import nn

from fl.codec import LayoutMismatch
from fl.scoring.coalition.evaluate import _with_relus_in_place, evaluate
from fl.scoring.game import ValidationGame
from fl.task.model_vector import load_vector, vector_of
from fl.task.models import LeNet
from fl.task.objectives import SquaredError
from fl.task.rows import Rows


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


def test_buffers_and_frozen_parameters_do_not_travel(everything):
    gradient = everything.layout.unflatten(everything.gradient(vector_of(everything.model)))
    assert set(gradient) == {"norm.weight", "norm.bias", "last.weight", "last.bias"}
    for name in ("norm.weight", "last.weight", "last.bias"):
        assert gradient[name].any(), name


def test_a_game_scores_in_evaluation_mode(everything):
    vector = vector_of(everything.model)
    again = everything.subset(
        torch.ones(len(everything), dtype=torch.bool)
    )  # which knows nothing of what was evaluated
    assert everything.evaluate(vector) == again.evaluate(vector)  # dropout is off
    everything.gradient(vector)
    np.testing.assert_array_equal(vector_of(everything.model), vector)  # batch statistics are frozen
    assert not everything.model.training


def test_a_model_that_was_evaluated_is_not_passed_again_until_its_statistics_change(everything):
    passes = []
    everything.model.register_forward_hook(lambda *_: passes.append(1))
    vectors = [vector_of(everything.model) + np.float32(0.01 * number) for number in range(9)]
    first = everything.evaluate(vectors[0])
    once = len(passes)
    assert everything.evaluate(vectors[0].copy()) == first
    assert len(passes) == once
    assert everything.evaluate(vectors[1]) != first
    assert len(passes) == 2 * once
    statistics = {name: value + 1 for name, value in everything.measure_statistics(vectors[0]).items()}
    before = len(passes)
    measured = everything.evaluate(vectors[0])
    everything.load_statistics(statistics)
    assert everything.evaluate(vectors[0]) != measured
    assert len(passes) == before + 2 * once
    for vector in vectors[1:]:
        everything.evaluate(vector)
    before = len(passes)
    everything.evaluate(vectors[0])  # the oldest of nine is forgotten
    assert len(passes) == before + once


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
    again = game.subset(torch.ones(len(game), dtype=torch.bool))
    assert game.evaluate(vector) == again.evaluate(vector)
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
    hasty = _with_relus_in_place(LeNet((1, 8, 8), 3).eval(), (torch.randn(2, 1, 8, 8), torch.zeros(2)))
    assert all(module.inplace for module in hasty.modules() if isinstance(module, nn.ReLU))


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
    assert game.evaluate(vector).accuracy is None


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


def test_buffers_stay_as_they_are():
    model = nn.BatchNorm1d(2)
    model.num_batches_tracked += 7
    load_vector(model, np.zeros(4, dtype=np.float32))
    assert int(model.num_batches_tracked) == 7
    assert model.running_var.tolist() == [1, 1]
    assert len(vector_of(model)) == 4


def test_batch_statistics_are_measured_on_the_games_rows(rows, everything):
    vector = vector_of(everything.model)
    statistics = everything.measure_statistics(vector)
    hidden = everything.model.frozen(torch.from_numpy(rows.features)).detach()
    np.testing.assert_allclose(statistics["norm.running_mean"], hidden.mean(0), atol=1e-6)
    np.testing.assert_allclose(statistics["norm.running_var"], hidden.var(0), rtol=1e-5)
    assert not everything.model.training
    assert everything.model.norm.momentum == 0.1
    half = everything.subset(torch.arange(40) < 20)
    half.load_statistics(statistics)
    np.testing.assert_array_equal(half.model.norm.running_mean, statistics["norm.running_mean"])


def test_a_last_row_alone_has_no_variance_and_is_shared_out(rows):
    game = ValidationGame(
        nn.BatchNorm1d(3), loss=SquaredError(), features=rows.features[:33], labels=rows.features[:33], batch_size=32
    )
    found = game.measure_statistics(vector_of(game.model))
    np.testing.assert_allclose(found["running_mean"], rows.features[:33].mean(0), atol=1e-5)


def test_a_model_without_batch_norms_has_no_statistics(rows):
    game = ValidationGame(nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    assert game.measure_statistics(vector_of(game.model)) == {}


class Drawing(nn.Module):
    """Draws in its forward pass, as a variational model does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x + torch.randn_like(x))


def test_what_a_model_draws_is_the_same_each_time_and_the_generators_are_put_back(rows):
    game = ValidationGame(Drawing(), loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    vector, state = vector_of(game.model), torch.random.get_rng_state()
    np.testing.assert_array_equal(game.gradient(vector), game.gradient(vector))
    assert game.evaluate(vector) == game.evaluate(vector)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_rows_of_any_form_have_a_loss_a_gradient_and_a_hash(rows):
    named = Rows(arrays={"x": torch.from_numpy(rows.features), "y": torch.from_numpy(rows.labels)}, form="named")
    model = nn.Linear(3, 2)

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")

    game = ValidationGame(model, loss=loss, rows=named)
    plain = ValidationGame(model, loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)
    vector = vector_of(model)
    assert game.evaluate(vector).loss == pytest.approx(plain.evaluate(vector).loss)
    np.testing.assert_allclose(game.gradient(vector), plain.gradient(vector), atol=1e-7)
    assert game.validation_hash != plain.validation_hash
    parts = np.ones((1, len(vector)))
    ours, theirs = (evaluate(tried, base=vector, parts=parts, factors=np.ones((1, 1))) for tried in (game, plain))
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-6)


def test_classes_and_token_ids_of_the_same_numbers_have_other_hashes():
    ids = torch.tensor([[1, 2], [3, 4]])
    hashes = {
        Rows(arrays={"features": features, "labels": torch.tensor([0, 1])}, form=form).hash()
        for features, form in ((ids, "pair"), (ids.float(), "pair"), (ids, "tuple"))
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(("large", "trimmed"), [(True, [0]), (False, [])])
def test_a_large_models_passes_give_their_memory_back(everything, monkeypatch, large, trimmed):
    asked = []

    class System:
        """Its C library, as far as it is asked."""

        malloc_trim = staticmethod(asked.append)

    monkeypatch.setattr("fl.scoring.game.is_large", lambda model: large)
    monkeypatch.setattr("fl.scoring.game._libc", System)
    everything.give_back()
    assert asked == trimmed
    monkeypatch.setattr("fl.scoring.game._libc", lambda: None)
    everything.give_back()  # a system that has no such call
