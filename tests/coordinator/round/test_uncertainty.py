"""What a paid round says of its own scores, and near-duplicates that share one weight, on real runs."""

import pytest

from fl.bundle.format import Bundle
from fl.coordinator.config import ChainConfig, ModelConfig, RunConfig, ScorerConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.errors import ConfigError
from fl.report.summary import summarise
from fl.rewards import SCORE_FRACTION_BITS, WEIGHT_ONE
from fl.task.data import DataConfig, PartitionConfig


def play(anvil, folder, **scorer):
    config = RunConfig(
        task=TaskConfig(rounds=1, steps=5, batch_size=16, length="capped"),
        model=ModelConfig(path="fl.task.models:LogisticRegression"),
        data=DataConfig(limit=300),
        partition=PartitionConfig(name="sizes", clients=3, sizes=[1, 2, 3]),
        scorer=ScorerConfig(**scorer),
        chain=ChainConfig(id=31337, url=anvil),
    )
    result = run_federation(config, folder=folder, watcher=Watcher())
    return result, summarise(config, result, folder=folder)


def test_a_round_tells_how_sure_it_is_and_what_it_paid_for(anvil, tmp_path):
    result, summary = play(anvil, tmp_path)
    (report,) = result.rounds
    assert set(report.reading.errors) == set(report.scores)
    assert len(report.reading.classes) == 10
    for account, parts in report.reading.by_class.items():
        # The parts are floats, the score went through the blocks.
        assert sum(parts) == pytest.approx(report.scores[account] / 2**SCORE_FRACTION_BITS, rel=1e-3)
    (shown,) = summary["rounds"]
    assert shown["reading"]["errors"] == report.reading.errors
    assert shown["duplicates"] == []


def test_near_duplicates_share_one_weight_and_the_evaluator_agrees(anvil, tmp_path):
    # A threshold that all honest clients reach: the largest stake is what the three weigh together.
    result, summary = play(anvil, tmp_path, duplicate_cosine="0.01", read_clients=0)
    (report,) = result.rounds
    assert sorted(*report.duplicates) == sorted(report.scores)
    assert report.reading is None
    assert summary["rounds"][0]["reading"] is None
    bundle, _ = Bundle.read(report.bundle)
    assert sum(update.weight for update in bundle.updates) == pytest.approx(WEIGHT_ONE, abs=2)
    assert {update.account: update.stake for update in bundle.updates} == report.stakes  # what is on chain stays


@pytest.mark.parametrize("threshold", ["0", "1.5", "high"])
def test_a_threshold_that_is_no_cosine_is_refused_before_anything_is_escrowed(anvil, tmp_path, threshold):
    with pytest.raises(ConfigError, match=f"scorer.duplicate_cosine is '?{threshold}'?; "):
        play(anvil, tmp_path, duplicate_cosine=threshold)


def test_fewer_than_no_clients_cannot_be_read():
    with pytest.raises(ConfigError, match="scorer.read_clients is -1; set 0 or more"):
        ScorerConfig(read_clients=-1)
