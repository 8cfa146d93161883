import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fl.errors import ConfigError
from fl.task.data import Dataset
from fl.task.model_vector import layout_of, vector_of
from fl.task.objectives import Binary, Huber, LanguageModelling, SquaredError
from fl.task.spec import OtherBase, TaskSpec, dataset_hash
from fl.task.trust import OWN


def test_a_spec_reads_back_with_its_hash(spec):
    task_spec = spec(strategy="krum", strategy_arguments={"num_malicious_nodes": 1}, class_names=("a", "b"))
    again = TaskSpec.from_json(task_spec.to_json(), trust=OWN)
    assert again == task_spec
    assert again.hash() == task_spec.hash()


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 4},
        {"seed": 1},
        {"norm_cap": "10.0"},
        {"loss": "mse"},
        {"strategy": "fedadam"},
        {"block_bits": 8},
        {"training": "together"},
    ],
    ids=str,
)
def test_every_change_of_a_spec_changes_its_hash(spec, change):
    assert spec(**change).hash() != spec().hash()


def test_a_spec_is_canonical_json(spec):
    text = spec().to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "task.steps is 0; set 1 or more"),
        ({"batch_size": 0}, "task.batch_size is 0; set 1 or more"),
        ({"quadrature": 0}, "scorer.nodes is 0; set 1 or more"),
        ({"num_classes": 0}, "task.num_classes is 0; set 1 or more"),
        ({"learning_rate": 0.0}, "task.learning_rate is 0.0; set it above 0"),
        ({"learning_rate": float("nan")}, "task.learning_rate is nan; set it above 0"),
        ({"norm_cap": "0"}, "task.norm_cap is 0; set it above 0, from 1e-12 to 1e12"),
        ({"norm_cap": "-1"}, "task.norm_cap is -1; set it above 0, from 1e-12 to 1e12"),
        ({"norm_cap": "inf"}, "task.norm_cap is inf; set it above 0, from 1e-12 to 1e12"),
        ({"norm_cap": "1e999999"}, "task.norm_cap is 1e999999; set it above 0, from 1e-12 to 1e12"),
        ({"norm_cap": "1e-30"}, "task.norm_cap is 1e-30; set it above 0, from 1e-12 to 1e12"),
        ({"norm_cap": "nan"}, "task.norm_cap is 'nan'; write a decimal number such as 10 or 2.5"),
        ({"norm_cap": "ten"}, "task.norm_cap is 'ten'; write a decimal number such as 10 or 2.5"),
    ],
    ids=str,
)
def test_a_spec_out_of_range_is_refused(spec, change, message):
    with pytest.raises(ConfigError) as caught:
        spec(**change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "the task spec is not JSON that can be used (it is not JSON ("),
        ("[]", "the task spec is a list; fetch it again from the coordinator"),
        ("5", "the task spec is a int; fetch it again from the coordinator"),
        ("{}", "the task spec cannot be read ("),
        (
            '{"model": "m:M", "feature_shape": [3], "num_classes": 2, "wings": 2}',
            "the task spec has unknown keys ['wings']; update fairshare on this machine",
        ),
        (
            '{"model": "m:M", "feature_shape": 3, "num_classes": 2}',
            "task.feature_shape is 3; set at most 8 whole numbers",
        ),
        (
            '{"model": "m:M", "feature_shape": [3], "num_classes": "two"}',
            "task.num_classes is 'two'; set a whole number",
        ),
    ],
)
def test_a_text_that_is_no_spec_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        TaskSpec.from_json(text, trust=OWN)
    assert str(caught.value).startswith(message)


def test_the_seed_fixes_the_initial_weights(spec):
    first, same, other = (vector_of(spec(seed=seed).build_model()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_building_a_model_moves_no_global_random_state(spec):
    before = torch.random.get_rng_state()
    spec().build_model()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("loss", "cls"),
    [("mse", SquaredError), ("huber", Huber), ("binary", Binary), ("language_modelling", LanguageModelling)],
)
def test_a_loss_is_a_name(spec, loss, cls):
    assert type(spec(loss=loss).build_loss()) is cls


@pytest.mark.parametrize(
    ("loss", "cls"), [("cross_entropy", nn.CrossEntropyLoss), ("torch.nn:SmoothL1Loss", nn.SmoothL1Loss)]
)
def test_a_loss_is_an_import_path_of_a_module_that_means_over_a_batch(spec, loss, cls):
    assert type(spec(loss=loss).build_loss().loss) is cls


def test_a_loss_with_one_output_builds_a_model_with_one(spec):
    model = spec(model="fl.task.models:MLP", model_arguments={}, loss="binary").build_model()
    assert model.layers[-1].out_features == 1


def test_what_does_not_travel_is_frozen_and_named_by_its_hash(spec):
    chosen = spec(model="fl.task.models:MLP", model_arguments={}, trainable="layers.2.*")
    model = chosen.build_model()
    assert layout_of(model).names == ("layers.2.weight", "layers.2.bias")
    told = chosen.with_base(model)
    assert len(told.frozen) == 64
    assert spec().with_base(spec().build_model()).frozen is None
    told.build_model()
    with pytest.raises(
        OtherBase, match="the frozen part of the model has sha256 .* get the base that the coordinator names"
    ):
        replace(told, seed=5).build_model()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "hinge",
            "task.loss is 'hinge'; write it as package.module:Name, importable from here, or choose cross_entropy, mse, huber, ",
        ),
        ("torch.nn:Nothing", "task.loss is 'torch.nn:Nothing': "),
        ("torch.nn:Linear", "task.loss is 'torch.nn:Linear' and cannot be built: "),
    ],
)
def test_a_loss_that_leads_nowhere_is_refused(spec, loss, message):
    with pytest.raises(ConfigError) as caught:
        spec(loss=loss).build_loss()
    assert str(caught.value).startswith(message)


def test_a_data_sets_hash_holds_its_values_labels_and_shape(rows):
    def changed(features=rows.features, labels=rows.labels):
        return dataset_hash(Dataset(features=features, labels=labels))

    same = changed(rows.features.copy(), rows.labels.copy())
    assert same == changed()
    assert len(same) == 32
    assert changed(rows.features.reshape(40, 3, 1)) != same
    assert changed(labels=1 - rows.labels) != same
    assert changed(features=np.nextafter(rows.features, 9, dtype=np.float32)) != same
    assert changed(rows.features[::-1], rows.labels[::-1]) != same
