"""Data Banzhaf: the mean of U(S∪k) − U(S) over all coalitions alike, which noise in U disturbs least.

Exact while 2^N ≤ `evaluations`; beyond that maximum sample reuse: coalitions drawn by fair coins, φ_k is the mean U of those
with k less the mean of those without. Cost: 2^N, or `evaluations`. Source: Wang and Jia 2023, "Data Banzhaf: A Robust Data
Valuation Framework for Machine Learning", arXiv:2205.15466. Lacks efficiency: the values do not sum to what the round gained.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.enumerate import coalition_table
from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.coalition.values import banzhaf_values
from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Banzhaf:
    """scorer=banzhaf. Errors are over the drawn coalitions; 0 where all were evaluated."""

    evaluations: int = 4096
    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)
        if self.evaluations < 2:
            raise ValueError(f"evaluations is {self.evaluations}; set 2 or more")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round."""
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        if len(inputs) < 60 and 1 << len(inputs) <= self.evaluations:
            values, errors = banzhaf_values(coalition_table(game)), np.zeros(len(inputs))
        else:
            values, errors = self._reuse(game, rng)
        return Scores(
            values=values,
            errors=errors,
            diagnostics={
                "evaluations": game.evaluations,
                "seconds": time.perf_counter() - started,
                "error": "over drawn coalitions",
            },
        )

    def _reuse(self, game: CoalitionGame, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        masks = rng.random((self.evaluations, game.players)) < 0.5
        worth = game.values(masks)
        values, errors = np.zeros(game.players), np.zeros(game.players)
        for player in range(game.players):
            inside, outside = worth[masks[:, player]], worth[~masks[:, player]]
            if len(inside) < 2 or len(outside) < 2:
                errors[player] = np.inf
                continue
            values[player] = inside.mean() - outside.mean()
            errors[player] = np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
        return values, errors
