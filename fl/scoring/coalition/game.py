"""A round as a game of coalitions: U(S) is what the model is worth when only S takes part.

    fixed          U(S) = −loss(w + Σ_{k∈S} a_k Δ_k)                    the game that is paid
    renormalised   U(S) = −loss(w + A/Σ_{k∈S} a_k · Σ_{k∈S} a_k Δ_k)    weights rescaled inside S, A = Σ a_k; U(∅) = −loss(w)

The renormalised game is that of most published FL-Shapley code, and is here to be compared with: it pays sybils and free-riders.
With `utility=accuracy`, U is the share of right answers instead of minus the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.evaluate import Standings, evaluate
from fl.scoring.inputs import RoundInputs

GAMES, UTILITIES = ("fixed", "renormalised"), ("loss", "accuracy")


def check_game(game: str, utility: str) -> None:
    """Raises: ValueError for a game or a utility that there is not."""
    if game not in GAMES:
        raise ValueError(f"game is {game!r}; choose {' or '.join(GAMES)}")
    if utility not in UTILITIES:
        raise ValueError(f"utility is {utility!r}; choose {' or '.join(UTILITIES)}")


class CoalitionGame:
    """U of coalitions, each evaluated once.

    Args:
        inputs: The round.
        game: fixed or renormalised.
        utility: loss or accuracy.
        workers: Threads that evaluate coalitions.
    Raises: ValueError; UnscorableUpdate.
    """

    def __init__(self, inputs: RoundInputs, *, game: str = "fixed", utility: str = "loss", workers: int = 1) -> None:
        check_game(game, utility)
        self.inputs, self.game, self.utility, self.workers = inputs, game, utility, workers
        self.parts = inputs.matrix()
        self.evaluations = 0  # models evaluated; a coalition that is asked for again costs none
        self._known: dict[bytes, float] = {}

    @property
    def players(self) -> int:
        """Number of clients N."""
        return len(self.inputs)

    def values(self, masks: NDArray[np.bool_] | Sequence[Sequence[bool]]) -> NDArray[np.float64]:
        """U of coalitions, one row of flags each, shape (M, N)."""
        masks = np.asarray(masks, dtype=bool).reshape(len(masks), self.players)
        keys = [mask.tobytes() for mask in masks]
        new = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in self._known}
        if new:
            chosen = np.array(list(new.values()), dtype=bool).reshape(len(new), self.players)
            self.evaluations += len(new)
            self._known.update(zip(new, self._valued(chosen).tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def _valued(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        if self.inputs.table is not None and (self.game, self.utility) == ("fixed", "loss"):
            return self.inputs.table[masks @ (1 << np.arange(self.players))]
        standings = evaluate(
            self.inputs.game,
            base=self.inputs.base,
            parts=self.parts,
            factors=masks * self.scales(masks)[:, None],
            workers=self.workers,
        )
        return self.utilities(standings)

    def value(self, members: Sequence[int]) -> float:
        """U of one coalition, by its members' numbers."""
        mask = np.zeros((1, self.players), dtype=bool)
        mask[0, list(members)] = True
        return float(self.values(mask)[0])

    def scales(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What the weights inside each coalition are multiplied by, shape (M,)."""
        if self.game == "fixed":
            return np.ones(len(masks))
        weights = np.asarray(self.inputs.weights, dtype=np.float64)
        inside = np.where(masks, weights, 0.0).sum(axis=1)
        return np.divide(weights.sum(), inside, out=np.zeros(len(masks)), where=inside > 0)

    def utilities(self, standings: Standings) -> NDArray[np.float64]:
        """Standings in units of the utility."""
        if self.utility == "loss":
            return -standings.losses
        return standings.correct / len(self.inputs.game)
