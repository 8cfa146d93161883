"""What the tests of other people's Flower apps share: their strategies, grids and clients, on a few rows."""

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn import functional

from clients import sign_updates
from fl.bundle.format import Bundle
from fl.coordinator.engines.local import LocalGrid

CLIENTS = 3


def strategy_of(kind=FedAvg, **settings):
    return kind(fraction_evaluate=0.0, min_available_nodes=CLIENTS, **settings)


def grid_of(train):
    """Flower's simulation: a node knows its partition and how many there are. `train(message, partition)` gives the content."""
    app = ClientApp(mods=[sign_updates])

    @app.train()
    def answer(message, context):
        return Message(train(message, int(context.node_config["partition-id"])), reply_to=message)

    return LocalGrid(app, {n + 2: {"partition-id": n, "num-partitions": CLIENTS} for n in range(CLIENTS)})


def trained(model, arrays, loss_of, *, steps=3, rate=0.3):
    """The model of a message, a few steps on."""
    model.load_state_dict(arrays.to_torch_state_dict(), strict=False)
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    return model


def content(arrays, **others):
    return RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10}), **others})


def part_of(rows, partition):
    return torch.from_numpy(rows.features[partition::CLIENTS]), torch.from_numpy(rows.labels[partition::CLIENTS])


def paid(strategy):
    """What the chain says that all rounds came to, in tokens, and that the bundles have an update of everybody."""
    state = strategy.task.state()
    assert state.posted == state.rounds
    for number in range(1, state.posted + 1):
        bundle, _ = Bundle.read(strategy.journal.bundle(number))
        assert len(bundle.updates) == CLIENTS
        assert any(leaf.score for leaf in bundle.leaves)
    return round(state.paid / 10**18)


def seeded(build):
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def linear():
    return seeded(lambda: nn.Linear(3, 2))


def classify(rows):
    """The training of an ordinary client."""

    def train(message, partition):
        x, y = part_of(rows, partition)
        model = trained(linear(), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(ArrayRecord(model.state_dict()))

    return train
