"""How much a task may ask for: no number in somebody else's spec hangs a machine, or fills it, before its owner agreed."""

import importlib
import json
import sys
from decimal import Decimal

import pytest
import torch
from torch import nn

from clients.joining.preview import preview
from fl.errors import ConfigError
from fl.task import model_size
from fl.task.bounds import check_bounds, read_spec
from fl.task.model_size import ModelTooLarge, check_size
from fl.task.models import build_model
from fl.task.spec import TaskSpec
from fl.task.trust import Trust

FOREIGN = Trust()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duplicate_cosine": "1e-999999999"}, "scorer.duplicate_cosine is 1e-999999999; set it above 0 and up to 1, at least 0.000001"),
        ({"duplicate_cosine": "0." + "9" * 1000}, "scorer.duplicate_cosine is '0.999"),
        ({"duplicate_cosine": 0.98}, "scorer.duplicate_cosine is 0.98; write a decimal number such as 0.98"),
        ({"norm_cap": "1" + "0" * 10**6}, "task.norm_cap is '1000"),
        ({"norm_cap": "1e999999999999999999999"}, "task.norm_cap is '1e999999999999999999999'; write a decimal number"),
        ({"steps": 10**12}, "task.steps is 1000000000000; set 100000 or less"),
        ({"steps": 2.5}, "task.steps is 2.5; set a whole number from 1 to 100000"),
        ({"steps": True}, "task.steps is True; set a whole number from 1 to 100000"),
        ({"batch_size": 10**9}, "task.batch_size is 1000000000; set 1000000 or less"),
        ({"steps": 100_000, "batch_size": 1_000_000}, "task.steps times task.batch_size is 100000000000; set them so that"),
        ({"num_classes": 10**9}, "task.num_classes is 1000000000; set 1000000 or less"),
        ({"quadrature": 65}, "scorer.nodes is 65; set 64 or less"),
        ({"public_rounds": 17}, "scorer.public_rounds is 17; set 16 or less"),
        ({"public_gradients": 0}, "scorer.public_gradients is 0; set 1 or more"),
        ({"seed": -1}, "seed is -1; set 0 or more"),
        ({"seed": 2**64}, "seed is 18446744073709551616; set 9223372036854775807 or less"),
        ({"learning_rate": 1e9}, "task.learning_rate is 1000000000.0; set 1000000 or less"),
        ({"learning_rate": "0.1"}, "task.learning_rate is '0.1'; set a number"),
        ({"momentum": 1.0}, "task.momentum is 1.0; set 0 or more and below 1"),
        ({"tolerance": 2.0}, "scorer.tolerance is 2.0; set it above 0 and below 1"),
        ({"length": "long"}, "task.length is 'long'; set median or capped"),
        ({"training": "mine"}, "task.training is 'mine'; set fairshare or app"),
        ({"scorer": ""}, "scorer.name is ''; write a name of at most 256 characters"),
        ({"strategy": ["fedavg"]}, "strategy.name is a list of 1; write a name of at most 256 characters"),
        ({"feature_shape": (2**14, 2**14)}, "task.feature_shape is [16384, 16384]; set a shape of at most 67108864 values"),
        ({"feature_shape": (0,)}, "task.feature_shape is (0,); set at most 8 whole numbers of 1 or more"),
        ({"class_names": ("a" * 257,)}, "task.class_names has 'aaa"),
        ({"class_names": "abc"}, "task.class_names is 'abc'; set a list with a name for each class"),
        ({"model_arguments": [1]}, "model.arguments is a list of 1; write it as names with their values"),
        ({"model_arguments": {"a b": 1}}, "model.arguments has 'a b', which is not a name of an argument; leave it out"),
        ({"model_arguments": {"device": "cuda"}}, "model.arguments has device; leave it out, each machine has its own"),
        ({"model_arguments": {"n": 2**40}}, "model.arguments.n is 1099511627776; set a number of at most 2147483648"),
        ({"model_arguments": {"n": float("inf")}}, "model.arguments.n is inf; set a number of at most"),
        ({"model_arguments": {"n": [[[[[1]]]]]}}, "model.arguments.n has lists in each other more than 4 deep; write them flat"),
        ({"model_arguments": {"hidden": [1] * 5000}}, "model.arguments has more than 4096 values; build the model in a class of its own"),
        ({"scorer_arguments": {"workers": 10**6}}, "scorer.arguments.workers is 1000000; set 1 to 64"),
        ({"schema": [1]}, "task.schema is a list of 1; leave it out, or give the columns of a table"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_no_task_may_ask_for_is_refused_by_name(spec, change, message):
    with pytest.raises(ConfigError) as caught:
        spec(**change)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 400


def test_what_tasks_ask_for_is_within_bounds(spec):
    check_bounds(
        json.loads(spec(duplicate_cosine="0.000001", norm_cap="1e12", steps=100_000, batch_size=10_000).to_json())
    )
    assert Decimal(spec(norm_cap="2.5").norm_cap) == Decimal("2.5")


@pytest.mark.parametrize("name", ["model", "feature_shape", "num_classes"])
def test_a_spec_without_what_every_task_has_is_refused(spec, name):
    raw = json.loads(spec().to_json())
    del raw[name]
    with pytest.raises(ConfigError, match=f"the task spec cannot be read \\(it has no {name}\\); fetch it again"):
        read_spec(json.dumps(raw))


@pytest.mark.parametrize(
    ("path", "arguments", "problem"),
    [
        ("torch.nn:Linear", {"in_features": 100_000, "out_features": 100_000}, "has more than 268,435,456 values"),
        ("torch.nn:Embedding", {"num_embeddings": 2**31, "embedding_dim": 2**31}, ""),
        ("torch.nn:Linear", {"in_features": -1, "out_features": 2}, ""),
        ("torch.nn:MultiheadAttention", {"embed_dim": 10, "num_heads": 3}, ""),
        ("fl.task.models:MLP", {"hidden": [10**6, 10**6]}, "has more than 268,435,456 values"),
    ],
)
def test_a_model_is_counted_before_it_is_built(path, arguments, problem):
    with pytest.raises(ModelTooLarge if problem else ConfigError) as caught:
        build_model(path, arguments, feature_shape=(3,), num_classes=2, seed=0, trust=FOREIGN)
    assert str(caught.value).startswith(
        f"the task's model {path} {problem}" if problem else f"{path} cannot be built: "
    )


def test_a_models_tensors_are_counted_before_it_is_built(monkeypatch):
    assert model_size._MOST_TENSORS == 20_000
    monkeypatch.setattr(model_size, "_MOST_TENSORS", 2_000)
    arguments = {"input_size": 3, "hidden_size": 2, "num_layers": 10**5}
    with pytest.raises(ModelTooLarge, match="the task's model torch.nn:LSTM has more than 2,000 tensors"):
        build_model("torch.nn:LSTM", arguments, feature_shape=(3,), num_classes=2, seed=0, trust=FOREIGN)


def test_layers_without_number_are_not_built(monkeypatch):
    """Copies of a layer are registered after the last of them is made: what stops them is the work that they take."""
    monkeypatch.setattr("fl.task.model_size._MOST_CALLS", 200_000)
    arguments = {"d_model": 8, "nhead": 1, "num_encoder_layers": 2**31}
    with pytest.raises(ModelTooLarge, match="takes more than 200,000 steps to build"):
        build_model("torch.nn:Transformer", arguments, feature_shape=(3,), num_classes=2, seed=0, trust=FOREIGN)


def test_what_is_imported_for_a_layer_is_no_work_of_building_it(monkeypatch, tmp_path):
    monkeypatch.setattr("fl.task.model_size._MOST_CALLS", 5_000)
    (tmp_path / "needed_by_a_layer.py").write_text("for number in range(20_000):\n    abs(number)\n")
    monkeypatch.syspath_prepend(tmp_path)

    def late():
        importlib.import_module("needed_by_a_layer")
        return torch.nn.Linear(3, 2)

    check_size(late, path="a:B")
    assert "needed_by_a_layer" in sys.modules
    monkeypatch.delitem(sys.modules, "needed_by_a_layer")

    def busy():
        late()
        for number in range(20_000):
            abs(number)
        return torch.nn.Linear(3, 2)

    with pytest.raises(ModelTooLarge, match="takes more than 5,000 steps to build"):
        check_size(busy, path="a:B")


def test_layers_beyond_number_are_not_registered(monkeypatch):
    monkeypatch.setattr("fl.task.model_size._MOST_MODULES", 10)
    arguments = {"hidden": [2] * 20}
    with pytest.raises(ModelTooLarge, match="has more than 10 layers"):
        build_model("fl.task.models:MLP", arguments, feature_shape=(3,), num_classes=2, seed=0, trust=FOREIGN)


def test_ones_own_model_is_counted_too(monkeypatch):
    monkeypatch.setattr("fl.task.models.MOST_MODEL", 7)
    with pytest.raises(ModelTooLarge, match="has 8 values, 7 are the most"):
        build_model("torch.nn:Linear", {"in_features": 3, "out_features": 2}, feature_shape=(3,), num_classes=2, seed=0)


def test_a_foreign_model_has_the_weights_of_ones_own(spec):
    told = spec()
    foreign = TaskSpec.from_json(told.to_json(), trust=FOREIGN)
    for mine, theirs in zip(told.build_model().parameters(), foreign.build_model().parameters(), strict=True):
        assert (mine == theirs).all()
        assert theirs.device.type == "cpu"
    assert isinstance(foreign.build_loss().loss, nn.CrossEntropyLoss)


def test_a_preview_refuses_before_it_starts_torch(spec, monkeypatch):
    monkeypatch.setattr(
        "clients.joining.preview.subprocess.Popen", lambda *args, **options: pytest.fail("torch was started")
    )
    raw = {**json.loads(spec().to_json()), "steps": 10**9}
    with pytest.raises(ConfigError, match="task.steps is 1000000000; set 100000 or less"):
        preview(json.dumps(raw))


@pytest.mark.slow
def test_a_preview_says_that_a_model_is_too_large_and_builds_nothing(spec):
    raw = {**json.loads(spec().to_json()), "model_arguments": {"in_features": 10**6, "out_features": 10**6}}
    with pytest.raises(
        ConfigError,
        match=r"cannot be built on this machine: the task's model torch\.nn:Linear has more than 268,435,456",
    ):
        preview(json.dumps(raw))


@pytest.mark.slow
def test_a_preview_shows_what_a_round_takes_and_what_it_was_worth(spec, rows):
    seen = preview(spec(steps=3, batch_size=4).to_json(), rows=rows)
    assert (seen.trial.trained, seen.trial.held_out, seen.trial.steps) == (32, 8, 3)
    assert (seen.parameters, seen.update_bytes, seen.steps, seen.batch_size, seen.strategy) == (8, 513, 3, 4, "fedavg")
