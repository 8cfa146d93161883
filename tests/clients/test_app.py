"""The ClientApp that comes with the project, on a node's own configuration."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from clients.app import app
from fl.codec import Blocks
from fl.coordinator.protocol import RECORD, SignedUpdate, TrainRequest
from fl.errors import ConfigError
from fl.task.data import DataConfig, PartitionConfig
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec


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
            "arrays": ArrayRecord({name: Array(one.numpy()) for name, one in model.state_dict().items()}),
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
    update, metrics = train(task, config_of(task, behaviour="free_ride"))
    assert not update.any()
    assert metrics["train-loss"] == 0


def test_flipped_labels_train_another_update(task):
    honest, flipped = (train(task, config_of(task, behaviour=one))[0] for one in ("honest", "label_flip:1"))
    assert honest @ flipped < 0.5 * np.linalg.norm(honest) * np.linalg.norm(flipped)


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
    with pytest.raises(ConfigError, match="behaviour 'sleep' is unknown; write honest, free_ride or label_flip:SHARE"):
        train(task, config_of(task, behaviour="sleep"))
