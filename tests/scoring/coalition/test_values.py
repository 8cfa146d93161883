from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.scoring.coalition.values import all_coalitions, banzhaf_values, shapley_values

tables = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.floats(-10, 10), min_size=1 << n, max_size=1 << n).map(np.array)
)


def by_orders(table, players):
    """Shapley by its other definition: the mean marginal over all N! orders."""
    found = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        number = 0
        for player in order:
            found[player] += table[number | 1 << player] - table[number]
            number |= 1 << player
    return found / len(orders)


@given(tables)
@settings(max_examples=30, deadline=None)
def test_the_values_are_the_mean_marginals_over_all_orders(table):
    players = len(table).bit_length() - 1
    np.testing.assert_allclose(shapley_values(table), by_orders(table, players), atol=1e-9)


@given(tables)
@settings(deadline=None)
def test_the_values_sum_to_what_everybody_together_adds(table):
    assert shapley_values(table).sum() == pytest.approx(table[-1] - table[0], abs=1e-9)


@given(tables, tables, st.floats(-3, 3))
@settings(deadline=None)
def test_the_values_are_linear_in_the_game(values, other, factor):
    size = min(len(values), len(other))
    values, other = values[:size], other[:size]
    together = shapley_values(values + factor * other)
    np.testing.assert_allclose(together, shapley_values(values) + factor * shapley_values(other), atol=1e-8)


@given(tables, st.data())
@settings(deadline=None)
def test_a_player_who_adds_nothing_anywhere_is_worth_nothing(table, data):
    players = len(table).bit_length() - 1
    dummy = data.draw(st.integers(0, players - 1))
    numbers = np.arange(len(table))
    table = table[numbers & ~(1 << dummy)]
    assert shapley_values(table)[dummy] == 0
    assert banzhaf_values(table)[dummy] == 0


@given(tables)
@settings(deadline=None)
def test_players_who_are_interchangeable_are_worth_the_same(table):
    sizes = np.bitwise_count(np.arange(len(table)).astype(np.uint64))
    table = table[sizes]  # U depends on how many take part
    for values in (shapley_values(table), banzhaf_values(table)):
        np.testing.assert_allclose(values, values[0], atol=1e-9)


def test_banzhaf_is_the_mean_marginal_over_all_coalitions():
    table = np.random.default_rng(0).normal(size=16)
    for player in range(4):
        others = [other for other in range(4) if other != player]
        marginals = [
            table[sum(1 << m for m in members) | 1 << player] - table[sum(1 << m for m in members)]
            for size in range(4)
            for members in combinations(others, size)
        ]
        assert banzhaf_values(table)[player] == pytest.approx(np.mean(marginals))


def test_the_glove_game_pays_the_one_left_glove_most():
    # Players 0 and 1 hold a left glove, 2 the right one; a pair is worth 1. Shapley's own example: 1/6, 1/6, 4/6.
    masks = all_coalitions(3)
    table = (masks[:, 2] & (masks[:, 0] | masks[:, 1])).astype(float)
    np.testing.assert_allclose(shapley_values(table), [1 / 6, 1 / 6, 4 / 6])


def test_coalitions_are_listed_by_their_number():
    np.testing.assert_array_equal(all_coalitions(2), [[False, False], [True, False], [False, True], [True, True]])
    assert all_coalitions(0).shape == (1, 0)
    assert shapley_values(np.array([1.5])).shape == (0,)


def test_a_table_that_is_no_games_is_refused():
    with pytest.raises(ValueError, match=r"^the table has 3 values; a game of N players has 2\^N$"):
        shapley_values(np.zeros(3))


@pytest.mark.slow  # shapiq takes seconds to import
def test_the_values_are_those_of_shapiq():
    shapiq = pytest.importorskip("shapiq")
    table = np.random.default_rng(1).normal(size=32)
    powers = 1 << np.arange(5)
    exact = shapiq.ExactComputer(lambda masks: table[np.asarray(masks, dtype=int) @ powers], n_players=5)
    found = exact("SV", 1)
    np.testing.assert_allclose(shapley_values(table), [found[(player,)] for player in range(5)], atol=1e-9)
