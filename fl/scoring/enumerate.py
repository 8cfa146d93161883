"""U of all 2^N coalitions, by the fastest way that the model allows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalitions import CoalitionGame
from fl.scoring.values import all_coalitions


def coalition_table(game: CoalitionGame) -> NDArray[np.float64]:
    """U by coalition number (bit k: client k takes part), shape (2^N,)."""
    return game.values(all_coalitions(game.players))
