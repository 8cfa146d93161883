"""The Flower ClientApp of a node: trains the task's model on the owner's shard and answers with a signed update.

torch is imported with the first message, so that a node that waits for one stays small.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.keys.wallet import read_invite, wallet_of
from clients.shard import read_own_shard
from clients.signing import sign_updates
from fl.errors import ConfigError
from fl.task.behaviour import FREE_RIDE, LABEL_FLIP, check_behaviour, flip_labels
from fl.task.data import DataConfig, Dataset, Federation, PartitionConfig, load_federation
from fl.task.trust import Trust

if TYPE_CHECKING:
    from fl.task.spec import TaskSpec

app = ClientApp(mods=[sign_updates])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train for the spec's steps from the model in the message; answer with the trained arrays and two metrics.

    The node configuration names the `invite` that the owner accepted, in `trust` the packages whose models and losses its
    spec may name, and whose rows are trained on. A node of its own: the `shard` (a file or folder; with `drop-unlabelled`
    rows without a label are left out) and the `threads` of training. A simulation: the `data` and `partition` settings
    (JSON), the `seed`, the `partition-id`, and optionally a `behaviour`.
    """
    # In here and not above: see the module's docstring.
    trainer = importlib.import_module("clients.trainer")
    if "threads" in context.node_config:
        trainer.torch.set_num_threads(int(context.node_config["threads"]))
    vectors = importlib.import_module("fl.task.model_vector")
    rows = _rows_of(context)
    behaviour, share = check_behaviour(str(context.node_config.get("behaviour", "honest")))
    labels = rows.data.labels
    if behaviour == LABEL_FLIP:
        rng = np.random.default_rng([rows.seed, rows.number])
        labels = flip_labels(labels, share=share, num_classes=rows.spec.num_classes, rng=rng)

    config = message.content.config_records.get("config", {})
    arrays = next(iter(message.content.array_records.values()))
    model = rows.spec.build_model()
    layout = vectors.layout_of(model)
    base = layout.flatten({name: array.numpy() for name, array in arrays.items()})
    if behaviour == FREE_RIDE:
        trained, loss = base, 0.0
    else:
        trained, loss = trainer.train(
            model,
            base,
            features=rows.data.features,
            labels=labels,
            spec=rows.spec,
            # One stream per round and client, the same whichever process or engine trains it.
            seed=int(
                np.random.SeedSequence([rows.seed, rows.number, int(config.get("server-round", 0))]).generate_state(1)[
                    0
                ]
            ),
            proximal_mu=float(config.get("proximal-mu", 0.0)),
        )
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in layout.unflatten(trained).items()}),
            "metrics": MetricRecord({"num-examples": len(labels), "train-loss": loss}),
        }
    )
    return Message(content, reply_to=message)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What a node trains on, and what its random draws start from."""

    spec: TaskSpec
    data: Dataset
    seed: int
    number: int  # tells this client's draws from the others'


def _rows_of(context: Context) -> _Rows:
    settings = context.node_config
    invite = str(_setting(settings, "invite"))
    spec = _spec(invite, Trust.of(str(settings.get("trust", ""))))
    if "shard" in settings:
        data = _own_data(invite, str(settings["shard"]), bool(settings.get("drop-unlabelled", False)))
        number = int(wallet_of(context).address, 16)
        return _Rows(spec=spec, data=data, seed=spec.seed, number=number)
    number, seed = int(_setting(settings, "partition-id")), int(_setting(settings, "seed"))
    data = _partition(str(_setting(settings, "data")), str(_setting(settings, "partition")), number, seed)
    return _Rows(spec=spec, data=data, seed=seed, number=number)


def _setting(settings: dict, key: str) -> object:
    if key not in settings:
        raise ConfigError(f"the node configuration lacks {key!r}; see clients/app.py for what it needs")
    return settings[key]


@cache
def _spec(invite: str, trust: Trust) -> TaskSpec:
    return importlib.import_module("fl.task.spec").TaskSpec.from_json(read_invite(invite).spec, trust=trust)


@cache
def _own_data(invite: str, path: str, drop_unlabelled: bool) -> Dataset:
    return read_own_shard(Path(path), spec=json.loads(read_invite(invite).spec), drop_unlabelled=drop_unlabelled).data


def _partition(data: str, partition: str, number: int, seed: int) -> Dataset:
    shards = _federation(data, partition, seed).shards
    if not 0 <= number < len(shards):
        raise ConfigError(f"partition-id is {number}, the data has shards 0 to {len(shards) - 1}")
    return shards[number].data


@lru_cache(maxsize=1)  # in one process all clients of a simulation share the loaded data
def _federation(data: str, partition: str, seed: int) -> Federation:
    return load_federation(DataConfig(**json.loads(data)), PartitionConfig(**json.loads(partition)), seed=seed)
