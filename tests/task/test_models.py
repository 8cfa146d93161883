import pytest
import torch
from torch import nn

from fl.errors import ConfigError
from fl.task.models import MLP, LeNet, LogisticRegression, build_model
from fl.task.strategies import STRATEGIES, build_strategy


def build(path, arguments=None, *, shape=(1, 8, 8), classes=10, seed=0):
    """A model by its path."""
    return build_model(path, arguments or {}, feature_shape=shape, num_classes=classes, seed=seed)


@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        (LogisticRegression, (30,)),
        (LogisticRegression, (1, 8, 8)),
        (MLP, (30,)),
        (MLP, (1, 28, 28)),
        (LeNet, (1, 8, 8)),
        (LeNet, (1, 28, 28)),
        (LeNet, (3, 32, 32)),
    ],
)
def test_every_model_takes_its_data_and_learns(cls, shape):
    model = build(f"fl.task.models:{cls.__name__}", shape=shape, classes=4)
    logits = model(torch.zeros(5, *shape))
    assert logits.shape == (5, 4)
    nn.CrossEntropyLoss()(logits, torch.zeros(5, dtype=torch.int64)).backward()
    assert any(parameter.grad.any() for parameter in model.parameters())


def test_lenet_on_mnist_is_lenet_five():
    assert sum(parameter.numel() for parameter in LeNet((1, 28, 28), 10).parameters()) == 107_786


def test_group_norm_is_wanted_or_not():
    plain, normed = (build("fl.task.models:LeNet", {"group_norm": group_norm}) for group_norm in (False, True))
    assert not any(isinstance(module, nn.GroupNorm) for module in plain.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in normed.modules()) == 2
    assert not list(normed.buffers())  # no batch statistics travel


def test_the_hidden_layers_are_an_argument():
    model = build("fl.task.models:MLP", {"hidden": [5, 7]})
    assert [module.out_features for module in model.modules() if isinstance(module, nn.Linear)] == [5, 7, 10]


@pytest.mark.parametrize("shape", [(30,), (1, 7, 8), (8, 8)])
def test_lenet_refuses_what_is_no_image(shape):
    with pytest.raises(ConfigError, match="choose model=mlp or model=logistic"):
        build("fl.task.models:LeNet", shape=shape)


def test_any_class_of_the_users_is_built_by_its_path():
    model = build("torch.nn:Linear", {"in_features": 3, "out_features": 2})
    assert isinstance(model, nn.Linear)


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("nothing.at_all:Model", {}, "model.path is 'nothing.at_all:Model': No module named 'nothing'"),
        ("torch.nn:Nothing", {}, "model.path is 'torch.nn:Nothing': "),
        ("torch.nn", {}, "model.path is 'torch.nn'; write it as package.module:Name"),
        ("", {}, "model.path is ''; write it as package.module:Name"),
        ("fl.task.models:MLP", {"width": 3}, "fl.task.models:MLP cannot be built: "),
        ("torch.nn:Linear", {}, "torch.nn:Linear cannot be built: "),
        ("builtins:dict", {}, "builtins:dict makes a dict; model.path has to name a torch.nn.Module"),
    ],
)
def test_a_path_that_leads_to_no_model_is_refused(path, arguments, message):
    with pytest.raises(ConfigError) as caught:
        build(path, arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_built_by_its_name(name):
    arguments = {"proximal_mu": 0.1} if name == "fedprox" else {}
    assert type(build_strategy(name, arguments)) is STRATEGIES[name]


def test_an_unknown_strategy_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError) as caught:
        build_strategy("median", {})
    assert str(caught.value) == (
        "strategy.name is 'median'; choose one of fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, krum, multikrum, "
        "fedmedian, fedtrimmedavg, bulyan"
    )


def test_an_argument_that_the_strategy_does_not_take_is_refused():
    with pytest.raises(ConfigError, match="strategy=fedadam cannot be built: .*; see Flower's FedAdam"):
        build_strategy("fedadam", {"speed": 3})
