"""Small rounds for the tests of scorers: real models, real gradients, a few clients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import BUILT_IN
from fl.task.model_vector import vector_of
from fl.task.strategy_facts import STRATEGY_FACTS

# Every rule that comes with the project, but for those that score what a robust strategy picked.
RULES = [name for name in BUILT_IN if name not in {facts.scored_by for facts in STRATEGY_FACTS.values()}]
SAMPLED = ["leverage", "permutation", "gtg"]


def small_round(
    *, clients: int = 4, seed: int = 0, samples: int = 40, model: nn.Module | None = None, features: tuple = (3,)
) -> RoundInputs:
    """Clients' updates of very different worth, on a model of smooth units and three classes."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = model or nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    x = rng.normal(size=(samples, *features)).astype(np.float32)
    y = (x.reshape(samples, -1) @ rng.normal(size=(int(np.prod(features)), 3))).argmax(axis=1)  # can be learned
    game = ValidationGame(model, loss=nn.CrossEntropyLoss(), features=x, labels=y)
    base = vector_of(model)
    weights = rng.dirichlet(np.ones(clients)) if clients else np.zeros(0)
    gradient = game.gradient(base)
    updates = [rng.normal(size=len(base)) * 0.02 - (client + 1) * gradient for client in range(clients)]
    return RoundInputs(game=game, base=base, updates=updates, weights=weights)


def rng(seed: int = 0) -> np.random.Generator:
    """Draws of a test."""
    return np.random.default_rng(seed)
