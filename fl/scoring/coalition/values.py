"""The values of a game whose every coalition is known: pure arithmetic on a table of 2^N numbers.

A coalition is the number whose bit k says whether client k is in it, and the table holds U by that number.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray


def all_coalitions(players: int) -> NDArray[np.bool_]:
    """Every coalition by its number, one row of flags each, shape (2^N, N)."""
    numbers = np.arange(1 << players)
    return (numbers[:, None] >> np.arange(players)) & 1 == 1


def shapley_values(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapley value of each player, shape (N,).

    Σ_{S∌k} |S|! (N−|S|−1)! / N! · (U(S∪k) − U(S)). Source: Shapley 1953, "A value for n-person games".
    """
    players = _players(table)
    by_size = np.array([1 / (players * comb(players - 1, size)) for size in range(players)])
    return _semivalue(table, by_size)


def banzhaf_values(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Banzhaf value of each player, shape (N,): the mean of U(S∪k) − U(S) over all S without k.

    Source: Banzhaf 1965; for data, Wang and Jia 2023, "Data Banzhaf", arXiv:2205.15466.
    """
    players = _players(table)
    return _semivalue(table, np.full(players, 0.5 ** (players - 1))) if players else np.zeros(0)


def _semivalue(table: NDArray[np.float64], by_size: NDArray[np.float64]) -> NDArray[np.float64]:
    players = _players(table)
    numbers = np.arange(len(table))
    sizes = np.bitwise_count(numbers.astype(np.uint64)).astype(np.int64)
    found = np.zeros(players)
    for player in range(players):
        without = numbers[(numbers >> player) & 1 == 0]
        found[player] = by_size[sizes[without]] @ (table[without | (1 << player)] - table[without])
    return found


def _players(table: NDArray[np.float64]) -> int:
    players = len(table).bit_length() - 1
    if len(table) != 1 << players:
        raise ValueError(f"the table has {len(table)} values; a game of N players has 2^N")
    return players
