"""The Flower ClientApp of a node: trains the task's model on the owner's shard and answers with a signed update."""

from __future__ import annotations

import json
from functools import cache, lru_cache

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.signing import sign_updates
from clients.trainer import train as train_locally
from clients.wallet import read_invite
from fl.errors import ConfigError
from fl.task.behaviour import FREE_RIDE, LABEL_FLIP, check_behaviour, flip_labels
from fl.task.data import DataConfig, Dataset, Federation, PartitionConfig, load_federation
from fl.task.model_vector import layout_of
from fl.task.spec import TaskSpec

app = ClientApp(mods=[sign_updates])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train for the spec's steps from the model in the message; answer with the trained arrays and two metrics.

    The node configuration names the `invite` that the owner accepted, the `data` and `partition` settings (JSON), the
    `seed`, the `partition-id`, and optionally a `behaviour`.
    """
    settings = context.node_config
    spec = _spec(str(_setting(settings, "invite")))
    behaviour, share = check_behaviour(str(settings.get("behaviour", "honest")))
    number, seed = int(_setting(settings, "partition-id")), int(_setting(settings, "seed"))
    shard = _shard(str(_setting(settings, "data")), str(_setting(settings, "partition")), number, seed)
    labels = shard.labels
    if behaviour == LABEL_FLIP:
        rng = np.random.default_rng([seed, number])
        labels = flip_labels(labels, share=share, num_classes=spec.num_classes, rng=rng)

    config = message.content.config_records.get("config", {})
    arrays = next(iter(message.content.array_records.values()))
    model = spec.build_model()
    layout = layout_of(model)
    base = layout.flatten({name: array.numpy() for name, array in arrays.items()})
    if behaviour == FREE_RIDE:
        trained, loss = base, 0.0
    else:
        trained, loss = train_locally(
            model,
            base,
            features=shard.features,
            labels=labels,
            spec=spec,
            # One stream per round and client, the same whichever process or engine trains it.
            seed=int(np.random.SeedSequence([seed, number, int(config.get("server-round", 0))]).generate_state(1)[0]),
            proximal_mu=float(config.get("proximal-mu", 0.0)),
        )
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in layout.unflatten(trained).items()}),
            "metrics": MetricRecord({"num-examples": len(labels), "train-loss": loss}),
        }
    )
    return Message(content, reply_to=message)


def _setting(settings: dict, key: str) -> object:
    if key not in settings:
        raise ConfigError(f"the node configuration lacks {key!r}; see clients/app.py for what it needs")
    return settings[key]


@cache
def _spec(invite: str) -> TaskSpec:
    return TaskSpec.from_json(read_invite(invite).spec)


def _shard(data: str, partition: str, number: int, seed: int) -> Dataset:
    shards = _federation(data, partition, seed).shards
    if not 0 <= number < len(shards):
        raise ConfigError(f"partition-id is {number}, the data has shards 0 to {len(shards) - 1}")
    return shards[number].data


@lru_cache(maxsize=1)  # in one process all clients of a simulation share the loaded data
def _federation(data: str, partition: str, seed: int) -> Federation:
    return load_federation(DataConfig(**json.loads(data)), PartitionConfig(**json.loads(partition)), seed=seed)
