"""A Flower app that anybody would write: digits, an MLP, plain SGD, nothing of this project but its data and its trainer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from trained_rounds import digits, federation_of

from clients.trainer import train as train_locally
from fl.task.data import Federation, PartitionConfig
from fl.task.model_vector import layout_of
from fl.task.spec import TaskSpec

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """As many local steps as the message says, on this node's shard, from the model in the message."""
    torch.set_num_threads(1)
    config = message.content.config_records["config"]
    number, clients = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    federation, spec = dealt(clients, int(config["steps"]))
    shard = federation.shards[number].data
    model = spec.build_model()
    layout = layout_of(model)
    base = layout.flatten({name: array.numpy() for name, array in message.content.array_records["arrays"].items()})
    trained, loss = train_locally(
        model,
        base,
        features=shard.features,
        labels=shard.labels,
        spec=spec,
        seed=1000 * int(config["server-round"]) + number,
    )
    arrays = ArrayRecord({name: Array(array) for name, array in layout.unflatten(trained).items()})
    metrics = MetricRecord({"num-examples": len(shard), "train-loss": loss})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@cache
def dealt(clients: int, steps: int) -> tuple[Federation, TaskSpec]:
    """The shards of all clients, equal in size, and what they train; read once a process."""
    return federation_of(replace(digits(), steps=steps), PartitionConfig(name="iid", clients=clients), seed=0)
