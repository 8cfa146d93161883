"""Flower apps of the shapes that people bring, each run and paid by one call and one mod, under what Flower's simulation tells a node.

They are rebuilt here on a few rows: none is anybody's code.
"""

import importlib.util

import numpy as np
import pytest
import torch
from coordinator.other_apps import (
    CLIENTS,
    classify,
    content,
    grid_of,
    linear,
    paid,
    part_of,
    seeded,
    strategy_of,
    trained,
)
from flwr.app import ArrayRecord, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn import functional

from clients import sign_updates
from fl import paying
from fl.bundle.format import Bundle
from fl.codec import Blocks
from fl.coordinator.engines.local import LocalGrid
from fl.errors import ConfigError
from fl.task.preflight import UnfitModel

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


def test_arrays_without_names_count_in_the_models_order_and_keep_it(told, rows, caplog):
    # As Flower's older examples send them; the buffers of a batch norm stand between its parameters and the next layer's.
    def listed(model):
        return ArrayRecord([tensor.numpy() for tensor in model.state_dict().values()])

    strategy = paying(strategy_of(), model=seeded(Normed), **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        state = seeded(Normed).state_dict()
        given = dict(zip(state, message.content["arrays"].to_numpy_ndarrays(), strict=True))
        assert [array.shape for array in given.values()] == [tuple(tensor.shape) for tensor in state.values()]
        arrays = ArrayRecord({name: torch.from_numpy(array) for name, array in given.items()})
        return content(listed(trained(Normed(), arrays, lambda net: functional.cross_entropy(net(x), y))))

    with caplog.at_level("INFO", logger="clients.signing"):
        result = strategy.start(grid_of(train), listed(seeded(Normed)), num_rounds=2)
    assert list(result.arrays) == list(Normed().state_dict())
    assert paid(strategy) > 0
    said = [record.getMessage() for record in caplog.records if "have no names" in record.getMessage()]
    assert len(said) == 2  # the app's start, and the answers, which are six
    assert said[0].startswith(
        "the initial arrays have no names; they are taken in the model's order: norm.weight, norm.bias"
    )


def test_a_list_of_the_parameters_alone_says_what_travels(told, rows):
    # FedBN by lists: what is no parameter stays with each client.
    def listed(model):
        return ArrayRecord([parameter.detach().numpy() for parameter in model.parameters()])

    strategy = paying(strategy_of(), model=seeded(Normed), trainable=listed(seeded(Normed)), **told)
    assert strategy.game.layout.names == ("norm.weight", "norm.bias", "last.weight", "last.bias")

    def train(message, partition):
        x, y = part_of(rows, partition)
        model = trained(seeded(Normed), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(listed(model))

    strategy.start(grid_of(train), listed(seeded(Normed)), num_rounds=2)
    assert paid(strategy) > 0


@pytest.mark.parametrize("change", [lambda arrays: arrays[:-1], lambda arrays: arrays[::-1], lambda arrays: arrays * 2])
def test_a_list_of_arrays_that_is_not_the_models_is_refused_before_anybody_trains(told, change):
    strategy = paying(strategy_of(), model=linear(), **told)
    arrays = change([tensor.numpy() for tensor in linear().state_dict().values()])
    told_so = rf"a list of {len(arrays)}, which in number or shapes is not the model's, whose state has 2 arrays; start with ArrayRec"
    with pytest.raises(ConfigError, match=told_so):
        strategy.start(grid_of(lambda *_: pytest.fail("trained")), ArrayRecord(arrays))


class Words(nn.Module):
    """Reads and writes by one table, as language models do."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids):
        return self.out(self.words(ids))


def test_weights_with_two_names_are_sent_alike_under_both(told):
    ids = torch.arange(60) % 6
    told |= {"validation": (ids, (ids + 1) % 6)}
    strategy = paying(strategy_of(), model=seeded(Words), **told)
    sent = []

    def train(message, partition):
        arrays = message.content["arrays"]
        assert (arrays["words.weight"].numpy() == arrays["out.weight"].numpy()).all()
        sent.append(arrays["out.weight"].numpy())
        net = trained(Words(), arrays, lambda net: functional.cross_entropy(net(ids + 0), (ids + 1) % 6))
        return content(ArrayRecord(net.state_dict()))

    result = strategy.start(grid_of(train), ArrayRecord(seeded(Words).state_dict()), num_rounds=2)
    assert np.abs(sent[-1] - sent[0]).max() > 0.01  # the second round goes on from the first
    assert (result.arrays["words.weight"].numpy() == result.arrays["out.weight"].numpy()).all()
    assert paid(strategy) > 0


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
@pytest.mark.parametrize("trainable", ["adapters", "arrays"])
def test_adapters_by_the_names_that_peft_saves_them_by(told, rows, trainable):
    from peft import (  # noqa: PLC0415 - only where the extra is there
        LoraConfig,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )

    def build():
        base = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
        return get_peft_model(base, LoraConfig(r=2, target_modules=["0"], modules_to_save=["1"]))

    model = seeded(build)
    arrays = ArrayRecord(get_peft_model_state_dict(model))
    strategy = paying(strategy_of(), model=model, trainable=arrays if trainable == "arrays" else trainable, **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        net = build()
        found = set_peft_model_state_dict(net, message.content["arrays"].to_torch_state_dict())
        assert not found.unexpected_keys
        for name, array in get_peft_model_state_dict(net).items():
            assert np.array_equal(array.detach().numpy(), message.content["arrays"][name].numpy())
        net = trained(net, ArrayRecord(), lambda net: functional.cross_entropy(net(x), y))
        return content(ArrayRecord(get_peft_model_state_dict(net)))

    seen = []
    result = strategy.start(
        grid_of(train), arrays, num_rounds=2, evaluate_fn=lambda number, arrays: seen.append(list(arrays))
    )
    assert seen == [list(arrays)] * 3
    assert list(result.arrays) == list(arrays)
    assert paid(strategy) > 0


class Scaled(nn.Module):
    """One of its parameters is a single number, as a temperature is."""

    def __init__(self):
        super().__init__()
        self.last, self.scale = nn.Linear(3, 2), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.scale * self.last(x)


def test_a_parameter_that_is_a_single_number_keeps_its_shape_from_round_to_round(told, rows):
    strategy = paying(strategy_of(), model=seeded(Scaled), **told)

    def train(message, partition):
        x, y = part_of(rows, partition)
        assert message.content["arrays"]["scale"].numpy().shape == ()
        model = trained(Scaled(), message.content["arrays"], lambda net: functional.cross_entropy(net(x), y))
        return content(ArrayRecord(model.state_dict()))

    strategy.start(grid_of(train), ArrayRecord(seeded(Scaled).state_dict()), num_rounds=2)
    assert paid(strategy) > 0


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
        own = tuple(side[partition::CLIENTS] for side in triplets)
        net = trained(build(), message.content["arrays"], lambda net: apart(net, own).mean())
        return content(ArrayRecord(net.state_dict()))

    strategy.start(grid_of(train), ArrayRecord(model.state_dict()), num_rounds=2)
    assert paid(strategy) > 0


# ---- no torch --------------------------------------------------------------------------------------------------------


def coefficients(model):
    return ArrayRecord([model.coef_, model.intercept_])


def of_coefficients(arrays):
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - half a second

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
        ({"stakes": ["1"]}, "stakes has 1 amount for 3 clients; give one above 0"),
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


@pytest.mark.parametrize(
    ("nodes", "message"), [(2, "partition 2 will earn nothing"), (5, "partitions 3–4 cannot be paid")]
)
def test_a_simulation_of_fewer_or_more_nodes_than_clients_says_so(told, rows, caplog, nodes, message):
    strategy = paying(FedAvg(fraction_evaluate=0.0, min_available_nodes=2), model=linear(), **told)
    grid = grid_of(classify(rows))
    grid = LocalGrid(grid._app, {n + 2: {"partition-id": n, "num-partitions": nodes} for n in range(nodes)})
    strategy.start(grid, ArrayRecord(linear().state_dict()), num_rounds=1)
    assert f"the simulation has {nodes} nodes, and clients is 3: {message}; give both one number" in caplog.text


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
