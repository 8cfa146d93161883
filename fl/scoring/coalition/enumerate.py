"""U of all 2^N coalitions, by the fastest way that the model allows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.linear_layers import all_standings, fast_path
from fl.scoring.coalition.values import all_coalitions


def coalition_table(game: CoalitionGame) -> NDArray[np.float64]:
    """U by coalition number (bit k: client k takes part), shape (2^N,)."""
    masks = all_coalitions(game.players)
    layers = fast_path(game.inputs.game, utility=game.utility)
    if layers is None or game.inputs.table is not None:
        return game.values(masks)
    standings = all_standings(
        game.inputs.game,
        layers,
        base=game.inputs.base,
        parts=game.parts,
        scales=game.scales(masks),
        want_loss=game.utility == "loss",
        workers=game.workers,
    )
    game.evaluations += len(masks)
    return game.utilities(standings)
