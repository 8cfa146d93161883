"""Exact Shapley values of a round, by evaluating every coalition.

    φ_k = Σ_{S∌k} |S|! (N−|S|−1)! / N! · (U(S∪k) − U(S))

Cost: 2^N model evaluations, batched; N ≤ 16. Source: Shapley 1953. Efficiency, symmetry, dummy and linearity hold by
construction; what it lacks is any defence beyond them: in the renormalised game a client that splits itself in two is paid more
than one (the player set changes, so no axiom speaks of it), and a replay that lowers the loss is paid in both games.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fl.scoring.coalition.enumerate import coalition_table
from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.coalition.values import shapley_values
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import TooManyClients
from fl.scoring.scores import Scores

MOST_CLIENTS = 16  # 65,536 evaluations


@dataclass(frozen=True, kw_only=True)
class ExactShapley:
    """scorer=shapley. Raises: TooManyClients above 16 clients."""

    most_clients: ClassVar[int] = MOST_CLIENTS
    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1  # threads

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round; draws nothing."""
        if len(inputs) > MOST_CLIENTS:
            raise TooManyClients(scorer="shapley", clients=len(inputs), most=MOST_CLIENTS)
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        values = shapley_values(coalition_table(game))
        return Scores(
            values=values,
            diagnostics={
                "evaluations": game.evaluations,
                "seconds": time.perf_counter() - started,
                "game": self.game,
                "utility": self.utility,
            },
        )
