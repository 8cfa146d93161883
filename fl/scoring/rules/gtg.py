"""GTG-Shapley: guided truncation gradient Shapley.

Orders whose first place goes round all clients, walked with truncation, until the running means settle; a round that gained less
than `round_threshold` scores 0 throughout. Cost: until converged, `evaluations` at most, but one order at least. Source: Liu et al.
2022, "GTG-Shapley: Efficient and Accurate Participant Contribution Evaluation in Federated Learning", arXiv:2109.02053, with the
thresholds of its reference code. Lacks exact efficiency (truncation), and symmetry and dummy but in the mean; stopped inside a
sweep over first places, it is biased towards whoever has been first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.inputs import RoundInputs
from fl.scoring.rules.permutation import mean_of_walks, walk
from fl.scoring.scores import Scores

LAST, LEAST = 10, 30  # the reference code's window, and the orders before it may stop


@dataclass(frozen=True, kw_only=True)
class GuidedTruncation:
    """scorer=gtg. Errors are over the drawn orders."""

    evaluations: int = 1024
    round_threshold: float = 1e-3  # in units of the utility
    truncation: float = 1e-3  # in units of the utility
    convergence: float = 0.05  # mean relative change over the last ten orders
    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)
        if self.evaluations < 2:
            raise ValueError(f"evaluations is {self.evaluations}; set 2 or more")
        for name in ("round_threshold", "truncation", "convergence"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; set 0 or more")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round."""
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        walks: list[NDArray[np.float64]] = []
        if len(inputs):
            ends = game.values([[False] * len(inputs), [True] * len(inputs)])
            if abs(ends[1] - ends[0]) > self.round_threshold:
                while not walks or self._goes_on(game, walks):
                    first = len(walks) % len(inputs)
                    rest = rng.permutation([client for client in range(len(inputs)) if client != first])
                    order = np.concatenate([[first], rest]).astype(np.int64)
                    walks.append(walk(game, order=order, ends=ends, tolerance=self.truncation))
            else:  # the round is cut off whole: 0 for everybody, and no doubt is stated
                zeros = np.zeros(len(inputs))
                diagnostics: dict[str, float | int | str] = {
                    "evaluations": game.evaluations,
                    "orders": 0,
                    "seconds": time.perf_counter() - started,
                }
                return Scores(values=zeros, errors=zeros, diagnostics=diagnostics)
        marginals = np.array(walks).reshape(len(walks), len(inputs))
        return mean_of_walks(marginals, game, seconds=time.perf_counter() - started)

    def _goes_on(self, game: CoalitionGame, walks: list[NDArray[np.float64]]) -> bool:
        if game.evaluations + game.players - 1 > self.evaluations or len(walks) >= self.evaluations:
            return False
        if len(walks) <= max(LEAST, LAST):
            return True
        means = np.cumsum(walks, axis=0) / np.arange(1, len(walks) + 1)[:, None]
        change = np.abs(means[-LAST - 1 : -1] - means[-1]).mean(axis=0) / (np.abs(means[-1]) + 1e-12)
        return bool(change.max() > self.convergence)
