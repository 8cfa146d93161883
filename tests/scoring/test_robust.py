from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedMedian, FedTrimmedAvg
from scoring.rounds import rng, small_round

from fl.errors import ConfigError
from fl.scoring.direction import direction
from fl.scoring.inputs import RoundInputs, UnscorableUpdate
from fl.scoring.rules.robust import rank_shares, robust_model, robust_step
from fl.scoring.scorer import build_scorer


def replies_of(inputs):
    """The round's updates as Flower's replies: models in float32."""
    replies = []
    for number, update in enumerate(inputs.updates):
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(inputs.base + update.astype(np.float32))}),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        replies.append(Message(content, reply_to=Message(RecordDict(), number + 2, "train")))
    return replies


def flowers_step(strategy, inputs):
    """What Flower's own rule makes of the round's updates, less the base."""
    arrays, _ = strategy.aggregate_train(1, replies_of(inputs))
    return arrays["w"].numpy() - inputs.base


CASES = [
    ("median", {}, FedMedian(), 5), ("median", {}, FedMedian(), 6), ("trimmed_mean", {}, FedTrimmedAvg(), 6),
    ("trimmed_mean", {"beta": 0.34}, FedTrimmedAvg(beta=0.34), 7), ("trimmed_mean", {"beta": 0}, FedTrimmedAvg(beta=0.0), 3),
    ("bulyan", {"malicious": 1}, Bulyan(num_malicious_nodes=1), 9), ("bulyan", {}, Bulyan(), 4),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "strategy", "clients"), CASES)
def test_the_scores_sum_to_flowers_step_times_its_direction(name, settings, strategy, clients):
    inputs = small_round(clients=clients)
    inputs.updates[-1] *= -20  # somebody for the rule to leave out
    step = flowers_step(strategy, inputs)
    found = build_scorer(name, settings).score(inputs, rng=rng())
    expected = direction(inputs.game, base=inputs.base, step=step) @ step
    assert found.values.sum() == pytest.approx(expected, rel=1e-5)
    assert found.diagnostics["standing"] == "attested, not provable on chain"


def test_of_three_the_middle_one_has_the_coordinate():
    rows = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, -1.0]])
    np.testing.assert_array_equal(rank_shares(rows, np.array([0, 1.0, 0])), [[0, 0], [1, 1], [0, 0]])


def test_equal_values_share_what_their_ranks_have():
    rows = np.array([[1.0], [2.0], [2.0], [2.0], [9.0]])
    np.testing.assert_allclose(rank_shares(rows, np.array([0, 0, 1.0, 0, 0])).ravel(), [0, 1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "bulyan"])
def test_equal_updates_score_the_same_under_any_rule(name):
    inputs = small_round(clients=5)
    same = RoundInputs(game=inputs.game, base=inputs.base, updates=[inputs.updates[0]] * 5, weights=inputs.weights)
    values = build_scorer(name).score(same, rng=rng()).values
    np.testing.assert_allclose(values, values[0])


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "bulyan"])
def test_nobody_scores_nothing_and_nan_is_refused(name):
    assert build_scorer(name).score(small_round(clients=0), rng=rng()).values.shape == (0,)
    inputs = small_round(clients=3)
    inputs.updates[2][0] = np.nan
    with pytest.raises(UnscorableUpdate) as caught:
        build_scorer(name).score(inputs, rng=rng())
    assert caught.value.client == 2


def test_an_attacker_who_is_trimmed_everywhere_scores_zero():
    inputs = small_round(clients=6)
    inputs.updates[3][:] = 1e3
    assert build_scorer("trimmed_mean").score(inputs, rng=rng()).values[3] == 0


def test_settings_that_make_no_rule_are_refused():
    with pytest.raises(ConfigError, match=r"beta is 0\.5; set 0 to below 0\.5"):
        build_scorer("trimmed_mean", {"beta": 0.5})
    with pytest.raises(ConfigError, match="malicious is -1; set 0 or more"):
        build_scorer("bulyan", {"malicious": -1})


def test_bulyan_skips_a_round_of_too_few_as_flower_does():
    inputs = small_round(clients=6)
    replies = replies_of(inputs)
    assert Bulyan(num_malicious_nodes=1).aggregate_train(1, replies) == (None, None)
    rule = build_scorer("bulyan", {"malicious": 1})
    np.testing.assert_array_equal(rule.score(inputs, rng=rng()).values, np.zeros(6))
    np.testing.assert_array_equal(robust_model(rule, inputs), inputs.base)
    assert not robust_step(rule, inputs).any()


@pytest.mark.parametrize(("name", "settings", "strategy", "clients"), CASES)
def test_the_model_is_flowers_to_the_bit(name, settings, strategy, clients):
    inputs = small_round(clients=clients)
    inputs.updates[-1] *= -20
    arrays, _ = strategy.aggregate_train(1, replies_of(inputs))
    found = robust_model(build_scorer(name, settings), inputs)
    np.testing.assert_array_equal(found, arrays["w"].numpy().astype(np.float32))


def test_a_direction_that_is_known_is_not_computed_anew():
    inputs = small_round(clients=5)
    rule = build_scorer("median")
    known = direction(inputs.game, base=inputs.base, step=robust_step(rule, inputs))
    told = rule.score(replace(inputs, direction=known), rng=rng())
    np.testing.assert_array_equal(told.values, rule.score(inputs, rng=rng()).values)
    assert told.diagnostics["gradients"] == 0


def test_the_norm_cap_holds_before_the_rule_looks():
    inputs = small_round(clients=3)
    clips = np.array([1.0, 0.5, 1.0])
    halved = [clip * update for clip, update in zip(clips, inputs.updates, strict=True)]
    rule = build_scorer("median")
    np.testing.assert_allclose(
        rule.score(replace(inputs, clips=clips), rng=rng()).values,
        rule.score(replace(inputs, updates=halved), rng=rng()).values,
    )
