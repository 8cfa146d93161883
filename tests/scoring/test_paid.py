import math
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg
from scoring.rounds import RULES, SAMPLED

from fl.aggregation.selection import UnscorableStrategy
from fl.codec import Blocks, block_root
from fl.errors import ConfigError
from fl.rewards import Participant, cap_q64, quantised, score, weigh
from fl.scoring import scorer as registry
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring, TooFewToAggregate, UnusableScore, paid_rule, score_distance
from fl.scoring.scorer import TooManyClients, build_scorer
from fl.scoring.scores import Scores
from fl.task.model_vector import vector_of

TASK = bytes(31) + b"\x07"
BASE_SEED = 3


class Round:
    """Clients of unlike stake with unlike updates, on the model of eight weights."""

    def __init__(self, spec, rows, *, clients=4):
        self.spec = spec
        model = spec.build_model()
        self.game = ValidationGame(model, loss=spec.build_loss(), features=rows.features, labels=rows.labels)
        self.base = vector_of(model)
        rng, slope = np.random.default_rng(BASE_SEED), self.game.gradient(self.base)
        vectors = [-(number + 1) * 0.3 * slope + 0.1 * rng.normal(size=8) for number in range(clients)]
        blocks = [Blocks.encode(vector.astype(np.float32)) for vector in vectors]
        self.participants = [
            Participant(account=f"0x{number:040x}", stake=number + 1, blocks=update, root=block_root(update.to_bytes()))
            for number, update in enumerate(blocks)
        ]
        self.weights = weigh(self.participants, cap=cap_q64(spec.norm_cap))
        self.scoring = PaidScoring(spec, game=self.game)
        step = self.scoring.step(self.participants, base=self.base, weights=self.weights)
        self.direction = Blocks.encode(self.scoring.direction(base=self.base, step=step))

    def scores(self, *, task_id=TASK, round_number=1, scoring=None):
        """As they are paid, and what the rule says beside."""
        return (scoring or self.scoring).scores(
            self.participants, base=self.base, weights=self.weights, direction=self.direction, task_id=task_id,
            round_number=round_number,
        )  # fmt: skip


@pytest.fixture
def played(spec, rows):
    """Builds a round whose spec says so."""
    return lambda *, clients=4, **changes: Round(spec(**changes), rows, clients=clients)


ATTESTED = {name: {"evaluations": 8} if name in SAMPLED else {} for name in RULES if name != "direction"}


def test_the_directions_scores_are_the_integers_that_the_chain_can_check(played):
    round_ = played()
    found, beside = round_.scores()
    assert beside is None
    assert not round_.spec.attested
    assert found == {
        each.account: score(each.blocks, round_.direction, weight=round_.weights[each.account])
        for each in round_.participants
    }


@pytest.mark.parametrize("name", ATTESTED)
def test_an_attested_score_is_the_rules_own_rounded_once(played, name):
    round_ = played(scorer=name, scorer_arguments=ATTESTED[name])
    found, beside = round_.scores()
    assert round_.spec.attested
    assert list(found.values()) == [quantised(value) for value in beside.values]
    assert any(found.values())


@pytest.mark.parametrize("name", ATTESTED)
def test_whoever_recomputes_a_round_draws_the_same(played, spec, rows, name):
    round_ = played(scorer=name, scorer_arguments=ATTESTED[name])
    evaluator = PaidScoring(round_.spec, game=Round(round_.spec, rows).game)
    assert round_.scores()[0] == round_.scores(scoring=evaluator)[0]


@pytest.mark.parametrize("change", [{"round_number": 2}, {"task_id": bytes(32)}], ids=str)
def test_another_round_or_task_draws_anew(played, change):
    round_ = played(clients=6, scorer="permutation", scorer_arguments={"evaluations": 8})
    assert round_.scores()[0] != round_.scores(**change)[0]


ROBUST = {
    "fedmedian": ({}, "median", {}, 4),
    "fedtrimmedavg": ({"beta": 0.3}, "trimmed_mean", {"beta": 0.3}, 4),
    "bulyan": ({"num_malicious_nodes": 1}, "bulyan", {"malicious": 1}, 8),
}


@pytest.mark.parametrize("strategy", ROBUST)
def test_a_robust_strategys_parts_sum_to_what_its_step_took_off_the_loss(played, strategy):
    arguments, scorer, settings, clients = ROBUST[strategy]
    rule = {"scorer": scorer, "scorer_arguments": settings}
    round_ = played(strategy=strategy, strategy_arguments=arguments, clients=clients, **rule)
    step = round_.scoring.step(round_.participants, base=round_.base, weights=round_.weights)
    after = round_.game.evaluate((round_.base + step).astype(np.float32)).loss
    found, _ = round_.scores()
    total = sum(found.values()) / 2**40
    assert total == pytest.approx(round_.game.evaluate(round_.base).loss - after, rel=1e-3)
    model = round_.scoring.picked_model(round_.participants, base=round_.base, weights=round_.weights)
    np.testing.assert_allclose(model, round_.base + step, atol=1e-6)


def test_a_weighted_mean_has_no_picked_model(played):
    round_ = played()
    assert round_.scoring.picked_model(round_.participants, base=round_.base, weights=round_.weights) is None


# ---- what fits what --------------------------------------------------------------------------------------------------


def ruled(strategy="fedavg", scorer="direction", *, strategy_arguments=None, scorer_arguments=None):
    """The rule of a configuration."""
    return paid_rule(
        strategy=strategy,
        strategy_arguments=strategy_arguments or {},
        scorer=scorer,
        scorer_arguments=scorer_arguments or {},
    )


def test_a_robust_strategy_brings_its_rule_and_settings():
    assert ruled("fedmedian") == ("median", {})
    assert ruled("fedtrimmedavg", strategy_arguments={"beta": 0.1, "fraction_train": 1.0}) == (
        "trimmed_mean",
        {"beta": 0.1},
    )
    assert ruled("bulyan", strategy_arguments={"num_malicious_nodes": 2}) == ("bulyan", {"malicious": 2})
    assert ruled("fedmedian", "median") == ("median", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"strategy": "fedmedian", "scorer": "shapley"},
            "strategy=fedmedian picks each coordinate from another client and is scored by those parts, not by "
            "scorer=shapley; leave scorer and its arguments out",
        ),
        (
            {"strategy": "fedtrimmedavg", "scorer": "trimmed_mean", "scorer_arguments": {"beta": 0.4}},
            "strategy=fedtrimmedavg picks each coordinate from another client and is scored by those parts, not by "
            "scorer=trimmed_mean; leave scorer and its arguments out",
        ),
        (
            {"scorer": "median"},
            "scorer=median scores what strategy=fedmedian took from each client, and the strategy is fedavg; set "
            "strategy=fedmedian, or another scorer",
        ),
        (
            {"scorer_arguments": {"nodes": 5}},
            "scorer=direction has no arguments in a task; set scorer.nodes and scorer.tolerance",
        ),
        (
            {"scorer": "loo", "scorer_arguments": {"speed": 3}},
            "scorer=loo has no setting speed; its settings: game, utility, workers",
        ),
    ],
    ids=str,
)
def test_a_rule_that_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ConfigError) as caught:
        ruled(**arguments)
    assert str(caught.value) == message


def test_an_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="scorer=shaply is unknown, the nearest is shapley; there are "):
        ruled(scorer="shaply")


def test_a_spec_that_states_another_rule_than_its_strategys_is_refused(played):
    with pytest.raises(ConfigError) as caught:
        played(strategy="fedmedian")
    assert str(caught.value) == (
        "the task's spec says scorer=direction with {}, and strategy=fedmedian is scored by median with {}; open the task "
        "with that"
    )


def test_a_rule_that_counts_heads_shares_no_weights(played):
    with pytest.raises(ConfigError, match="strategy=fedmedian counts clients and not stakes"):
        played(strategy="fedmedian", scorer="median", duplicate_cosine="0.98")


def test_the_strategy_has_to_be_the_one_that_is_scored(played):
    robust = played(strategy="fedtrimmedavg", scorer="trimmed_mean").scoring
    robust.check_strategy(FedTrimmedAvg(beta=0.2))
    with pytest.raises(ConfigError) as caught:
        robust.check_strategy(FedTrimmedAvg(beta=0.4))
    assert str(caught.value) == (
        "the strategy is fedtrimmedavg with {'beta': 0.4}, and the task's spec says fedtrimmedavg with {'beta': 0.2}; build "
        "the strategy that the task was opened with"
    )
    with pytest.raises(ConfigError, match="the strategy is fedavg with {}, and the task's spec says fedtrimmedavg"):
        robust.check_strategy(FedAvg())
    mean = played().scoring
    mean.check_strategy(FedAvg())
    with pytest.raises(ConfigError, match="the strategy is fedmedian with {}, and the task's spec says fedavg with {}"):
        mean.check_strategy(FedMedian())
    with pytest.raises(UnscorableStrategy):
        mean.check_strategy(Bulyan(selection_rule=print))


def test_more_clients_than_a_rule_can_value_are_refused_before_anything_is_paid(played):
    exact = played(scorer="shapley").scoring
    exact.check_clients(16)
    assert exact.most_clients == 16
    with pytest.raises(TooManyClients) as caught:
        exact.check_clients(17)
    assert "use scorer=direction" in str(caught.value)
    assert "scorer=leverage, scorer=permutation, scorer=gtg" in str(caught.value)
    assert played(scorer="leverage").scoring.most_clients is None


def test_fewer_clients_than_bulyan_needs_are_refused(played):
    settings = {"strategy_arguments": {"num_malicious_nodes": 1}, "scorer_arguments": {"malicious": 1}}
    scoring = played(strategy="bulyan", scorer="bulyan", **settings).scoring
    scoring.check_clients(7)
    with pytest.raises(TooFewToAggregate) as caught:
        scoring.check_clients(6)
    assert str(caught.value) == (
        "strategy=bulyan skips rounds of fewer than 7 clients, and there are 6; add clients, or lower "
        "strategy.arguments.num_malicious_nodes"
    )


# ---- scores that are no scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**41])
def test_a_score_that_is_no_sum_of_money_is_refused(value):
    with pytest.raises(ValueError, match="the score is .*; it has to be a number of at most 2"):
        quantised(value)


def test_a_score_is_rounded_to_the_nearest_unit():
    assert [quantised(value * 2.0**-40) for value in (0.4, 0.6, -0.4, -0.6, 3.0)] == [0, 1, 0, -1, 3]


@dataclass(frozen=True)
class Broken:
    """A rule of another package, at odds with arithmetic."""

    def score(self, inputs, *, rng):
        """The second client's score is no number."""
        values = np.ones(len(inputs))
        values[1] = np.nan
        return Scores(values=values)


@dataclass(frozen=True)
class Alike:
    """A rule of another package that pays everybody alike."""

    amount: float = 0.5

    def score(self, inputs, *, rng):
        """The same for all."""
        return Scores(values=np.full(len(inputs), self.amount))


@pytest.fixture
def other_package(monkeypatch):
    """Installs rules by entry point."""
    points = [
        EntryPoint(name=name, value=f"{__name__}:{cls}", group=registry.ENTRY_POINTS)
        for name, cls in (("broken", "Broken"), ("alike", "Alike"))
    ]
    registry.known_scorers.cache_clear()
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points if group == registry.ENTRY_POINTS else [])
    yield
    registry.known_scorers.cache_clear()


@pytest.mark.usefixtures("other_package")
def test_a_rule_of_another_package_pays_too(played):
    found, _ = played(scorer="alike", scorer_arguments={"amount": 0.25}).scores()
    assert set(found.values()) == {2**38}
    assert build_scorer("alike").amount == 0.5


@pytest.mark.usefixtures("other_package")
def test_a_score_that_is_no_number_is_refused_with_its_account(played):
    with pytest.raises(UnusableScore) as caught:
        played(scorer="broken").scores()
    assert str(caught.value) == (
        f"scorer=broken gives 0x{1:040x} a score of nan, and only finite numbers are paid; look at the losses of the round's "
        "coalitions, and lower the learning rate or the norm cap"
    )


# ---- how far apart ---------------------------------------------------------------------------------------------------


def test_the_distance_of_scores_is_relative_to_their_length():
    own = {"a": 3 << 40, "b": 4 << 40}
    assert score_distance(own, own) == 0
    assert score_distance({"a": 3 << 40, "b": 5 << 40}, own) == pytest.approx(0.2)
    assert score_distance({**own, "c": 9 << 40}, own) == 0  # who is not in the round is compared elsewhere


def test_the_distance_of_tiny_scores_is_relative_to_a_thousandth():
    assert score_distance({"a": 2}, {"a": 1}) == pytest.approx(2.0**-40 / 1e-3)
    assert score_distance({}, {}) == 0


def test_the_spec_binds_the_rule_and_its_settings(spec):
    task_spec = spec(scorer="leverage", scorer_arguments={"evaluations": 64})
    assert task_spec.hash() != spec().hash()
    assert task_spec.hash() != replace(task_spec, scorer_arguments={"evaluations": 65}).hash()


def test_an_auditor_without_the_validation_set_has_no_loss(spec):
    with pytest.raises(
        ValueError, match="the validation set is not here, and this needs its loss; give it with the game"
    ):
        _ = PaidScoring(spec(), game=None).validation
