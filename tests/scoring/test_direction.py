import numpy as np
import pytest
from torch import nn

from fl.codec import Blocks
from fl.rewards import WEIGHT_ONE
from fl.scoring.direction import direction, weighted_step
from fl.scoring.game import ValidationGame
from fl.task.model_vector import vector_of
from fl.task.models import build_model


@pytest.fixture
def game(rows):
    """An MLP of smooth units on forty rows: a loss that is curved along any path."""
    model = build_model("fl.task.models:MLP", {"hidden": [4]}, feature_shape=(3,), num_classes=2, seed=1)
    model.layers[1] = nn.Tanh()
    return ValidationGame(model, loss=nn.CrossEntropyLoss(), features=rows.features, labels=rows.labels)


@pytest.fixture
def base(game):
    """The model that the round starts from."""
    return vector_of(game.model)


@pytest.fixture
def step(base):
    """A long step, so that the gradient changes on the way."""
    return np.random.default_rng(2).normal(size=len(base)) * 0.7


def test_a_direction_is_minus_the_slope_of_the_loss(game, base):
    # With no step the direction is the gradient at the base; central differences in float32 are good to 1e-3 or so.
    found = direction(game, base=base, step=np.zeros(len(base)), nodes=1)
    width = 1e-2
    for index in range(len(base)):
        aside = np.zeros_like(base)
        aside[index] = width
        slope = (game.evaluate(base + aside).loss - game.evaluate(base - aside).loss) / (2 * width)
        assert found[index] == pytest.approx(-slope, abs=2e-4)


def test_three_nodes_come_near_the_exact_integral(game, base, step):
    exact = direction(game, base=base, step=step, nodes=40)
    three = direction(game, base=base, step=step, nodes=3)
    assert np.linalg.norm(three - exact) < 0.01 * np.linalg.norm(exact)


def test_more_nodes_come_nearer(game, base, step):
    exact = direction(game, base=base, step=step, nodes=40)
    errors = [np.linalg.norm(direction(game, base=base, step=step, nodes=n) - exact) for n in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 100


def test_the_scores_sum_to_the_loss_that_the_round_took_off(game, base, step):
    gained = game.evaluate(base).loss - game.evaluate((base + step).astype(np.float32)).loss
    assert direction(game, base=base, step=step, nodes=8) @ step == pytest.approx(gained, rel=1e-3)
    assert direction(game, base=base, step=step, nodes=3) @ step == pytest.approx(gained, rel=2e-2)


def test_the_scores_of_parts_sum_to_the_score_of_the_whole(game, base, step):
    found = direction(game, base=base, step=step)
    assert found @ (0.3 * step) + found @ (0.7 * step) == pytest.approx(found @ step)


def test_a_weighted_step_is_the_weighted_sum_of_the_decoded_updates():
    first, second = Blocks.encode(np.array([1.0, 2.0])), Blocks.encode(np.array([-4.0, 0.0]))
    step = weighted_step([(first, WEIGHT_ONE // 4), (second, WEIGHT_ONE // 2)], size=2)
    np.testing.assert_array_equal(step, [0.25 - 2.0, 0.5])


def test_no_updates_make_no_step():
    np.testing.assert_array_equal(weighted_step([], size=3), np.zeros(3))
