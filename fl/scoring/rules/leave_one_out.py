"""Leave-one-out: what the round would lose without a client.

    φ_k = U(N) − U(N∖k)

Cost: N + 1 evaluations. Source: Cook 1977, "Detection of Influential Observation in Linear Regression". Lacks efficiency (two
clients who do the same work are both paid nothing for it in a saturated round) and says nothing of smaller coalitions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """scorer=loo."""

    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round; draws nothing."""
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        masks = np.vstack([np.ones((1, len(inputs)), dtype=bool), ~np.eye(len(inputs), dtype=bool)])
        values = game.values(masks)
        return Scores(
            values=values[0] - values[1:],
            diagnostics={"evaluations": game.evaluations, "seconds": time.perf_counter() - started},
        )
