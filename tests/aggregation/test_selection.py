import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
)

from fl.aggregation.selection import UnscorableStrategy, check_scorable, content_for, selected_by
from fl.codec import Blocks, Layout
from fl.rewards import Participant, cap_q64

LAYOUT = Layout(names=("w",), shapes=((8,),))
BASE = np.linspace(-1, 1, 8).astype(np.float32)


def participant_of(update, *, stake=10**18):
    """A participant with this update."""
    blocks = Blocks.encode(np.asarray(update, dtype=np.float64))
    return Participant(account="0x" + "11" * 20, stake=stake, blocks=blocks, root=bytes(32))


def contents_of(updates, *, stakes=None, cap="1000"):
    """The replies that these updates stand for."""
    stakes = stakes or [10**18] * len(updates)
    return [
        content_for(participant_of(update, stake=stake), base=BASE, layout=LAYOUT, cap=cap_q64(cap), metrics={})
        for update, stake in zip(updates, stakes, strict=True)
    ]


def aggregate(strategy, contents):
    """What Flower's strategy makes of them."""
    replies = [
        Message(content, reply_to=Message(RecordDict(), number + 2, "train")) for number, content in enumerate(contents)
    ]
    arrays, _ = strategy.aggregate_train(1, replies)
    return arrays["w"].numpy()


@pytest.fixture
def crowd():
    """Six updates near each other and two far away."""
    rng = np.random.default_rng(4)
    near = [np.ones(8) + 0.1 * rng.normal(size=8) for _ in range(6)]
    return [near[0], 9 + rng.normal(size=8), *near[1:], -9 + rng.normal(size=8)]


@pytest.mark.parametrize(
    "strategy",
    [
        Krum(num_malicious_nodes=2),
        MultiKrum(num_malicious_nodes=2, num_nodes_to_select=1),
        MultiKrum(num_malicious_nodes=2, num_nodes_to_select=3),
        MultiKrum(num_malicious_nodes=0, num_nodes_to_select=8),
        FedAvg(),
    ],
    ids=["krum", "multikrum-1", "multikrum-3", "multikrum-all", "fedavg"],
)
def test_the_flags_are_what_flower_takes(strategy, crowd):
    contents = contents_of(crowd)
    flags = selected_by(strategy, contents)
    taken = [content["arrays"]["w"].numpy() for content, flag in zip(contents, flags, strict=True) if flag]
    np.testing.assert_allclose(aggregate(strategy, contents), np.mean(taken, axis=0), atol=1e-6)
    assert sum(flags) == {Krum: 1, MultiKrum: getattr(strategy, "num_nodes_to_select", 0), FedAvg: 8}[type(strategy)]


def test_krum_leaves_the_far_ones_out(crowd):
    flags = selected_by(MultiKrum(num_malicious_nodes=2, num_nodes_to_select=6), contents_of(crowd))
    assert flags == [True, False, True, True, True, True, True, False]


def test_of_equal_updates_as_many_are_taken_as_were_asked_for():
    flags = selected_by(MultiKrum(num_malicious_nodes=0, num_nodes_to_select=2), contents_of([np.ones(8)] * 4))
    assert sum(flags) == 2


def test_nothing_is_selected_of_nothing():
    assert selected_by(Krum(), []) == []


@pytest.mark.parametrize(
    "cls",
    [FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad, Krum, MultiKrum, FedMedian, FedTrimmedAvg, Bulyan],
)
def test_a_weighted_mean_and_flowers_own_robust_rules_are_scorable(cls):
    check_scorable(cls(proximal_mu=0.1) if cls is FedProx else cls())


class OwnMedian(FedMedian):
    """A median that may be another one."""


def own_bulyan():
    """Bulyan with a selection of its own."""
    return Bulyan(selection_rule=lambda contents, malicious, count: contents[:count])


@pytest.mark.parametrize(
    "strategy",
    [*(cls.__new__(cls) for cls in (FedXgbBagging, FedXgbCyclic, QFedAvg)), OwnMedian(), own_bulyan()],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_rule_that_no_score_follows_is_refused_by_name(strategy):
    with pytest.raises(UnscorableStrategy) as caught:
        check_scorable(strategy)
    name = type(strategy).__name__
    assert caught.value.strategy == name
    assert str(caught.value) == (
        f"{name} aggregates in a way that its rounds have no score for; use FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, "
        "FedAdagrad, Krum or MultiKrum, or Flower's own FedMedian, FedTrimmedAvg or Bulyan"
    )


def test_bulyan_selects_with_multikrum_before_it_picks():
    rng = np.random.default_rng(0)
    updates = [rng.normal(size=8) * 0.1 for _ in range(6)] + [np.full(8, 9.0)]
    flags = selected_by(Bulyan(num_malicious_nodes=1), contents_of(updates))
    assert sum(flags) == 5
    assert not flags[6]


def test_bulyan_leaves_nobody_out_of_a_round_that_it_skips():
    assert selected_by(Bulyan(num_malicious_nodes=1), contents_of([np.ones(8)] * 6)) == [True] * 6


def test_an_update_becomes_the_model_that_it_leads_to():
    (content,) = contents_of([np.arange(8.0)])
    np.testing.assert_array_equal(content["arrays"]["w"].numpy(), BASE + np.arange(8, dtype=np.float32))


def test_an_update_beyond_the_cap_is_scaled_down_to_it():
    (content,) = contents_of([np.full(8, 3.0)], cap="2.5")
    moved = content["arrays"]["w"].numpy() - BASE
    assert np.linalg.norm(moved) == pytest.approx(2.5, rel=1e-5)
    np.testing.assert_allclose(moved, moved[0], rtol=1e-5)


def test_stakes_are_the_weights_of_flowers_mean():
    updates, stakes = [np.ones(8), np.zeros(8)], [3 * 10**18, 10**18]
    np.testing.assert_allclose(aggregate(FedAvg(), contents_of(updates, stakes=stakes)), BASE + 0.75, atol=1e-6)


def test_a_stake_of_one_wei_is_a_weight():
    updates, stakes = [np.ones(8), np.zeros(8)], [1, 1]
    np.testing.assert_allclose(aggregate(FedAvg(), contents_of(updates, stakes=stakes)), BASE + 0.5, atol=1e-6)


def test_the_key_that_weights_is_the_strategys():
    content = content_for(
        participant_of(np.ones(8), stake=2 * 10**18), base=BASE, layout=LAYOUT, cap=cap_q64("10"), metrics={"loss": 1.5},
        weighted_by="rows",
    )  # fmt: skip
    assert dict(content["metrics"]) == {"loss": 1.5, "rows": 2.0}
