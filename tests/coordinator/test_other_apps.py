"""Flower apps of the shapes that people bring, each run and paid by one call and one mod, under what Flower's simulation tells a node.

They are rebuilt here on a few rows: none is anybody's code.
"""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from clients import sign_updates
from fl import paying
from fl.bundle.format import Bundle
from fl.codec import Blocks
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.round.resume import LostRound
from fl.errors import ConfigError
from fl.task.preflight import UnfitModel

CLIENTS = 3


@pytest.fixture
def told(chain, tmp_path, monkeypatch, rows):
    """What every app tells `paying`; the app runs in a folder where a deployment is."""
    chain.write(tmp_path / "deployment.json")
    monkeypatch.chdir(tmp_path)
    return {
        "loss": nn.CrossEntropyLoss(),
        "validation": (rows.features, rows.labels),
        "clients": CLIENTS,
        "rounds": 2,
        "budget": "100",
        "simulate": True,
    }


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


# ---- what a model returns --------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """A variational one: it draws in its forward pass."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(3, 4), nn.Linear(2, 3)

    def forward(self, x):
        mean, spread = self.encode(x).chunk(2, dim=1)
        drawn = mean + torch.randn_like(mean) * torch.exp(spread / 2)
        return self.decode(drawn), mean, spread


def elbo(model, batch):
    made, mean, spread = model(batch[0])
    divergence = -0.5 * (1 + spread - mean**2 - spread.exp()).sum(1)
    return functional.mse_loss(made, batch[0], reduction="none").sum(1) + divergence


def test_a_model_that_draws_in_its_forward_pass(told, rows):
    model = seeded(Autoencoder)
    validation = [(torch.from_numpy(rows.features[at : at + 10]), torch.zeros(10)) for at in range(0, 40, 10)]
    strategy = paying(strategy_of(), model=model, **{**told, "loss": elbo, "validation": validation})

    def train(message, partition):
        x, _ = part_of(rows, partition)
        result = trained(Autoencoder(), message.content["arrays"], lambda net: elbo(net, (x,)).mean(), rate=0.02)
        return content(ArrayRecord(result.state_dict()))

    state = torch.random.get_rng_state()
    strategy.start(grid_of(train), ArrayRecord(model.state_dict()), num_rounds=2)
    assert not torch.equal(
        state, torch.random.get_rng_state()
    )  # it drew from the app's generator, which scoring puts back
    assert paid(strategy) > 0


class Module(nn.Module):
    """In Lightning's manner: a step of its own gives the loss, in a dict."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": functional.cross_entropy(self.net(x), y), "seen": len(x)}


def test_a_model_whose_step_returns_its_loss_in_a_dict(told, rows):
    model = seeded(Module)
    told["loss"] = lambda net, batch: net.training_step(batch, 0)["loss"]
    strategy = paying(strategy_of(), model=model, **told)

    def train(message, partition):
        batch = part_of(rows, partition)
        result = trained(Module(), message.content["arrays"], lambda net: net.training_step(batch, 0)["loss"])
        return content(ArrayRecord(result.state_dict()))

    strategy.start(grid_of(train), ArrayRecord(model.state_dict()), num_rounds=2)
    assert paid(strategy) > 0


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
def test_a_text_classifier_of_transformers(told, rows):
    from transformers import BertConfig, BertForSequenceClassification  # noqa: PLC0415 - only where the extra is there

    config = BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    tokens = torch.from_numpy((rows.features * 4).astype(np.int64) % 16)
    tokens, labels = tokens.repeat(1, 2), torch.from_numpy(rows.labels)
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    model = seeded(lambda: BertForSequenceClassification(config))
    told |= {"loss": lambda net, batch: net(**batch).loss, "validation": [batch]}
    strategy = paying(strategy_of(), model=model, **told)

    def train(message, partition):
        own = {name: array[partition::CLIENTS] for name, array in batch.items()}
        result = trained(
            seeded(lambda: BertForSequenceClassification(config)),
            message.content["arrays"],
            lambda net: net(**own).loss,
        )
        return content(ArrayRecord(result.state_dict()))

    strategy.start(grid_of(train), ArrayRecord(model.state_dict()), num_rounds=2)
    assert paid(strategy) > 0


# ---- what travels ----------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    """A batch norm that every client keeps for itself."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.norm(x))


def shared_part(model):
    return ArrayRecord({name: tensor for name, tensor in model.state_dict().items() if not name.startswith("norm.")})


def test_clients_that_keep_their_batch_norms(told, rows):
    model = seeded(Normed)
    arrays = shared_part(model)
    strategy = paying(strategy_of(), model=model, trainable=arrays, **told)
    own = {partition: seeded(Normed) for partition in range(CLIENTS)}

    def train(message, partition):
        x, y = part_of(rows, partition)
        assert set(message.content["arrays"]) == set(arrays)  # nobody is sent another's norm
        trained(own[partition], message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(shared_part(own[partition]))

    result = strategy.start(grid_of(train), arrays, num_rounds=2)
    assert set(result.arrays) == set(arrays)
    assert paid(strategy) > 0


def test_arrays_that_are_less_than_what_is_paid_for_are_refused_with_what_to_do(told):
    model = seeded(Normed)
    strategy = paying(strategy_of(), model=model, **told)
    with pytest.raises(ConfigError, match=r"have no norm.weight, norm.bias, .*; open it with trainable=initial_arrays"):
        strategy.start(grid_of(lambda *_: content(ArrayRecord())), shared_part(model))


def test_what_a_client_leaves_out_of_its_answer_counts_as_it_was_sent(told, rows):
    strategy = paying(strategy_of(), model=linear(), **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        model = trained(linear(), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(ArrayRecord({"bias": model.state_dict()["bias"]}))

    strategy.start(grid_of(train), ArrayRecord(linear().state_dict()), num_rounds=2)
    bundle, _ = Bundle.read(strategy.journal.bundle(1))
    for update in bundle.updates:
        moved = bundle.layout.unflatten(Blocks.from_bytes(update.wire, size=8).decode())
        assert not moved["weight"].any()
        assert moved["bias"].all()
    # Two values that sum to zero move one way only, which is public after the first round and pays no more.
    assert strategy.task.state().paid > 0


def test_a_model_in_half_precision(told, rows):
    model = linear().to(torch.bfloat16)
    told["loss"] = lambda net, batch: functional.cross_entropy(net(batch[0].to(torch.bfloat16)), batch[1])
    strategy = paying(strategy_of(), model=model, **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        result = trained(linear(), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(
            ArrayRecord({name: value.to(torch.bfloat16).float() for name, value in result.state_dict().items()})
        )

    arrays = ArrayRecord({name: value.float() for name, value in model.state_dict().items()})  # numpy has no bfloat16
    strategy.start(grid_of(train), arrays, num_rounds=2)
    assert paid(strategy) > 0


# ---- strategies of people's own --------------------------------------------------------------------------------------


class Scaffold(FedAvg):
    """Control variates travel beside the model, both ways (Karimireddy et al. 2020), under names of the app's own."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.control, self.asked = None, {}

    def configure_train(self, server_round, arrays, config, grid):
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if self.control is None:
            self.control = {name: np.zeros_like(array.numpy()) for name, array in arrays.items()}
        for message in messages:
            message.content = RecordDict(
                {
                    "control": record(self.control),
                    "model": message.content["arrays"],
                    "config": message.content["config"],
                }
            )
            self.asked[message.metadata.dst_node_id] = server_round
        return messages

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            assert self.asked[reply.metadata.src_node_id] == server_round
            assert reply.content["about"]["steps"] == 3
            for name, change in reply.content["control"].items():
                self.control[name] += change.numpy() / len(replies)
            reply.content = RecordDict({name: reply.content[name] for name in ("model", "figures")})
        return super().aggregate_train(server_round, replies)


def record(arrays):
    return ArrayRecord({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def controlled(rows):
    def train(message, partition):
        x, y = part_of(rows, partition)
        model = trained(linear(), message.content["model"], lambda net: functional.cross_entropy(net(x), y))
        moved = {name: array.numpy() + 0.01 for name, array in message.content["control"].items()}
        return RecordDict(
            {
                "model": ArrayRecord(model.state_dict()),
                "control": record(moved),
                "figures": MetricRecord({"num-examples": 10}),
                "about": ConfigRecord({"steps": 3}),
            }
        )

    return train


def test_a_second_record_of_arrays_goes_both_ways_beside_the_model(told, rows):
    inner = strategy_of(Scaffold)
    strategy = paying(inner, model=linear(), **told)
    strategy.start(grid_of(controlled(rows)), ArrayRecord(linear().state_dict()), num_rounds=2)
    assert paid(strategy) > 0
    # 0.01 after the first round; the second adds what was sent and 0.01.
    np.testing.assert_allclose(inner.control["bias"], [0.03, 0.03], rtol=1e-6)


def test_what_came_beside_the_model_is_there_after_a_crash_and_gone_after_its_round(told, rows, monkeypatch):
    strategy = paying(strategy_of(Scaffold), model=linear(), **told)
    strategy.journal._resumable = True
    grid, arrays = grid_of(controlled(rows)), ArrayRecord(linear().state_dict())

    class Killed(Exception):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("fl.coordinator.round.strategy.settle_updates", killed)
        with pytest.raises(Killed):
            strategy.start(grid, arrays)
    again = strategy_again(strategy)
    again.inner.asked = dict.fromkeys(range(2, 2 + CLIENTS), 1)
    again.inner.control = {name: np.zeros_like(array.numpy()) for name, array in arrays.items()}
    assert again.start(grid, arrays, num_rounds=1).arrays is not None
    np.testing.assert_allclose(again.inner.control["bias"], [0.01, 0.01], rtol=1e-6)
    with pytest.raises(LostRound, match="Scaffold cannot be taken through it again .*; it goes by more than models"):
        strategy_again(strategy).start(grid, arrays)


def strategy_again(strategy):
    """The strategy of another process, over the same task and folder."""
    return type(strategy)(
        strategy_of(Scaffold),
        task=strategy.task,
        spec=strategy.spec,
        game=strategy.game,
        quorum=strategy.quorum,
        bundles=strategy._bundles,
        invite=strategy._invite,
        simulation=strategy._simulation,
        simulated=strategy.nodes._simulated,
    )


class Keeping(FedAvg):
    """With a loop of its own, as those have that keep the best model."""

    def set_folder(self, folder):
        self.folder, self.seen = folder, []

    def start(  # noqa: PLR0917 (Flower calls it so)
        self, grid, initial_arrays, num_rounds=3, timeout=3600, train_config=None, evaluate_fn=None, mark=""
    ):
        arrays = initial_arrays
        for number in range(1, num_rounds + 1):
            replies = grid.send_and_receive(
                self.configure_train(number, arrays, train_config or ConfigRecord(), grid), timeout=timeout
            )
            arrays, metrics = self.aggregate_train(number, replies)
            self.seen.append((mark, number, dict(metrics), evaluate_fn(number, arrays)))
        return SimpleNamespace(best=arrays)


def test_a_strategy_with_a_start_of_its_own_runs_it(told, rows, tmp_path):
    strategy = paying(strategy_of(Keeping), model=linear(), **told)
    strategy.set_folder(tmp_path)  # what the app asks of its strategy, it is asked
    found = strategy.start(
        grid=grid_of(classify(rows)),
        initial_arrays=ArrayRecord(linear().state_dict()),
        num_rounds=2,
        evaluate_fn=lambda number, arrays: len(arrays),
        mark="mine",
    )
    assert strategy.seen == [("mine", 1, {}, 2), ("mine", 2, {}, 2)]
    assert set(found.best) == {"weight", "bias"}
    assert paid(strategy) > 0


def test_an_argument_that_no_start_takes_is_refused(told, rows):
    strategy = paying(strategy_of(), model=linear(), **told)
    with pytest.raises(TypeError, match="FedAvg.start has no argument mark"):
        strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()), mark="mine")


def test_an_app_that_starts_round_by_round(told, rows):
    strategy = paying(strategy_of(), model=linear(), **told)
    grid, arrays = grid_of(classify(rows)), ArrayRecord(linear().state_dict())
    first = strategy.start(grid, arrays, num_rounds=1)
    assert strategy.task.state().posted == 1
    with pytest.raises(
        ConfigError, match="the model is not the one after round 1; go on with the arrays of that start"
    ):
        strategy.start(grid, arrays, num_rounds=1)
    second = strategy.start(grid, first.arrays, num_rounds=1)
    assert paid(strategy) > 0
    assert strategy.start(grid, second.arrays, num_rounds=1).arrays is second.arrays  # there is no further round


class Asking(FedAvg):
    """Reads the settings of the app's run from the grid."""

    def configure_train(self, server_round, arrays, config, grid):
        self.found = grid.run.override_config["rate"]
        return super().configure_train(server_round, arrays, config, grid)


def test_a_strategy_finds_the_settings_of_its_run(told, rows, monkeypatch):
    monkeypatch.setattr(LocalGrid, "run", SimpleNamespace(override_config={"rate": 0.3}))
    strategy = paying(strategy_of(Asking), model=linear(), **told)
    strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()))
    assert strategy.inner.found == 0.3


# ---- what a loss takes -----------------------------------------------------------------------------------------------


def test_a_network_of_triplets_in_a_wrapper_that_renames_its_arrays(told, rows):
    def build():
        return nn.DataParallel(nn.Linear(3, 2))  # as one that was written for GPUs

    x = torch.from_numpy(rows.features)
    triplets = (x[:30], x[1:31], x[2:32])

    def apart(model, batch):
        anchor, near, far = map(model, batch)
        return functional.triplet_margin_loss(anchor, near, far, reduction="none")

    model = seeded(build)
    told |= {"loss": apart, "validation": [triplets]}
    strategy = paying(strategy_of(), model=model, **told)

    def train(message, partition):
        own = tuple(one[partition::CLIENTS] for one in triplets)
        one = trained(build(), message.content["arrays"], lambda one: apart(one, own).mean())
        return content(ArrayRecord(one.state_dict()))

    strategy.start(grid_of(train), ArrayRecord(model.state_dict()), num_rounds=2)
    assert paid(strategy) > 0


# ---- no torch --------------------------------------------------------------------------------------------------------


def coefficients(model):
    return ArrayRecord([model.coef_, model.intercept_])


def of_coefficients(arrays):
    model = LogisticRegression(max_iter=1, warm_start=True)
    model.classes_ = np.array([0, 1])
    model.coef_, model.intercept_ = arrays["0"].copy(), arrays["1"].copy()
    return model


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scorer", [None, "loo"])
def test_a_model_of_scikit_learn_is_paid_by_a_utility(told, rows, scorer):
    x, y = rows.features, rows.labels

    def utility(arrays):
        logits = x @ arrays["0"][0] + arrays["1"][0]
        return -float(np.logaddexp(0, np.where(y == 1, -logits, logits)).mean())

    arrays = ArrayRecord([np.zeros((1, 3)), np.zeros(1)])
    told |= {"loss": None, "validation": (x, y), "utility": utility, "scorer": scorer}
    strategy = paying(strategy_of(), model=arrays, **told)
    assert strategy.task.terms.attested
    assert strategy.spec.scorer == (scorer or "shapley")

    def train(message, partition):
        own_x, own_y = (array.numpy() for array in part_of(rows, partition))
        result = of_coefficients({name: value.numpy() for name, value in message.content["arrays"].items()})
        result.fit(own_x, own_y)
        return content(coefficients(result))

    result = strategy.start(grid_of(train), arrays, num_rounds=2)
    assert utility({name: array.numpy() for name, array in result.arrays.items()}) > utility(
        {"0": np.zeros((1, 3)), "1": np.zeros(1)}
    )
    assert paid(strategy) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utility": lambda arrays: "good"}, "utility returns 'good'; return one finite number, larger for better"),
        ({"utility": lambda arrays: float("nan")}, "utility returns nan; return one finite number"),
        ({"utility": lambda arrays: arrays["none"]}, r"utility fails on the initial arrays \(KeyError: 'none'\)"),
        ({"utility": lambda arrays: np.random.rand()}, r"utility returns .* and then .* for the same arrays; seed"),
        ({"scorer": "direction"}, "scorer=direction goes by gradients, and a utility has none; leave scorer out"),
        ({"loss": nn.MSELoss()}, "both loss and utility are set"),
        ({"model": nn.Linear(1, 1)}, "utility values arrays by name, and the model is a Linear"),
        ({"model": {"tree": np.array(["a"])}}, "the model's array tree holds <U1 and not numbers"),
        ({"model": {"count": np.array([1])}}, "the model has no array of floats"),
        ({"utility": None}, "loss and validation are missing"),
        ({"utility": None, "loss": nn.MSELoss(), "validation": ([[1.0]], [1.0])}, "the model is a dict; give a torch module, or ut"),
        ({"validation": np.array(["a"])}, "validation holds <U1 and not numbers; encode it first, or leave it out"),
        ({"stakes": ["1"]}, "stakes has 1 amounts for 3 clients; give one above 0"),
        ({"stakes": ["1", "0", "2"]}, "stakes has 3 amounts and a 0 among them for 3 clients"),
        ({"simulate": False, "stakes": ["1"]}, "stakes are for a simulation"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_by_a_utility_is_refused_before_anything_is_opened(told, tmp_path, changes, message):
    told |= {"loss": None, "validation": None, "model": {"w": np.zeros(2)}, "utility": lambda arrays: 0.0}
    with pytest.raises(ConfigError, match=message):
        paying(strategy_of(), **{**told, **changes})
    assert not (tmp_path / "simulated").exists()


# ---- the simulation itself -------------------------------------------------------------------------------------------


def test_an_app_without_a_deployment_gets_a_chain_of_its_own(told, rows, tmp_path, caplog):
    (tmp_path / "deployment.json").unlink()
    strategy = paying(strategy_of(), model=linear(), stakes=["1", "2", "3"], block_bits=8, **told)
    strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()), num_rounds=2)
    assert paid(strategy) == 100
    stakes = [enrolment.stake // 10**18 for enrolment in strategy.task.enrolments().values()]
    assert sorted(stakes) == [1, 2, 3]
    assert "partition 2: " in caplog.text
    (folder,) = (tmp_path / "simulated").iterdir()
    assert {"anvil.log", "bundles", "deployment.json", "invite.json"} <= {path.name for path in folder.iterdir()}


def test_a_node_that_is_not_simulated_signs_nothing_for_a_simulated_task(told, rows, caplog):
    strategy = paying(strategy_of(), model=linear(), **told)
    app = ClientApp(mods=[sign_updates])
    app.train()(lambda message, context: Message(classify(rows)(message, 0), reply_to=message))
    grid = LocalGrid(app, {n + 2: {"partition-id": n} for n in range(CLIENTS)})
    strategy.start(grid, ArrayRecord(linear().state_dict()), num_rounds=1)
    assert "this node is not of Flower's simulation engine" in caplog.text
    assert not Bundle.read(strategy.journal.bundle(1))[0].updates


def test_a_model_that_does_not_work_opens_no_chain(told, tmp_path):
    with pytest.raises(UnfitModel):
        paying(strategy_of(), model=nn.Linear(4, 2), **told)
    assert not (tmp_path / "simulated").exists()
