import numpy as np
import pytest
import torch
from scoring.rounds import rng, small_round
from torch import nn

from fl.scoring.analysis.confidence import certainty, sample_scores
from fl.scoring.analysis.explanation import can_group, group_directions, names_of
from fl.scoring.direction import direction
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import build_scorer
from fl.scoring.scores import Scores, untold_pairs
from fl.task.model_vector import vector_of
from fl.task.models import LeNet


def samples_of(inputs, nodes=3):
    parts = inputs.matrix()
    return sample_scores(inputs.game, base=inputs.base, step=inputs.step(), parts=parts, nodes=nodes)


@pytest.mark.parametrize("kind", ["tanh", "lenet", "norm"])
def test_the_samples_mean_is_the_score(kind):
    torch.manual_seed(0)
    if kind == "lenet":
        inputs = small_round(model=LeNet((1, 8, 8), 3, group_norm=True), features=(1, 8, 8), clients=2)
    elif kind == "norm":
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
        model[0].requires_grad_(False)
        inputs = small_round(model=model)
    else:
        inputs = small_round()
    scores = inputs.matrix() @ direction(inputs.game, base=inputs.base, step=inputs.step())
    np.testing.assert_allclose(samples_of(inputs).mean(axis=1), scores, atol=1e-6)


def test_a_samples_part_is_the_slope_of_its_own_loss():
    inputs = small_round(samples=5)
    (found,) = sample_scores(
        inputs.game, base=inputs.base, step=np.zeros_like(inputs.base), parts=[inputs.updates[0]], nodes=1
    )
    width = 1e-3
    for sample in range(5):
        alone = inputs.game.subset(torch.arange(5) == sample)
        ahead, behind = (
            alone.evaluate((inputs.base + sign * width * inputs.updates[0]).astype(np.float32)).loss for sign in (1, -1)
        )
        assert found[sample] == pytest.approx(-(ahead - behind) / (2 * width), rel=1e-2, abs=1e-3)


def test_the_errors_are_those_of_a_mean():
    draws = rng().normal(size=(3, 50))
    found = certainty(draws)
    np.testing.assert_allclose(found.errors, draws.std(axis=1, ddof=1) / np.sqrt(50))
    np.testing.assert_allclose(found.covariance, np.cov(draws) / 50)


def test_from_one_sample_nothing_is_sure():
    inputs = small_round(samples=1)
    found = build_scorer("direction").score(inputs, rng=rng())
    assert np.isinf(found.errors).all()
    assert len(untold_pairs(found)) == 6


def test_the_errors_say_how_far_another_validation_set_moves_the_score():
    whole = small_round(samples=4000)
    values, errors = [], []
    for place in range(40):
        member = torch.zeros(4000, dtype=torch.bool)
        member[place * 100 : (place + 1) * 100] = True
        part = RoundInputs(
            game=whole.game.subset(member), base=whole.base, updates=whole.updates, weights=whole.weights
        )
        found = build_scorer("direction").score(part, rng=rng())
        values.append(found.values)
        errors.append(found.errors)
    np.testing.assert_allclose(np.std(values, axis=0, ddof=1), np.mean(errors, axis=0), rtol=0.4)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss()])
def test_a_regression_has_errors_too(loss):
    draw = rng()
    x = draw.normal(size=(20, 3)).astype(np.float32)
    model = nn.Linear(3, 2)
    game = ValidationGame(model, loss=loss, features=x, labels=x[:, :2])
    base = vector_of(model)
    updates = [draw.normal(size=8) * 0.1 for _ in range(2)]
    inputs = RoundInputs(game=game, base=base, updates=updates, weights=np.full(2, 0.5))
    scores = inputs.matrix() @ direction(game, base=base, step=inputs.step())
    np.testing.assert_allclose(samples_of(inputs).mean(axis=1), scores, atol=1e-6)
    assert not can_group(game)
    assert build_scorer("direction", {"explain": True}).score(inputs, rng=rng()).by_group is None


class Hinge(nn.Module):
    """A loss of somebody's own, without a `reduction`."""

    def forward(self, logits, labels):
        right = logits.gather(1, labels[:, None])
        return (1 + logits - right).clamp(min=0).sum(1).mean()


def test_a_loss_of_ones_own_has_errors_too():
    inputs = small_round()
    game = ValidationGame(inputs.game.model, loss=Hinge(), features=inputs.game.features, labels=inputs.game.labels)
    own = RoundInputs(game=game, base=inputs.base, updates=inputs.updates, weights=inputs.weights)
    scores = own.matrix() @ direction(game, base=own.base, step=own.step())
    np.testing.assert_allclose(samples_of(own).mean(axis=1), scores, atol=1e-6)


def test_two_clients_who_do_the_same_are_not_told_apart():
    inputs = small_round()
    twins = RoundInputs(
        game=inputs.game, base=inputs.base, updates=[inputs.updates[0], inputs.updates[0], -9 * inputs.updates[3]],
        weights=np.array([0.3, 0.3, 0.4]),
    )  # fmt: skip
    found = build_scorer("direction").score(twins, rng=rng())
    assert (0, 1) in untold_pairs(found)


def test_a_paired_difference_tells_apart_what_separate_errors_do_not():
    # Both move with the samples alike; their difference does not.
    noise = rng().normal(size=500)
    found = certainty(np.array([noise, noise + 0.01]))
    alike = Scores(values=found.means, errors=found.errors)
    assert untold_pairs(alike) == [(0, 1)]
    assert untold_pairs(Scores(values=found.means, errors=found.errors, covariance=found.covariance)) == []
    assert untold_pairs(Scores(values=found.means)) == []


def test_the_classes_parts_sum_to_the_score():
    inputs = small_round()
    plain = build_scorer("direction").score(inputs, rng=rng())
    split = build_scorer("direction", {"explain": True}).score(inputs, rng=rng())
    np.testing.assert_allclose(split.values, plain.values, atol=1e-7)
    np.testing.assert_allclose(split.by_group.sum(axis=1), split.values)
    assert split.group_names == ("0", "1", "2")


def test_a_classs_part_is_the_mean_over_its_samples():
    inputs = small_round()
    rows, groups = group_directions(inputs.game, base=inputs.base, step=inputs.step())
    samples = samples_of(inputs)
    for row, group in zip(rows, groups, strict=True):
        member = (inputs.game.labels == group).numpy()
        np.testing.assert_allclose(inputs.matrix() @ row, samples[:, member].sum(axis=1) / len(member), atol=1e-7)


def test_groups_of_ones_own_and_their_names():
    inputs = small_round()
    of = np.arange(40) % 2
    rows, groups = group_directions(inputs.game, base=inputs.base, step=inputs.step(), groups=of)
    assert groups.tolist() == [0, 1]
    np.testing.assert_allclose(
        rows.sum(axis=0), direction(inputs.game, base=inputs.base, step=inputs.step()), atol=1e-7
    )
    assert names_of(np.array([0, 1, 5]), ["cat", "dog"]) == ("cat", "dog", "5")


class Recurrent(nn.Module):
    """An LSTM, which has no forward derivatives on a CPU."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


def test_a_model_without_forward_derivatives_has_errors_from_differences():
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    features = draw.normal(size=(12, 4, 2)).astype(np.float32)
    game = ValidationGame(
        Recurrent(), loss=nn.CrossEntropyLoss(), features=features, labels=draw.integers(2, size=12), device="cpu"
    )
    base = vector_of(game.model)
    part = 0.01 * draw.normal(size=len(base))
    found = sample_scores(game, base=base, step=part, parts=[part])
    assert found.mean() == pytest.approx(float(-game.gradient(base + part / 2) @ part), rel=1e-2)
