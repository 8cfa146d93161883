"""Apps that run and are seldom meant so: each is told, or ends with what to change."""

import numpy as np
import pytest
import torch
from coordinator.other_apps import (
    classify,
    content,
    grid_of,
    linear,
    part_of,
    seeded,
    strategy_of,
    trained,
)
from flwr.app import ArrayRecord
from torch import nn
from torch.nn import functional

from clients import signing
from fl import paying
from fl.errors import ConfigError


class Coded(nn.Module):
    """Moves a table by hand, beside a batch norm and a matrix of two names."""

    def __init__(self):
        super().__init__()
        self.norm, self.first, self.last = nn.BatchNorm1d(3), nn.Linear(3, 2), nn.Linear(3, 2)
        self.last.weight = self.first.weight
        self.register_buffer("table", torch.zeros(2))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, x):
        return self.last(self.norm(x)) + self.first(x) + self.table


def test_what_clients_change_and_the_task_does_not_take_is_told_once(told, rows, caplog):
    signing._say_unpaid.cache_clear()
    strategy = paying(strategy_of(), model=seeded(Coded), **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        net = trained(seeded(Coded), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        net.table += 1
        return content(ArrayRecord(net.state_dict()))

    result = strategy.start(grid_of(train), ArrayRecord(seeded(Coded).state_dict()), num_rounds=2)
    assert not result.arrays["table"].numpy().any()
    said = [record.getMessage() for record in caplog.records if "does not travel" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("the answers change table, which does not travel")


def test_a_loss_that_goes_on_by_itself_ends_with_what_to_change(told, rows):
    seen = []

    def annealed(model, batch):
        seen.append(len(seen))
        return (1 + 0.001 * max(0, len(seen) - 100)) * functional.cross_entropy(model(batch[0]), batch[1])

    strategy = paying(strategy_of(), model=linear(), **{**told, "loss": annealed})
    seen.extend(range(100))
    message = (
        "the direction of round 1 is another one when it is computed again; let the loss go by model and batch alone"
    )
    with pytest.raises(ConfigError, match=message):
        strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()), num_rounds=1)
    assert strategy.task.state().posted == 0


def test_an_app_whose_clients_make_the_loss_worse_hears_why_nobody_is_paid(told, rows, caplog):
    def train(message, partition):
        x, y = part_of(rows, partition)
        net = trained(linear(), message.content["arrays"], lambda net: -functional.cross_entropy(net(x), y))
        return content(ArrayRecord(net.state_dict()))

    strategy = paying(strategy_of(), model=linear(), **told)
    strategy.start(grid_of(train), ArrayRecord(linear().state_dict()), num_rounds=1)
    assert "nobody has earned anything: over all rounds together no client took anything off the loss" in caplog.text
    assert np.all([leaf.cumulative == 0 for leaf in strategy._before.leaves])
