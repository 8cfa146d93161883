"""Whole federations on digits, from data to claims: around each Flower strategy, and twice with one seed."""

import numpy as np
import pytest

from fl.bundle.format import Bundle, read_header
from fl.chain.accounts import PASSWORD_VARIABLE, create_keystore
from fl.chain.erc20 import Token
from fl.chain.errors import NoFunds
from fl.chain.escrow import Escrow
from fl.chain.sender import connect, transfer_ether
from fl.chain.typed_data import signer_of
from fl.codec import Blocks
from fl.coordinator.config import (
    AttackConfig,
    ChainConfig,
    EngineConfig,
    ModelConfig,
    RunConfig,
    ScorerConfig,
    StrategyConfig,
    TaskConfig,
)
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.errors import ConfigError
from fl.rewards import HIGHEST_PRICE, RoundTree
from fl.scoring.paid import TooFewToAggregate
from fl.scoring.scorer import TooManyClients
from fl.task.data import DataConfig, PartitionConfig

STRATEGIES = {
    "fedavg": {},
    "fedprox": {"proximal_mu": 0.1},
    "fedavgm": {"server_learning_rate": 1.0, "server_momentum": 0.5},
    "fedadam": {"eta": 0.03, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001},
    "fedyogi": {"eta": 0.03, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001},
    "fedadagrad": {"eta": 0.03, "tau": 0.001},
    "krum": {"num_malicious_nodes": 1},
    "multikrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
    "fedmedian": {},
    "fedtrimmedavg": {"beta": 0.3},
}
FREE_RIDER = 3


def tiny(**changes):
    """Two rounds of softmax regression on 300 digits, dealt to five clients, one of which does nothing."""
    settings = {
        "task": TaskConfig(rounds=2, steps=5, batch_size=16, evaluators=2, quorum=2),
        "model": ModelConfig(path="fl.task.models:LogisticRegression"),
        "data": DataConfig(limit=300),
        "partition": PartitionConfig(name="dirichlet", clients=5, alpha=1.0, min_samples=5),
        "chain": ChainConfig(id=31337),
        "attack": AttackConfig(behaviours=[f"{FREE_RIDER}:free_ride"]),
    }
    return RunConfig(**{**settings, **changes})


@pytest.fixture(scope="module", params=list(STRATEGIES))
def run(request, anvil, tmp_path_factory):
    """A whole run around one strategy, on the session's chain."""
    config = tiny(
        strategy=StrategyConfig(name=request.param, arguments=STRATEGIES[request.param]),
        chain=ChainConfig(id=31337, url=anvil),
    )
    folder = tmp_path_factory.mktemp(request.param)
    result = run_federation(config, folder=folder, watcher=Watcher())
    _, escrow, token = result_contracts(anvil, result)
    return config, folder, result, escrow, token


def result_contracts(url, result):
    """The contracts of a run."""
    w3 = connect(url)
    return w3, Escrow(w3, result.contract), Token(w3, result.token)


def test_the_contracts_total_is_the_sum_of_the_leaves(run):
    _, _, result, escrow, _ = run
    state = escrow.task(result.task_id)[1]
    assert state.posted == 2
    assert state.cumulative == sum(leaf.cumulative for leaf in result.rounds[-1].leaves)


def test_each_round_pays_by_one_price_what_the_schedule_allows(run):
    _, _, result, _, _ = run
    for number, report in enumerate(result.rounds, start=1):
        allowed = result.terms.budget * number // 2
        assert report.header.cumulative <= allowed
        assert report.header.price == HIGHEST_PRICE or report.header.cumulative > allowed - len(report.leaves)
    assert result.paid == result.rounds[-1].header.cumulative == sum(client.earned for client in result.clients)


def test_everybody_got_what_it_earned(run):
    _, _, result, escrow, _ = run
    for client in result.clients:
        assert client.claimed == client.earned == escrow.claimed(result.task_id, client.account)
        assert client.earned == sum(report.pays[client.account] for report in result.rounds)


def test_an_unchanged_model_scores_and_earns_exactly_nothing(run):
    _, _, result, _, _ = run
    idle = result.clients[FREE_RIDER]
    assert idle.behaviour == "free_ride"
    assert [report.scores[idle.account] for report in result.rounds] == [0, 0]
    assert (idle.score, idle.earned, idle.claimed) == (0, 0, 0)


def test_every_evaluator_agreed_with_each_round(run):
    _, _, result, escrow, _ = run
    evaluators = set(escrow.task(result.task_id)[0].evaluators)
    assert len(evaluators) == 2
    for report in result.rounds:
        header, signatures = read_header(report.bundle)
        assert {signer_of(header, domain=escrow.domain, signature=signature) for signature in signatures} == evaluators


def test_as_many_updates_weigh_as_the_strategy_takes(run):
    config, _, result, _, _ = run
    expected = {"krum": 1, "multikrum": 3}.get(config.strategy.name, 5)
    for report in result.rounds:
        updates = Bundle.read(report.bundle)[0].updates
        assert len(updates) == 5
        assert sum(update.weight > 0 for update in updates) == expected
        # Together one, unless a long update was clipped; half a unit each is rounding.
        assert sum(update.weight for update in updates) <= 2**32 + 5
        assert all(report.scores[update.account] == 0 for update in updates if not update.weight)


def test_every_stake_came_back(run):
    _, _, result, escrow, token = run
    assert all(escrow.client(result.task_id, client.account).stake == 0 for client in result.clients)
    assert all(escrow.credit(token.address, client.account) == 0 for client in result.clients)
    assert token.balance(escrow.address) == 0


def test_what_was_spent_is_told_by_operation(run):
    _, _, result, _, _ = run
    assert [len(result.gas[name]) for name in ("post", "join", "open", "close", "release_range")] == [2, 5, 1, 1, 1]


# ---- one run, told in detail -----------------------------------------------------------------------------------------


def outcome(result):
    """All that a seed has to fix."""
    return {
        "scores": [report.scores for report in result.rounds],
        "pays": [report.pays for report in result.rounds],
        "roots": [RoundTree(report.leaves).root for report in result.rounds],
        "headers": [report.header for report in result.rounds],
        "accuracy": [(test.loss, test.accuracy) for test in result.tests],
        "earned": [(client.account, client.earned) for client in result.clients],
    }


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The same configuration on two fresh chains, and a third with another seed."""
    runs = []
    for seed in (7, 7, 8):
        folder = tmp_path_factory.mktemp("seed")
        runs.append((folder, run_federation(tiny(seed=seed), folder=folder, watcher=Watcher())))
    return runs


def test_the_same_seed_pays_the_same_to_the_bit(twice):
    (_, first), (_, second), _ = twice
    assert outcome(first) == outcome(second)


def test_the_same_seed_writes_the_same_bundles(twice):
    (first, _), (second, _), _ = twice
    files = sorted(path.relative_to(first) for path in (first / "bundles").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in (second / "bundles").rglob("*") if path.is_file())
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_another_seed_pays_something_else(twice):
    (_, first), _, (_, other) = twice
    assert outcome(first)["scores"] != outcome(other)["scores"]
    assert outcome(first)["headers"] != outcome(other)["headers"]
    assert first.task_id != other.task_id


def test_training_lowers_the_loss(twice):
    _, result = twice[0]
    assert result.tests[-1].loss < result.initial.loss
    assert result.rounds[0].loss_after < result.rounds[0].loss_before


def test_a_watcher_is_told_of_each_step(anvil, tmp_path):
    told = {"setup": [], "phases": [], "replies": [], "rounds": []}
    watcher = Watcher(
        on_setup=told["setup"].append,
        on_phase=lambda number, phase: told["phases"].append((number, phase)),
        on_reply=told["replies"].append,
        on_round=lambda report, test: told["rounds"].append((report.round, test.accuracy)),
    )
    config = tiny(task=TaskConfig(rounds=1, steps=1), chain=ChainConfig(url=anvil))
    run_federation(config, folder=tmp_path, watcher=watcher)
    assert told["setup"][0] == "reading the data"
    assert told["setup"][-1] == "claiming for everybody"
    assert [phase for _, phase in told["phases"]] == [
        "training", "checking", "scoring", "aggregating", "public step", "settling", "bundling", "evaluating", "posting", "reporting",
    ]  # fmt: skip
    assert sorted(told["replies"]) == [2, 3, 4, 5, 6]
    assert [number for number, _ in told["rounds"]] == [1]


def test_a_federation_of_one_client_does_not_wait_for_a_second(anvil, tmp_path):
    config = tiny(
        task=TaskConfig(rounds=1, steps=5),
        partition=PartitionConfig(name="iid", clients=1),
        attack=AttackConfig(),
        chain=ChainConfig(url=anvil),
    )
    result = run_federation(config, folder=tmp_path, watcher=Watcher())
    assert [client.earned for client in result.clients] == [result.terms.budget]


def test_a_second_run_uses_the_contracts_of_the_first(anvil, tmp_path):
    short = TaskConfig(rounds=1, steps=1)
    first = run_federation(tiny(task=short, chain=ChainConfig(url=anvil)), folder=tmp_path / "one", watcher=Watcher())
    again = ChainConfig(deployment=str(tmp_path / "one" / "deployment.json"))
    second = run_federation(tiny(task=short, chain=again), folder=tmp_path / "two", watcher=Watcher())
    assert (first.contract, first.token) == (second.contract, second.token)
    assert first.task_id != second.task_id


def test_keystores_pay_and_are_paid_on_any_chain(anvil, chain, account, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    owner = create_keystore(tmp_path / "sponsor.json", password="secret")
    rpc = ChainConfig(name="rpc", url=anvil, key=str(tmp_path / "sponsor.json"))
    config = tiny(
        task=TaskConfig(rounds=1, steps=1),
        partition=PartitionConfig(name="iid", clients=2),
        attack=AttackConfig(),
        chain=rpc,
    )
    with pytest.raises(NoFunds) as caught:
        run_federation(config, folder=tmp_path / "poor", watcher=Watcher())
    assert caught.value.address == owner.address
    transfer_ether(connect(anvil), account=account(0), to=owner.address, amount=10**18)
    result = run_federation(config, folder=tmp_path / "run", watcher=Watcher())
    assert result.paid == sum(client.claimed for client in result.clients) > 0
    keys = sorted(path.name for path in (tmp_path / "run" / "keys").iterdir())
    assert keys == ["client-0.json", "client-1.json", "evaluator-0.json"]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert owner.key.hex().encode() not in everything
    assert owner.key not in everything
    assert b"secret" not in everything


def test_cheats_play_together_and_through_what_they_really_share(anvil, tmp_path):
    behaviours = ["0:split:2", "1:replay_step", "ring:2,3", "4:copy:0"]
    config = tiny(attack=AttackConfig(behaviours=behaviours), chain=ChainConfig(url=anvil))
    result = run_federation(config, folder=tmp_path, watcher=Watcher())
    half, other, replay, alone, next_to_it, copy = result.clients
    assert [client.name for client in result.clients] == [
        "client-0/1", "client-0/2", "client-1", "client-2", "client-3", "client-4",
    ]  # fmt: skip
    assert abs(half.samples - other.samples) <= 1
    first, second = ({leaf.account: leaf.update_root for leaf in report.leaves} for report in result.rounds)
    for roots in (first, second):
        assert roots[half.account] == roots[other.account] == roots[copy.account]
        assert roots[alone.account] == roots[next_to_it.account] != roots[half.account]
    assert result.rounds[0].scores[replay.account] == 0  # nothing was public yet
    before, after = (Bundle.read(report.bundle)[0].base for report in result.rounds)
    sent = {update.account: update for update in Bundle.read(result.rounds[1].bundle)[0].updates}[replay.account]
    step = after.astype(np.float64) - before
    half_a_quantum = np.abs(step).max() / 32767
    np.testing.assert_allclose(Blocks.from_bytes(sent.wire, size=len(before)).decode(), step, atol=half_a_quantum)
    assert replay.score < 0.01 * half.score


# ---- refusals before anything is escrowed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": EngineConfig(client_app="clients.app:none")}, "engine.client_app is 'clients.app:none'"),
        ({"engine": EngineConfig(client_app="clients.app:train")}, "name a ClientApp"),
        ({"attack": AttackConfig(behaviours=["5:free_ride"])}, "the data makes clients 0 to 4"),
        ({"strategy": StrategyConfig(name="median")}, "strategy.name is 'median'; choose one of fedavg, fedprox"),
        ({"strategy": StrategyConfig(arguments={"speed": 9})}, "strategy=fedavg cannot be built: "),
        (
            {"strategy": StrategyConfig(name="fedmedian"), "scorer": ScorerConfig(name="loo")},
            "is scored by those parts",
        ),
        ({"strategy": StrategyConfig(name="fedxgb")}, "strategy.name is 'fedxgb'; choose one of fedavg, fedprox"),
        ({"model": ModelConfig(path="fl.task.models:Nothing")}, "model.path is 'fl.task.models:Nothing'"),
        ({"model": ModelConfig(arguments={"width": 9})}, "fl.task.models:MLP cannot be built: "),
        ({"task": TaskConfig(loss="no.such:Loss")}, "task.loss is 'no.such:Loss'"),
    ],
    ids=[
        "app",
        "no app",
        "attack",
        "strategy",
        "strategy argument",
        "scorer",
        "xgboost",
        "model",
        "model argument",
        "loss",
    ],
)
def test_what_cannot_run_is_refused_before_a_chain_is_started(tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        run_federation(tiny(**changes), folder=tmp_path, watcher=Watcher())
    assert message in str(caught.value)
    assert not (tmp_path / "anvil.log").exists()


def test_a_rule_that_cannot_value_so_many_clients_is_refused_before_a_chain_is_started(tmp_path):
    crowd = PartitionConfig(name="iid", clients=17)
    with pytest.raises(
        TooManyClients, match="the round has N = 17 clients where 16 are the most; use scorer=direction"
    ):
        run_federation(tiny(partition=crowd, scorer=ScorerConfig(name="shapley")), folder=tmp_path, watcher=Watcher())
    bulyan = StrategyConfig(name="bulyan", arguments={"num_malicious_nodes": 1})
    with pytest.raises(
        TooFewToAggregate, match="strategy=bulyan skips rounds of fewer than 7 clients, and there are 5"
    ):
        run_federation(tiny(strategy=bulyan), folder=tmp_path, watcher=Watcher())
    assert not (tmp_path / "anvil.log").exists()


class Stopped(Exception):
    """Whoever watches has seen enough."""


def test_what_is_seldom_meant_is_told_before_the_chain_is_asked_for_anything(tmp_path, monkeypatch):
    (tmp_path / "twice_softmax.py").write_text(
        "from fl.task.models import LogisticRegression\n"
        "class Twice(LogisticRegression):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).softmax(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    told = []

    def on_setup(what):
        if what == "opening the chain":
            raise Stopped

    watcher = Watcher(on_setup=on_setup, on_doubt=told.append)
    with pytest.raises(Stopped):
        run_federation(tiny(model=ModelConfig(path="twice_softmax:Twice")), folder=tmp_path, watcher=watcher)
    assert told == [
        "the model's outputs are probabilities already (they sum to 1), and the loss takes a softmax of them: no row's loss comes "
        "below 1.46; leave out the softmax at the end of forward"
    ]
