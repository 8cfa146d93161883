import numpy as np
import pytest
from scoring.rounds import rng, small_round

from fl.scoring.analysis.compare import RuleResult, agreement, reference_of, run_rule
from fl.scoring.analysis.uncertainty import read_scores
from fl.scoring.scorer import build_scorer
from fl.scoring.scores import Scores


def result(rule, values):
    return RuleResult(rule=rule, scores=Scores(values=np.array(values)), seconds=0.0)


def test_rules_are_held_against_exact_shapley_or_the_first():
    loo, of_accuracy, of_loss = result("loo", [1.0]), result("shapley accuracy", [1.0]), result("shapley", [1.0])
    assert reference_of([loo, of_loss, of_accuracy]) is of_loss
    assert reference_of([loo, of_accuracy]) is of_accuracy
    assert reference_of([loo]) is loo


def test_scores_in_other_units_are_scaled_to_the_same_sum():
    found = agreement(result("cosine", [2.0, 4.0]), result("shapley", [1.0, 2.0]))
    assert found.distance == pytest.approx(0)
    assert found.rank == pytest.approx(1)
    assert agreement(result("cosine", [-2.0, -4.0]), result("shapley", [1.0, 2.0])).rank == pytest.approx(-1)


def test_every_rule_is_run_and_counted():
    inputs = small_round(clients=3)
    found = [run_rule(name, build_scorer(name), inputs, rng=rng()) for name in ("direction", "shapley", "loo")]
    assert [(row.rule, row.evaluations, row.gradients) for row in found] == [
        ("direction", 0, 3), ("shapley", 8, 0), ("loo", 4, 0),
    ]  # fmt: skip


def test_a_reading_names_accounts_and_classes():
    inputs = small_round(clients=3)
    found = read_scores(inputs, accounts=["a", "b", "c"], class_names=["cat", "dog"])
    assert set(found.errors) == {"a", "b", "c"}
    assert found.classes == ("cat", "dog", "2")
    scores = build_scorer("direction").score(inputs, rng=np.random.default_rng(0)).values
    np.testing.assert_allclose([sum(found.by_class[account]) for account in "abc"], scores, atol=1e-6)
    for first, second in found.untold:
        assert first < second
