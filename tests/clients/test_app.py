"""The ClientApp that comes with the project, on a node's own configuration."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from clients.app import app
from fl.codec import Blocks
from fl.errors import ConfigError
from fl.protocol import RECORD, SignedUpdate, TrainRequest
from fl.task.data import DataConfig, PartitionConfig
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec
from fl.task.trust import UntrustedCode


@pytest.fixture(scope="module")
def task(lasting_world, digits_spec):
    """A task on digits that the tests of this module only read."""
    return lasting_world(joining=0, spec=digits_spec)


@pytest.fixture(scope="module")
def digits_spec():
    """Softmax regression on digits, three steps."""
    return TaskSpec(
        model="fl.task.models:LogisticRegression", feature_shape=(1, 8, 8), num_classes=10, steps=3, batch_size=8
    )


def config_of(task, number=0, **changes):
    """A complete node configuration, with changes; None leaves a key out."""
    settings = {
        **task.node_config(number),
        "data": json.dumps(asdict(DataConfig(limit=200))),
        "partition": json.dumps(asdict(PartitionConfig(name="iid", clients=3))),
        "seed": 0,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
    return {key: value for key, value in settings.items() if value is not None}


def train(task, config, *, settings=None):
    """One round on a node with this configuration; returns its update and its metrics."""
    model = task.spec.build_model()
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(tensor.numpy()) for name, tensor in model.state_dict().items()}),
            "config": ConfigRecord({"server-round": 1, **(settings or {})}),
            RECORD: TrainRequest(task_id=task.task.task_id, round=1).to_record(),
        }
    )
    context = Context(run_id=1, node_id=2, node_config=config, state=RecordDict(), run_config={})
    answer = app(Message(content, 2, "train"), context)
    signed = SignedUpdate.from_record(answer.content[RECORD])
    return Blocks.from_bytes(signed.blocks, size=len(vector_of(model))).decode(), dict(answer.content["metrics"])


def test_a_node_trains_on_its_own_shard(task):
    updates = [train(task, config_of(task, number)) for number in range(3)]
    assert all(np.linalg.norm(update) > 0 for update, _ in updates)
    assert not np.array_equal(updates[0][0], updates[1][0])
    assert {metrics["num-examples"] for _, metrics in updates} == {40}  # 200 rows, 0.2 + 0.2 held back, three shards


def test_the_same_round_trains_the_same_update(task):
    np.testing.assert_array_equal(train(task, config_of(task))[0], train(task, config_of(task))[0])


def test_a_free_rider_sends_nothing_new(task):
    update, metrics = train(task, config_of(task, behaviour="zero"))
    assert not update.any()
    assert metrics["train-loss"] == 0


def test_flipped_labels_train_another_update(task):
    honest, flipped = (train(task, config_of(task, behaviour=behaviour))[0] for behaviour in ("honest", "label_flip:1"))
    assert honest @ flipped < 0.5 * np.linalg.norm(honest) * np.linalg.norm(flipped)


def test_a_cheat_that_looks_back_needs_what_is_published(task, tmp_path):
    with pytest.raises(ConfigError) as caught:
        train(task, config_of(task, behaviour="replay_step"))
    assert str(caught.value) == (
        "behaviour 'replay_step' goes by what the coordinator publishes, and the node configuration lacks 'bundles'; set it to a "
        "folder or URL"
    )
    update, _ = train(task, config_of(task, behaviour="replay_step", bundles=str(tmp_path)))
    assert not update.any()  # of a first round nothing is published


def test_an_accomplice_gives_its_rows_away(task):
    copied = train(task, config_of(task, behaviour="copy:2"))[0]
    np.testing.assert_allclose(copied, train(task, config_of(task, number=2))[0], atol=1e-6)


def test_the_proximal_term_comes_with_the_message(task):
    free, held = train(task, config_of(task))[0], train(task, config_of(task), settings={"proximal-mu": 5.0})[0]
    assert np.linalg.norm(held) < np.linalg.norm(free)


@pytest.mark.parametrize("key", ["data", "partition", "seed", "partition-id"])
def test_a_setting_that_is_missing_is_named(task, key):
    with pytest.raises(ConfigError) as caught:
        train(task, config_of(task, **{key.replace("-", "_"): None}))
    assert str(caught.value) == f"the node configuration lacks {key!r}; see clients/app.py for what it needs"


def test_a_shard_that_is_not_there_is_named(task):
    with pytest.raises(ConfigError) as caught:
        train(task, config_of(task, partition_id=3))
    assert str(caught.value) == "partition-id is 3, the data has shards 0 to 2"


def test_an_unknown_behaviour_is_named(task):
    with pytest.raises(ConfigError, match="behaviour 'sleep' is unknown; write one of honest, zero, "):
        train(task, config_of(task, behaviour="sleep"))


@pytest.fixture
def table_task(new_world, spec):
    """A task of tables of two columns."""
    column = {"mean": 0.0, "std": 1.0, "marks_missing": False, "zero_is_missing": False}
    schema = {
        "names": ["a", "b", "label"],
        "has_header": True,
        "columns": [{"name": name, **column} for name in "ab"],
        "target": "label",
        "class_names": ["no", "yes"],
        "positive_above": None,
        "label_map": [],
        "level_map": [],
        "target_scale": None,
        "missing": [""],
    }
    model = {"in_features": 2, "out_features": 2}
    return lambda **changes: new_world(
        joining=0, spec=spec(schema=schema, feature_shape=(2,), **{"model_arguments": model, **changes})
    )


def test_a_node_of_its_own_trains_on_its_file(table_task, tmp_path):
    task = table_task()
    shard = tmp_path / "own.csv"
    rows = [f"{number},{number % 3},{'yes' if number % 2 else 'no'}" for number in range(12)]
    shard.write_text("\n".join(["a,b,label", *rows, "5,6,"]) + "\n")
    config = {**task.node_config(0), "shard": str(shard), "drop-unlabelled": True, "threads": 1}
    update, metrics = train(task, config)
    assert np.linalg.norm(update) > 0
    assert metrics["num-examples"] == 12
    other, _ = train(task, {**config, "anvil-account": 6})
    assert not np.array_equal(update, other)  # another account draws other batches


def test_a_node_of_its_own_has_no_accomplice(table_task, tmp_path):
    task = table_task()
    shard = tmp_path / "own.csv"
    shard.write_text("a,b,label\n1,2,yes\n2,3,no\n")
    with pytest.raises(ConfigError) as caught:
        train(task, {**task.node_config(0), "shard": str(shard), "behaviour": "copy:2"})
    assert str(caught.value) == (
        "this node has its own rows and not those of client 2; play accomplices with `fl run`, where each can be given the others' rows"
    )


def test_a_node_of_its_own_builds_no_foreign_code(table_task, tmp_path):
    task = table_task(loss="os:getcwd")
    config = {**task.node_config(0), "shard": str(tmp_path / "own.csv")}
    with pytest.raises(UntrustedCode, match="the task's loss is os:getcwd, which is neither Fairshare's nor"):
        train(task, config)
