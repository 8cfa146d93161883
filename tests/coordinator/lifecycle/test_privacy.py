"""What a run's privacy settings come to in its spec, and what is refused before anything is escrowed."""

from types import SimpleNamespace

import pytest

from fl.coordinator.config import CoordinatorConfig, PrivacyConfig, RunConfig, TaskConfig
from fl.coordinator.lifecycle.privacy import privacy_of
from fl.errors import ConfigError
from fl.privacy.budget import Sampling, planned
from fl.privacy.terms import PrivacyTerms


def terms(*, shards=(), rounds=5, batch_size=16, clients=4, **privacy):
    """The terms of a spec, from settings and the rows of each shard."""
    config = RunConfig(
        task=TaskConfig(rounds=rounds, steps=10, batch_size=batch_size),
        coordinator=CoordinatorConfig(clients=clients),
        privacy=PrivacyConfig(**privacy),
    )
    federation = SimpleNamespace(shards=[SimpleNamespace(data=range(rows)) for rows in shards])
    return PrivacyTerms.of(privacy_of(config, federation))


def test_noise_on_rows_is_counted_for_the_smallest_shard_of_a_run():
    found = terms(shards=(300, 120, 500), noise="rows", epsilon=8.0)
    assert found.rows == 120
    spent = planned(found, rounds=5, sampling=Sampling(steps=10, batch=16, rows=120))
    assert 7.8 < spent <= 8.0
    assert found.projections == PrivacyTerms().projections
    assert terms(shards=(300, 120), noise="rows", multiplier="2", rows=100).rows == 100
    masked = terms(shards=(300, 120, 200), noise="rows", multiplier="2", masked=True)
    assert (masked.masked, masked.projections, masked.rows) == (True, 64, 120)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"noise": "rows", "epsilon": 8.0},
            "privacy.rows is not set: what noise on rows spends depends on how many a client has",
        ),
        (
            {"noise": "rows", "epsilon": 8.0, "rows": 200, "shards": (150, 300)},
            "privacy.rows is 200 and the smallest shard has 150 rows; set privacy.rows=150 or less",
        ),
        ({"rows": 200}, "privacy.rows is 200 and privacy.noise none; it is of privacy=dpsgd alone"),
        ({"noise": "rows", "epsilon": 0.001, "rows": 200}, "it allows 0 rounds and not 5; set a larger epsilon"),
        (
            {"noise": "rows", "rows": 200},
            "privacy.noise is rows, privacy.epsilon None and privacy.multiplier None; set one",
        ),
        ({"masked": True, "clients": 2}, "privacy=masked and 2 clients: the sum of two shows each the other's update"),
        ({"masked": True, "threshold": 9}, "privacy.threshold is 9 and a client has 4 holders"),
        ({"epsilon": 8.0}, "belong to a noise; set privacy=dp or privacy=dpsgd"),
        ({"noise": "rows", "epsilon": 0.0}, "privacy.epsilon is 0.0; set it above 0, such as 8"),
    ],
)
def test_what_a_task_cannot_keep_is_refused(settings, said):
    with pytest.raises(ConfigError) as caught:
        terms(**settings)
    assert said in str(caught.value)
