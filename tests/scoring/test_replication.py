import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.codec import Blocks
from fl.rewards import WEIGHT_ONE, Participant, cap_q64, weigh
from fl.scoring.replication import ROWS_BYTES, _product, cosines, duplicate_groups, share_stakes


def blocks(values):
    return Blocks.encode(np.asarray(values, dtype=np.float64))


def participant_of(number, values, stake):
    return Participant(account=f"0x{number:040x}", stake=stake, blocks=blocks(values), root=bytes(32))


@pytest.fixture
def crowd():
    """Two honest clients, and one update sent under three names with stakes 5, 3 and 2."""
    draw = np.random.default_rng(0)
    work = draw.normal(size=300)
    return [
        participant_of(1, draw.normal(size=300), 10), participant_of(2, work, 5), participant_of(3, draw.normal(size=300), 7), participant_of(4, 2 * work, 3),
        participant_of(5, work + 0.01 * draw.normal(size=300), 2),
    ]  # fmt: skip


def test_copies_are_found_whatever_their_length(crowd):
    assert duplicate_groups([participant.blocks for participant in crowd], threshold="0.99") == [(1, 3, 4)]


def test_a_group_weighs_what_its_largest_stake_weighs(crowd):
    shared = share_stakes(crowd, threshold="0.99")
    assert [participant.stake for participant in shared] == [10, 5 * 5 // 10, 7, 5 * 3 // 10, 5 * 2 // 10]
    wei = [Participant(account=o.account, stake=o.stake * 10**18, blocks=o.blocks, root=o.root) for o in crowd]
    weights = weigh(share_stakes(wei, threshold="0.99"), cap=cap_q64("1000"))
    group = sum(weights[wei[place].account] for place in (1, 3, 4))
    assert group / WEIGHT_ONE == pytest.approx(5 / 22)  # as if the group were one client with a stake of 5
    assert weights[wei[0].account] / WEIGHT_ONE == pytest.approx(10 / 22)


def test_without_duplicates_nothing_changes(crowd):
    assert share_stakes(crowd[:3], threshold="0.99") == list(crowd[:3])
    assert share_stakes([], threshold="0.99") == []


def test_a_chain_of_near_pairs_is_one_group():
    angle = np.deg2rad(5)
    fan = [blocks([np.cos(k * angle), np.sin(k * angle)]) for k in range(4)]
    assert duplicate_groups(fan, threshold="0.99") == [(0, 1, 2, 3)]  # cos 5° = 0.996, cos 15° = 0.966
    assert duplicate_groups([fan[0], fan[3]], threshold="0.99") == []


def test_opposite_and_zero_updates_are_no_duplicates():
    update = blocks([1.0, 2.0])
    assert duplicate_groups([update, blocks([-1.0, -2.0])], threshold="0.5") == []
    assert duplicate_groups([blocks([0.0, 0.0])] * 3, threshold="0.5") == []
    assert duplicate_groups([], threshold="0.5") == []


def test_stakes_of_nothing_stay_nothing():
    assert [
        participant.stake
        for participant in share_stakes([participant_of(1, [1.0], 0), participant_of(2, [1.0], 0)], threshold="1")
    ] == [0, 0]


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=2, max_size=5))
@settings(deadline=None)
def test_exact_products_are_the_floats_products(rows):
    encoded = [blocks(row) for row in rows]
    for update in encoded:
        for other in encoded:
            exact = sum(
                Fraction(float(a)) * Fraction(float(b)) for a, b in zip(update.decode(), other.decode(), strict=True)
            )
            assert Fraction(_product(update, other), 1 << 128) == exact


def test_a_cosine_on_the_threshold_is_decided_exactly():
    # 3-4-5: the cosine is 0.8 to the last bit, and floats may say a little less or more.
    pair = [blocks([1.0, 0.0]), blocks([4.0, 3.0])]
    assert duplicate_groups(pair, threshold="0.8") == [(0, 1)]
    assert duplicate_groups(pair, threshold="0.80000000000000000001") == []
    assert cosines(pair)[0, 1] == pytest.approx(0.8)


def test_many_long_updates_are_compared_a_piece_at_a_time():
    draw = np.random.default_rng(0)
    updates = [blocks(draw.normal(size=70_001)) for _ in range(100)]
    whole = np.array([update.decode() for update in updates], dtype=np.float64)
    norms = np.linalg.norm(whole, axis=1)
    tracemalloc.start()
    found = cosines(updates)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, whole @ whole.T / np.outer(norms, norms), atol=1e-12)
    assert peak < 1.2 * ROWS_BYTES < whole.nbytes


@pytest.mark.parametrize("threshold", ["0", "1.01", "-1"])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
    with pytest.raises(ValueError, match=f"the threshold is {threshold}; set a cosine above 0 and up to 1"):
        duplicate_groups([], threshold=threshold)


def test_equal_updates_are_duplicates_at_one():
    assert duplicate_groups([blocks([0.1, 0.7]), blocks([0.1, 0.7]), blocks([0.7, 0.1])], threshold="1") == [(0, 1)]
