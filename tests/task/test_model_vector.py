import numpy as np
import pytest
import torch
from torch import nn

from fl.codec import Layout, LayoutMismatch, matched
from fl.errors import ConfigError
from fl.task.model_vector import (
    choose,
    copied,
    frozen_hash,
    layout_of,
    load_buffers,
    load_vector,
    sent_arrays,
    statistics_of,
    vector_of,
)


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(torch.relu(self.encode(x)))


def test_tied_weights_travel_once():
    model = Tied()
    assert layout_of(model) == Layout(names=("encode.weight",), shapes=((4, 4),))
    load_vector(model, np.arange(16, dtype=np.float32))
    assert model.decode.weight.flatten().tolist() == list(range(16))


def test_buffers_and_what_is_frozen_do_not_travel():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    assert layout_of(model).names == ("0.bias", "1.weight", "1.bias")
    assert set(statistics_of(model)) == {"1.running_mean", "1.running_var"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_precision_becomes_float32_and_back(dtype):
    model = nn.Linear(2, 2, dtype=dtype)
    vector = vector_of(model)
    assert vector.dtype == np.float32
    load_vector(model, np.array([0.5, 1, 2, 4, 8, 16], dtype=np.float32))
    assert vector_of(model).tolist() == [0.5, 1, 2, 4, 8, 16]
    assert model.weight.dtype is dtype


@pytest.mark.parametrize(
    ("trainable", "names"),
    [
        ("all", ["0.weight", "0.bias", "1.weight", "1.bias"]),
        ("1.*", ["1.weight", "1.bias"]),
        ("*.bias", ["0.bias", "1.bias"]),
        ("0.bias, 1.weight", ["0.bias", "1.weight"]),
    ],
)
def test_patterns_choose_what_travels(trainable, names):
    model = choose(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), trainable)
    assert list(layout_of(model).names) == names


def test_a_pattern_that_names_nothing_is_refused():
    with pytest.raises(
        ConfigError, match=r"task.trainable is 'head.\*', which names no parameter of the model \(weight, bias\)"
    ):
        choose(nn.Linear(2, 2), "head.*")


def test_the_frozen_rest_has_a_hash_that_holds_names_and_values():
    def of(change=0.0, trainable="1.*"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        with torch.no_grad():
            model[0].bias += change
        return frozen_hash(choose(model, trainable))

    assert of() == of()
    assert len({of(), of(1.0), of(trainable="0.*"), of(trainable="all")}) == 4
    assert of(trainable="all") is None


def test_a_model_with_a_frozen_base_is_sent_without_it():
    model = choose(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), "1.*")
    assert set(sent_arrays(model, whole=True)) == set(model.state_dict())
    assert set(sent_arrays(model, whole=False)) == {"1.weight", "1.bias", "1.running_mean", "1.running_var"}


def test_buffers_are_loaded_by_name():
    model = nn.BatchNorm1d(2)
    load_buffers(model, {"running_mean": np.array([1, 2]), "running_var": np.zeros(3), "weight": np.zeros(2)})
    assert model.running_mean.tolist() == [1, 2]
    assert model.running_var.tolist() == [1, 1]
    assert model.weight.tolist() == [1, 1]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "_module."])
def test_what_a_wrapper_puts_before_names_is_seen_through(prefix):
    layout = layout_of(nn.Linear(2, 1))
    arrays = {f"{prefix}weight": np.ones((1, 2)), f"{prefix}bias": np.zeros(1), "other": np.zeros(9)}
    assert layout.flatten(matched(arrays, layout.names)).tolist() == [1, 1, 0]
    with pytest.raises(LayoutMismatch, match=f"array 'weight' is absent, and '{prefix}weight' is there"):
        layout.flatten(arrays)


def test_a_copy_shares_what_is_frozen_and_nothing_else():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    other = copied(model)
    assert [one is another for one, another in zip(model.parameters(), other.parameters(), strict=True)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert other[1].running_mean is not model[1].running_mean
    assert all(
        torch.equal(one, another)
        for one, another in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
