"""How far a masked update can be longer than it may be, and how seldom an honest one is taken for that."""

import numpy as np
import pytest

from fl.privacy.lengths import agreed_length, best_factor, bound, pass_chance, passes
from fl.privacy.words import signs


def test_the_agreed_length_is_the_weighted_median_under_the_cap():
    accounts = [f"0x{number:040x}" for number in (1, 2, 3)]
    said = {"accounts": accounts, "stakes": [1, 1, 5], "lengths": [10, 20, 30]}
    assert agreed_length(**said, cap=1000, median=True) == 30
    assert agreed_length(**said, cap=25, median=True) == 25
    assert agreed_length(**said, cap=1000, median=False) == 1000


@pytest.mark.parametrize("spread", [1, 7, 400])
def test_honest_lengths_pass_whatever_they_are_spread_over(spread):
    rng = np.random.default_rng(spread)
    vector = np.zeros(400)
    vector[:spread] = rng.normal(size=spread) * 1e6
    norm = int(np.linalg.norm(vector)) + 1
    for number in range(50):
        told = signs(bytes([number]) * 32, count=64, size=400) @ vector
        assert passes([int(value) for value in told], longest=norm, clients=10)


def test_a_length_twice_too_long_is_noticed():
    vector = np.random.default_rng(0).normal(size=400) * 1e6
    norm = int(np.linalg.norm(vector)) + 1
    noticed = 0
    for number in range(50):
        told = signs(bytes([number]) * 32, count=64, size=400) @ (2 * vector)
        noticed += not passes([int(value) for value in told], longest=norm, clients=10)
    assert noticed >= 45


def test_the_bound_has_room_for_more_clients_and_closes_in_with_more_projections():
    assert bound(projections=64, clients=10) < bound(projections=64, clients=1000)
    assert 1 < bound(projections=256, clients=10) < bound(projections=64, clients=10)


@pytest.mark.parametrize(("projections", "most"), [(32, 1.65), (64, 1.35), (128, 1.25), (256, 1.18)])
def test_nobody_gains_much_by_a_longer_update(projections, most):
    factor, gain = best_factor(projections=projections, clients=10)
    assert 1 < factor < 2
    assert gain < most
    assert pass_chance(3 * factor, projections=projections, clients=10) < 1e-6


def test_without_projections_everything_passes():
    assert passes([], longest=1, clients=10)
