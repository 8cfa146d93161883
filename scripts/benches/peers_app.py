"""The unpaid Flower app of the peers bench: MNIST or a table, plain SGD, the same batches for every side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from clients.cohort import Job, train_together
from clients.trainer import train as train_locally
from clients.workbench import Workbench
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.held_arrays import Records, metrics_of, received_model, record_of, reply
from fl.task.spec import TaskSpec

ROWS = 80  # of a client
app = ClientApp()


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row of the table: what a hundred clients train."""

    spec: TaskSpec
    shards: tuple[tuple[NDArray[np.float32], NDArray[np.int64]], ...]
    bench: Workbench

    def job(self, number: int, server_round: int) -> Job:
        """What a client trains on in a round."""
        features, labels = self.shards[number]
        return Job(features=features, labels=labels, seed=1000 * server_round + number)


@cache
def row_of(name: str, clients: int, path: str) -> Row:
    """A row by its name, such as mlp_20: model and local steps; read once a process."""
    model, _, steps = name.partition("_")
    if model == "logistic":
        rng = np.random.default_rng(0)
        features = rng.normal(size=(clients * ROWS, 30)).astype(np.float32)
        labels = (features @ rng.normal(size=30) + rng.normal(size=len(features)) > 0).astype(np.int64)
        shape, classes = (30,), 2
    else:
        data = DataConfig(name="idx", path=path, validation=500, test=500)
        federation = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0)
        rows = federation.shards[0].data
        features, labels = rows.features[: clients * ROWS], rows.labels[: clients * ROWS]
        shape, classes = federation.feature_shape, federation.num_classes
    spec = TaskSpec(
        model={"mlp": "fl.task.models:MLP", "lenet": "fl.task.models:LeNet"}.get(
            model, "fl.task.models:LogisticRegression"
        ),
        feature_shape=shape,
        num_classes=classes,
        steps=int(steps),
        learning_rate=0.05,
    )
    parts = range(0, clients * ROWS, ROWS)
    shards = tuple((features[start : start + ROWS].copy(), labels[start : start + ROWS].copy()) for start in parts)
    return Row(spec=spec, shards=shards, bench=Workbench(spec))


@app.train()
def train(message: Message, context: Context) -> Message:
    """The steps of this node, from the model in the message."""
    row, job = _asked(message, context)
    received = received_model(message.content["arrays"])
    trained, loss = train_locally(
        row.bench.tools(), received.vector, features=job.features, labels=job.labels, spec=row.spec, seed=job.seed
    )
    return _reply(message, received.layout.unflatten(trained), rows=len(job.labels), loss=loss)


def answer_together(messages: Sequence[Message], contexts: Sequence[Context]) -> dict[int, Message]:
    """The same for many nodes at once."""
    asked = [_asked(message, context) for message, context in zip(messages, contexts, strict=True)]
    received = received_model(messages[0].content["arrays"])
    trained = train_together(asked[0][0].spec, received.vector, [job for _, job in asked])
    return {
        place: _reply(message, received.layout.unflatten(vector), rows=len(job.labels), loss=loss)
        for place, (message, (_, job), (vector, loss)) in enumerate(zip(messages, asked, trained, strict=True))
    }


def _asked(message: Message, context: Context) -> tuple[Row, Job]:
    settings, config = context.node_config, message.content["config"]
    clients = int(settings["num-partitions"])
    row = row_of(str(config["row"]), clients, str(config["path"]))
    return row, row.job(int(settings["partition-id"]), int(config["server-round"]))


def _reply(message: Message, arrays: dict[str, NDArray], *, rows: int, loss: float) -> Message:
    # Written as `clients.app` writes its answers.
    metrics = metrics_of({"num-examples": rows, "train-loss": loss})
    return reply(Records({"arrays": record_of(arrays), "metrics": metrics}), message)
