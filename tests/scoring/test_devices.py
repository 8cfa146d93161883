"""Model, loss and data on different devices: what a CUDA machine scores is what a CPU scores, up to float32."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scoring.rounds import RULES, rng, small_round
from torch import nn

from fl.scoring.game import ValidationGame
from fl.scoring.scorer import build_scorer

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
WITH_ROBUST = [*RULES, "median", "bulyan"]


def game_on(device, game, *, model="cpu", data="cpu", loss=None):
    """The same game computed on a device, from a model and data that may lie elsewhere."""
    return ValidationGame(
        copy.deepcopy(game.model).to(model),
        loss=loss or game.objective,
        features=game.features.to(data),
        labels=game.labels.to(data),
        device=device,
    )


@cuda
@pytest.mark.parametrize(("model", "data"), [("cpu", "cpu"), ("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_game_may_be_given_from_any_device(device, model, data):
    inputs = small_round()
    expected, loss = inputs.game.gradient(inputs.base), inputs.game.evaluate(inputs.base).loss
    game = game_on(device, inputs.game, model=model, data=data)
    assert game.evaluate(inputs.base).loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(game.gradient(inputs.base), expected, rtol=1e-4, atol=1e-6)
    assert game.validation_hash == inputs.game.validation_hash


@cuda
@pytest.mark.parametrize("name", WITH_ROBUST)
def test_every_rule_scores_the_same_on_either_device(name):
    inputs = small_round(clients=5)
    expected = build_scorer(name).score(inputs, rng=rng()).values
    there = replace(inputs, game=game_on("cuda", inputs.game, data="cuda"))
    np.testing.assert_allclose(build_scorer(name).score(there, rng=rng()).values, expected, rtol=1e-3, atol=1e-6)


@cuda
def test_class_weights_of_the_loss_move_with_the_game():
    inputs = small_round()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    here, there = (game_on(device, inputs.game, loss=loss) for device in ("cpu", "cuda"))
    assert there.evaluate(inputs.base).loss == pytest.approx(here.evaluate(inputs.base).loss, rel=1e-5)


def test_a_game_leaves_the_model_and_the_loss_that_it_was_given_as_they_were():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)).train()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    before = [parameter.clone() for parameter in model.parameters()]
    rows = np.zeros((4, 3), dtype=np.float32)
    game = ValidationGame(model, loss=loss, features=rows, labels=np.array([0, 1, 0, 1]), device="cpu")
    game.gradient(np.ones(sum(parameter.numel() for parameter in before), dtype=np.float32))
    assert model.training
    assert all(torch.equal(kept, other) for kept, other in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert game.objective.loss is not loss
