"""Permutation sampling with truncation (TMC-Shapley).

    φ_k = mean over random orders of U(those before k, and k) − U(those before k)

A walk through an order stops once U is within `truncation` of U(N), relative to what the round gained: whoever comes later scores 0 in
it. Cost: at most `evaluations`, but one whole order at least. Source: Castro et al. 2009 for the sampling; Ghorbani and Zou 2019,
"Data Shapley", Algorithm 1, arXiv:1904.02868, for the truncation. Unbiased without truncation; with it, clients who help late in
an order lose up to the truncation. Efficiency holds up to the truncation; symmetry and dummy hold in the mean only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class PermutationShapley:
    """scorer=permutation. Errors are over the drawn orders."""

    evaluations: int = 256
    truncation: float = 0.01
    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)
        if self.evaluations < 2 or not 0 <= self.truncation < 1:
            raise ValueError(
                f"evaluations is {self.evaluations} and truncation {self.truncation}; set 2 or more, and 0 to below 1"
            )

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round."""
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        walks: list[NDArray[np.float64]] = []
        if len(inputs):
            ends = game.values([[False] * len(inputs), [True] * len(inputs)])
            tolerance = self.truncation * abs(ends[1] - ends[0])
            # Beyond the budget an order could cost nothing (all its coalitions known), so orders are bounded too.
            while not walks or (
                game.evaluations + len(inputs) - 1 <= self.evaluations and len(walks) < self.evaluations
            ):
                walks.append(walk(game, order=rng.permutation(len(inputs)), ends=ends, tolerance=tolerance))
        marginals = np.array(walks).reshape(len(walks), len(inputs))
        return mean_of_walks(marginals, game, seconds=time.perf_counter() - started)


def walk(
    game: CoalitionGame, *, order: NDArray[np.int64], ends: NDArray[np.float64], tolerance: float
) -> NDArray[np.float64]:
    """Marginal of each client along one order, shape (N,).

    Args:
        game: The round.
        order: Clients by number.
        ends: U(∅) and U(N).
        tolerance: Clients after the first prefix whose U is nearer than this to U(N) get 0; at 0 nobody is cut off.
    """
    marginals, mask, before = np.zeros(game.players), np.zeros(game.players, dtype=bool), float(ends[0])
    for place, client in enumerate(order):
        if tolerance and abs(ends[1] - before) < tolerance:
            break
        mask[client] = True
        now = float(ends[1]) if place == game.players - 1 else float(game.values(mask[None])[0])
        marginals[client], before = now - before, now
    return marginals


def mean_of_walks(marginals: NDArray[np.float64], game: CoalitionGame, *, seconds: float) -> Scores:
    """Scores of marginals of shape (walks, N).

    Args:
        marginals: Of each walk.
        game: That was played.
        seconds: It took.
    """
    count = len(marginals)
    values = marginals.mean(axis=0) if count else np.zeros(game.players)
    errors = marginals.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.full(game.players, np.inf)
    return Scores(
        values=values,
        errors=errors,
        diagnostics={
            "evaluations": game.evaluations,
            "orders": count,
            "seconds": seconds,
            "error": "over drawn orders",
        },
    )
