"""Names by which apps send arrays that a module calls otherwise."""

import importlib.util

import pytest
import torch
from torch import nn

from fl.task.spelling import Spelling


class Tied(nn.Module):
    """One matrix under two names, and a layer of its own."""

    def __init__(self):
        super().__init__()
        self.words, self.middle, self.out = nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5, bias=False)
        self.out.weight = self.words.weight


def test_an_app_that_sends_the_state_dict_spells_as_the_module_does():
    model = Tied()
    spelling = Spelling.of(model, model.state_dict())
    assert spelling.told == {}
    assert spelling.tied == {"out.weight": "words.weight"}


def test_what_is_tied_is_sent_alike_under_each_name():
    model = Tied()
    stale = {**model.state_dict(), "words.weight": torch.ones(5, 3)}
    sent = Spelling.of(model, stale).to_app(stale)
    assert list(sent) == list(stale)
    assert torch.equal(sent["out.weight"], torch.ones(5, 3))


def test_tied_weights_that_a_file_holds_under_their_second_name():
    model = Tied()
    arrays = {name: array for name, array in model.state_dict().items() if name != "words.weight"}
    spelling = Spelling.of(model, arrays)
    assert spelling.to_module(arrays).keys() == {"words.weight", "middle.weight", "middle.bias"}
    assert spelling.names(["words.weight", "middle.bias"]) == ("out.weight", "middle.bias")
    assert list(spelling.to_app(spelling.to_module(arrays))) == list(arrays)


@pytest.mark.parametrize("wrapped", ["app", "server"])
def test_a_wrapper_on_one_side(wrapped):
    plain, wrapper = nn.Linear(3, 2), nn.ModuleDict({"_orig_mod": nn.Linear(3, 2)})  # as torch.compile's
    model, sent = (plain, wrapper) if wrapped == "app" else (wrapper, plain)
    spelling = Spelling.of(model, sent.state_dict())
    assert list(spelling.to_module(sent.state_dict())) == list(model.state_dict())
    assert spelling.names(model.state_dict()) == tuple(sent.state_dict())


def test_what_could_be_one_of_two_or_has_another_shape_is_left_as_it_is():
    model = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in ("a", "b")})
    for arrays in (
        {"weight": torch.zeros(2, 2)},
        {"a.inner.weight": torch.zeros(3, 2)},
        {"c.weight": torch.zeros(2, 2)},
    ):
        assert Spelling.of(model, arrays).told == {}


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
def test_adapters_as_peft_saves_them():
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict  # noqa: PLC0415 - only where the extra is there

    base = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["0", "1"], modules_to_save=["2"]))
    arrays = get_peft_model_state_dict(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    spelling = Spelling.of(model, arrays)
    assert set(spelling.to_module(arrays)) == set(trained)
    assert set(spelling.names(trained)) == set(arrays)
