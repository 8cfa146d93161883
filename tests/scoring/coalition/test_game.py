from dataclasses import replace

import numpy as np
import pytest
import torch
from scoring.rounds import RULES, rng, small_round
from torch import nn

from fl.codec import Blocks
from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.values import all_coalitions
from fl.scoring.inputs import BlockUpdates, RoundInputs, UnscorableUpdate
from fl.scoring.scorer import build_scorer
from fl.task.models import LeNet


def test_a_coalition_is_worth_minus_the_loss_of_its_model():
    inputs = small_round()
    game = CoalitionGame(inputs)
    for members in ([], [2], [0, 3], [0, 1, 2, 3]):
        moved = inputs.base + sum((inputs.weights[member] * inputs.updates[member] for member in members), np.zeros(1))
        loss = inputs.game.evaluate(moved.astype(np.float32)).loss
        assert game.value(members) == pytest.approx(-loss, abs=1e-6)


def test_a_renormalised_coalition_moves_by_its_mean():
    inputs = small_round()
    game = CoalitionGame(inputs, game="renormalised")
    mean = (inputs.weights[1] * inputs.updates[1] + inputs.weights[2] * inputs.updates[2]) / inputs.weights[1:3].sum()
    loss = inputs.game.evaluate((inputs.base + mean).astype(np.float32)).loss
    assert game.value([1, 2]) == pytest.approx(-loss, abs=1e-6)
    assert game.value([]) == pytest.approx(-inputs.game.evaluate(inputs.base).loss, abs=1e-6)
    assert game.value(range(4)) == pytest.approx(CoalitionGame(inputs).value(range(4)), abs=1e-6)


def test_accuracy_is_the_share_of_right_answers():
    inputs = small_round()
    game = CoalitionGame(inputs, utility="accuracy")
    assert game.value([]) == inputs.game.evaluate(inputs.base).accuracy


def test_a_coalition_is_evaluated_once():
    game = CoalitionGame(small_round())
    first = game.values([[True, False, True, False], [True, False, True, False]])
    assert (first[0] == first[1], game.evaluations) == (True, 1)
    game.values(all_coalitions(4))
    assert game.evaluations == 16


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("model", ["lenet", "buffers"])
def test_many_at_once_are_what_one_at_a_time_is(workers, model):
    torch.manual_seed(0)
    if model == "lenet":
        inputs = small_round(model=LeNet((1, 8, 8), 3), features=(1, 8, 8), samples=70, clients=3)
    else:
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
        made[1].running_var *= 3
        inputs = small_round(model=made, clients=3)
    found = CoalitionGame(inputs, workers=workers).values(all_coalitions(3))
    parts = inputs.matrix()
    for mask, value in zip(all_coalitions(3), found, strict=True):
        moved = (inputs.base + parts[mask].sum(axis=0)).astype(np.float32)
        assert value == pytest.approx(-inputs.game.evaluate(moved).loss, abs=1e-5)


@pytest.mark.parametrize(
    ("game", "utility", "match"), [("free", "loss", "game is 'free'"), ("fixed", "f1", "utility is 'f1'")]
)
def test_an_unknown_game_is_refused(game, utility, match):
    with pytest.raises(ValueError, match=match):
        CoalitionGame(small_round(), game=game, utility=utility)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", RULES)
def test_an_update_that_is_no_number_is_refused_by_its_number(bad, name):
    inputs = small_round(clients=3)
    inputs.updates[1][4] = bad
    with pytest.raises(UnscorableUpdate) as caught:
        build_scorer(name).score(inputs, rng=rng())
    assert caught.value.client == 1
    assert str(caught.value) == "update 1 holds NaN or infinity; refuse it before the round is scored"


def test_weights_have_to_fit():
    inputs = small_round(clients=2)
    with pytest.raises(ValueError, match="there are 2 updates and 1 weights; give one for each"):
        RoundInputs(game=inputs.game, base=inputs.base, updates=inputs.updates, weights=np.ones(1))
    for wrong in (-0.1, np.nan):
        with pytest.raises(ValueError, match="each has to be a number of 0 or more"):
            RoundInputs(game=inputs.game, base=inputs.base, updates=inputs.updates, weights=np.array([0.5, wrong]))


def test_updates_as_blocks_score_as_their_vectors():
    inputs = small_round()
    blocks = [Blocks.encode(np.asarray(update)) for update in inputs.updates]
    held = BlockUpdates(blocks=blocks)
    assert len(held) == 4
    scored = [
        build_scorer("direction")
        .score(RoundInputs(game=inputs.game, base=inputs.base, updates=updates, weights=inputs.weights), rng=rng())
        .values
        for updates in (held, [update.decode() for update in blocks])
    ]
    np.testing.assert_array_equal(*scored)


def test_a_game_that_was_valued_before_is_read_and_counted():
    inputs = small_round()
    table = CoalitionGame(inputs).values(all_coalitions(4)) + 1
    known = replace(inputs, table=table)
    game = CoalitionGame(known)
    np.testing.assert_array_equal(game.values(all_coalitions(4)[[3, 9]]), table[[3, 9]])
    assert game.evaluations == 2
    exact = build_scorer("shapley").score(known, rng=rng())
    assert exact.diagnostics["evaluations"] == 16
    assert exact.values.sum() == pytest.approx(table[-1] - table[0])
    other = CoalitionGame(known, utility="accuracy").values(all_coalitions(4))  # another game: valued
    np.testing.assert_array_equal(other, CoalitionGame(inputs, utility="accuracy").values(all_coalitions(4)))


class Residual(nn.Module):
    """What goes into its ReLU is used again behind it."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(self.act(hidden) + hidden)


def test_a_relu_overwrites_nothing_that_is_needed_again():
    inputs = small_round(model=Residual(), clients=2)
    parts, found = inputs.matrix(), CoalitionGame(inputs).values(all_coalitions(2))
    for mask, value in zip(all_coalitions(2), found, strict=True):
        moved = (inputs.base + parts[mask].sum(axis=0)).astype(np.float32)
        assert value == pytest.approx(-inputs.game.evaluate(moved).loss, abs=1e-6)
