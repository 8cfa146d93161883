"""Every way to deal rows: no row twice, none lost, nobody left with too few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.task.data import DataError, PartitionConfig
from fl.task.data.holdout import apportion, draw_stratified, split_rows
from fl.task.data.partition import by_labels, by_sizes, deal, dirichlet

TEN = np.repeat(np.arange(10), 50)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def deals(draw):
    clients = draw(st.integers(1, 8))
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=clients * 5, max_size=120)))
    name = draw(st.sampled_from(["iid", "dirichlet", "sizes", "labels"]))
    config = PartitionConfig(
        name=name,
        clients=clients,
        alpha=draw(st.floats(0.05, 100)),
        sizes=draw(st.lists(st.floats(0.1, 10), min_size=clients, max_size=clients)),
        labels_per_client=draw(st.integers(1, len(np.unique(labels)))),
    )
    return labels, config


@settings(max_examples=120, deadline=None)
@given(case=deals(), seed=st.integers(0, 2**32))
def test_no_row_goes_to_two_clients_and_the_same_seed_deals_alike(case, seed):
    labels, config = case
    try:
        names, shards = deal(labels, config=config, rng=rng(seed))
    except DataError:
        return  # bad luck is refused, not dealt; what the refusals say is tested below
    dealt = np.concatenate(shards)
    assert len(names) == len(shards) == config.clients
    assert len(np.unique(dealt)) == len(dealt)
    assert min(map(len, shards)) >= config.min_samples
    assert all((np.diff(rows) > 0).all() for rows in shards)
    if config.name != "labels":
        assert len(dealt) == len(labels)
    again = deal(labels, config=config, rng=rng(seed))[1]
    assert all((shard == other).all() for shard, other in zip(shards, again, strict=True))


@settings(max_examples=60, deadline=None)
@given(clients=st.integers(1, 12), each=st.integers(1, 10), seed=st.integers(0, 99))
def test_few_labels_each_and_every_class_held_if_there_are_hands_enough(clients, each, seed):
    shards = by_labels(TEN, clients=clients, labels_per_client=each, rng=rng(seed))
    held = [np.unique(TEN[rows]) for rows in shards]
    assert all(len(classes) == each for classes in held)
    assert len(np.unique(np.concatenate(held))) == min(10, clients * each)
    if clients * each >= 10:
        assert sum(map(len, shards)) == len(TEN)


def test_sizes_are_in_the_ratio_asked_for():
    assert [len(rows) for rows in by_sizes(500, sizes=[1, 2, 7], rng=rng())] == [50, 100, 350]


def test_a_small_alpha_is_more_skewed_than_a_large_one():
    def skew(alpha: float) -> float:
        shards = dirichlet(TEN, clients=5, alpha=alpha, rng=rng(), min_samples=1)
        mixtures = [np.bincount(TEN[rows], minlength=10) / len(rows) for rows in shards]
        return float(np.std(mixtures))

    assert skew(0.1) > 2 * skew(100)


def test_dirichlet_is_drawn_again_until_everybody_has_enough():
    assert min(map(len, dirichlet(TEN, clients=10, alpha=0.5, min_samples=20, rng=rng()))) >= 20


def test_dirichlet_gives_up_in_the_end():
    with pytest.raises(
        DataError, match=r"none of 100 draws of Dirichlet\(0.01\) deals 10 clients 45 rows each, out of"
    ):
        dirichlet(TEN, clients=10, alpha=0.01, min_samples=45, rng=rng())


def test_natural_clients_keep_their_rows():
    groups = np.array([1, 0, 1, 2])
    names, shards = deal(
        np.zeros(4, dtype=np.int64), config=PartitionConfig(name="natural", clients=0), rng=rng(),
        groups=groups, group_names=("a", "b", "c"),
    )  # fmt: skip
    assert names == ["a", "b", "c"]
    assert [rows.tolist() for rows in shards] == [[1], [0, 2], [3]]


def test_the_size_list_can_count_the_clients():
    names, _ = deal(TEN, config=PartitionConfig(name="sizes", clients=0, sizes=[1.0, 2.0]), rng=rng())
    assert names == ["client-0", "client-1"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PartitionConfig(name="iid", clients=501), "500 rows for 501 clients; expected at least 1 for each"),
        (PartitionConfig(name="iid", clients=6, min_samples=100), "500 rows for 6 clients; expected at least 100"),
        (PartitionConfig(name="labels", labels_per_client=11), "11 classes per client; expected from 1 to the 10"),
        (PartitionConfig(name="natural", clients=0), "do not say which client a row came with; .*data.group=COLUMN"),
        (
            PartitionConfig(name="sizes", clients=2, sizes=[1.0, 1e6]),
            "client-0 would get 0 rows with partition=sizes; expected at least 1",
        ),
    ],
)
def test_a_deal_that_cannot_be_done_is_refused(config, message):
    with pytest.raises(DataError, match=message):
        deal(TEN, config=config, rng=rng())


def test_a_wrong_number_of_natural_clients_is_refused():
    with pytest.raises(DataError, match="come with 2 natural clients, partition.clients is 3; .*set .* to 2"):
        deal(TEN, config=PartitionConfig(name="natural", clients=3), rng=rng(), groups=TEN % 2, group_names=("a", "b"))


def test_pure_functions_refuse_numbers_that_make_no_sense():
    with pytest.raises(DataError, match="alpha 0; expected a number above 0"):
        dirichlet(TEN, clients=2, alpha=0, rng=rng())
    with pytest.raises(DataError, match=r"sizes \[1, -1\]; expected one number above 0"):
        by_sizes(10, sizes=[1, -1], rng=rng())


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 10**6), weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_shares_add_up_and_are_off_by_less_than_one(count, weights):
    weights = np.array(weights)
    shares = apportion(count, weights=weights)
    assert shares.sum() == count
    assert np.abs(shares - count * weights / weights.sum()).max() < 1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    strata=st.lists(st.integers(0, 3), min_size=10, max_size=80).map(np.array),
    validation=st.one_of(st.floats(0.01, 0.4), st.integers(1, 4)),
    test=st.one_of(st.floats(0.01, 0.4), st.integers(1, 4), st.just("file.csv")),
)
def test_held_out_rows_are_apart(strata, validation, test):
    split = split_rows(strata, validation=validation, test=test, limit=None, rng=rng())
    parts = [part for part in (split.train, split.validation, split.test) if part is not None]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(strata)))
    assert (split.test is None) == isinstance(test, str)


def test_every_stratum_gives_its_share():
    strata = np.repeat([0, 1, 2], [60, 30, 10])
    assert np.bincount(strata[draw_stratified(strata, count=20, rng=rng())]).tolist() == [12, 6, 2]


def test_holding_everything_back_is_refused():
    with pytest.raises(DataError, match="6 rows for validation and 4 for test out of 10 rows; .*left for the clients"):
        split_rows(np.zeros(10, dtype=np.int64), validation=6, test=4, limit=None, rng=rng())
