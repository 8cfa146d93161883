"""The benches of attacks and of retraining count as the protocol does."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clients.trainer import train
from fl.coordinator.config import AttackConfig
from fl.task.behaviour import read_behaviour
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec

# Only while they are imported: the folder has a `scoring` too.
sys.path.insert(0, BENCHES := str(Path(__file__).parents[1] / "scripts" / "benches"))
import attacks
import played_task
from together import train_together

sys.path.remove(BENCHES)


@pytest.fixture(scope="module")
def federation():
    """Four clients on few digits."""
    return load_federation(DataConfig(limit=200), PartitionConfig(name="iid", clients=4), seed=0)


@pytest.fixture(scope="module")
def spec():
    """A small net, few steps."""
    return TaskSpec(
        model="fl.task.models:MLP", model_arguments={"hidden": [8]}, feature_shape=(1, 8, 8), num_classes=10, steps=4, batch_size=8
    )  # fmt: skip


def test_clients_that_train_together_train_what_each_trains_alone(federation, spec):
    data = [shard.data for shard in federation.shards]
    model = spec.build_model()
    base = vector_of(model)
    together = train_together(model, base, data=data, spec=spec, seeds=range(4))
    for rows, seed, found in zip(data, range(4), together, strict=True):
        alone, _ = train(model, base, features=rows.features, labels=rows.labels, spec=spec, seed=seed)
        np.testing.assert_allclose(found, alone, atol=1e-6)
        assert np.abs(found - base).max() > 1e-3


def test_a_task_in_memory_pays_its_budget_and_a_split_what_the_whole_is_paid(federation, spec):
    whole = played_task.play_task(federation, spec, rounds=2)
    split = played_task.play_task(federation, spec, rounds=2, behaviours={1: "split:4"})
    assert whole.pay().sum() == pytest.approx(1.0)
    own = [wallet.shard == 1 for wallet in split.wallets]
    assert sum(own) == 4
    assert split.pay()[own].sum() == pytest.approx(whole.pay()[1], rel=1e-3)


def test_equal_pots_earn_back_what_was_lost_first():
    scores = [np.array([1.0, -2.0]), np.array([1.0, 1.0]), np.array([1.0, 2.0])]
    # The second client owes 1 after the second round, and of the third pot it is due what is left of 2.
    np.testing.assert_allclose(played_task.equal_pots_pay(scores), [1 / 3 + 1 / 3 + 1 / 6, 1 / 6])


def test_absent_clients_leave_their_weight_empty_where_it_is_held(federation, spec):
    moved = []
    for held in (True, False):
        rounds = []
        played_task.play_task(federation, spec, rounds=1, present=[2], held=held, on_round=rounds.append)
        moved.append(rounds[0].weights.sum())
    own = len(federation.shards[2].data) / sum(len(shard.data) for shard in federation.shards)
    assert moved == pytest.approx([own, 1.0], rel=1e-6)


@pytest.mark.parametrize("attack", attacks.ATTACKS)
def test_every_attack_of_the_matrix_can_be_played(attack, monkeypatch):
    monkeypatch.setattr(attacks, "order_of", lambda name, seed: tuple(range(9)))
    monkeypatch.setitem(attacks.FIELDS, "here", next(iter(attacks.fields_of(VALUES).values())))
    told = attacks.behaviours_of(attack, "here", 0)
    assert told
    assert all(read_behaviour(text).text == text for text in told.values())
    rings = {text for text in told.values() if read_behaviour(text).members}
    AttackConfig(behaviours=[*rings, *(f"{number}:{text}" for number, text in told.items() if text not in rings)])


VALUES = {
    "data.path": "nowhere",
    "hospitals": "nowhere",
    "seeds": "1",
    "mnist.seeds": "1",
    "mnist.attacks": "adam",
    "only": "digits",
}


def test_a_ratio_is_pay_per_stake_over_that_of_the_others():
    outcome = {"scores": [[3.0, 1.0, 2.0]], "shards": [0, 1, 1], "stakes": [1, 1, 2]}
    assert attacks.against_honest(outcome, [0], one_price=True) == pytest.approx(3.0)
    assert attacks.against_honest(outcome, [1], one_price=False) == pytest.approx(1 / 3)


def test_the_size_error_is_in_points_of_the_budget():
    outcome = {"scores": [[0.5, 0.5]], "shards": [0, 1], "stakes": [1, 3]}
    assert attacks.size_error(outcome) == pytest.approx(25.0)
