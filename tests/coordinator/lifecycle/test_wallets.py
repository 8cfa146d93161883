"""Who joins a run."""

import numpy as np
import pytest

from fl.coordinator.config import AttackConfig
from fl.coordinator.lifecycle.wallets import wallets_of
from fl.errors import ConfigError
from fl.task.data import DataConfig, PartitionConfig, load_federation


@pytest.fixture(scope="module")
def federation():
    """Three clients of 20 rows each."""
    return load_federation(DataConfig(limit=100), PartitionConfig(name="iid", clients=3), seed=0)


def test_an_honest_client_has_one_wallet(federation):
    found = wallets_of(federation, AttackConfig(behaviours=["1:zero"]))
    assert [(client.number, client.name, client.shard, client.behaviour) for client in found] == [
        (0, "client-0", 0, "honest"),
        (1, "client-1", 1, "zero"),
        (2, "client-2", 2, "honest"),
    ]
    assert [client.rows is not None and len(client.rows) for client in found] == [
        len(shard.data) for shard in federation.shards
    ]


def test_a_split_client_stakes_each_row_once(federation):
    found = wallets_of(federation, AttackConfig(behaviours=["1:split:3"]))
    assert [client.name for client in found] == ["client-0", "client-1/1", "client-1/2", "client-1/3", "client-2"]
    assert [client.number for client in found] == [0, 1, 2, 3, 4]
    assert [client.shard for client in found] == [0, 1, 1, 1, 2]
    own = np.concatenate([client.rows.features.reshape(len(client.rows), -1) for client in found if client.shard == 1])
    whole = federation.shards[1].data.features
    assert sorted(map(tuple, own)) == sorted(map(tuple, whole.reshape(len(whole), -1)))


def test_more_wallets_than_rows_are_refused(federation):
    with pytest.raises(ConfigError) as caught:
        wallets_of(federation, AttackConfig(behaviours=["1:split:64"]))
    rows = len(federation.shards[1].data)
    assert str(caught.value) == (
        f"client 1 is to be split over 64 wallets and has {rows} rows; name no more wallets than rows"
    )
