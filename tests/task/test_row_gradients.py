"""Which models have gradients row by row, and what is said of those that have none."""

import sys

import pytest
import torch
from torch import nn

from fl.errors import ConfigError
from fl.task.models import LeNet, LogisticRegression
from fl.task.objectives import objective_of
from fl.task.preflight import UnfitModel
from fl.task.row_gradients import check_rows, row_gradients
from fl.task.rows import Rows

ROWS = Rows(
    arrays={
        "features": torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        "labels": torch.arange(9) % 4,
    }
)
LOSS = objective_of(nn.CrossEntropyLoss())


def flat(*layers):
    """A model of 64 inputs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *layers, nn.Linear(8, 4))


class Centred(nn.Module):
    """Takes the batch's mean off each output: no layer that opacus knows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 4)

    def forward(self, x):
        made = self.linear(x.flatten(1))
        return made - made.mean(0)


class Bare(nn.Module):
    """With parameters of its own, in no layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 8) * 0.1)
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(torch.relu(x.flatten(1) @ self.weight))


@pytest.mark.parametrize(
    "model",
    [LogisticRegression((1, 8, 8), 4), LeNet((1, 8, 8), 4, group_norm=True), flat(nn.Dropout(0.5)), Bare()],
    ids=["linear", "lenet", "dropout", "own parameters"],
)
def test_rows_that_mix_nowhere_are_taken(model):
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_rows(model, LOSS, ROWS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (flat(nn.BatchNorm1d(8)), r"by rows at 2 \(opacus: BatchNorm cannot support .*put GroupNorm or LayerNorm"),
        (Centred(), "a row's gradient in a batch is not the one that it has alone; leave out layers and losses"),
        (flat().half(), "privacy=dpsgd holds gradients to a length in float32, and a trained parameter is not"),
    ],
    ids=["batch norm", "centred", "half"],
)
def test_a_model_that_mixes_rows_is_refused(model, said):
    with pytest.raises(UnfitModel, match=said):
        check_rows(model, LOSS, ROWS)


def test_a_loss_that_mixes_rows_is_refused():
    def ranked(model, batch):
        made = model(batch[0])[:, 0]
        return made * made.mean()

    with pytest.raises(UnfitModel, match="is not the one that it has alone"):
        check_rows(flat(), objective_of(ranked), ROWS)


def test_a_layer_with_buffers_that_opacus_does_not_know_is_refused():
    class Counted(nn.Linear):
        """Keeps a count."""

        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.register_buffer("seen", torch.zeros(1))

    with pytest.raises(UnfitModel, match="trainable layer with buffers"):
        check_rows(nn.Sequential(nn.Flatten(), Counted(64, 4)), LOSS, ROWS)


@pytest.mark.parametrize("part", ["opacus.grad_sample", "opacus.validators"])
def test_without_opacus_the_extra_is_named(monkeypatch, part):
    monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(
        ConfigError, match=r"privacy=dpsgd needs the package opacus; run `pip install 'fairshare\[privacy\]'`"
    ):
        check_rows(flat(), LOSS, ROWS)
    if part == "opacus.grad_sample":
        with pytest.raises(ConfigError, match="needs the package opacus"), row_gradients(flat()):
            pass
