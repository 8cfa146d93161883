"""What a client was paid for: its score split over groups of validation samples, such as the classes.

The direction is a mean over samples, so it is the sum of one direction per group; a client's score for a group is its product with
that group's direction, and the groups' scores sum to the score. Each sample is in one group, so all groups together cost what
the direction costs, for any number of clients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl.scoring.direction import direction
from fl.scoring.game import ValidationGame
from fl.task.rows import NAMED


def group_directions(
    game: ValidationGame,
    *,
    base: NDArray[np.float32],
    step: NDArray[np.floating],
    groups: NDArray[np.integer] | Tensor | None = None,
    nodes: int = 3,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One direction per group, shape (G, P), and the groups, shape (G,), ascending. Their sum is the round's direction.

    Args:
        game: Model, loss and validation data.
        base: The round's base model, shape (P,).
        step: Σ_k a_k Δ_k, shape (P,).
        groups: The group of each validation sample, shape (n,); by default its label.
        nodes: As for the direction.
    """
    of = torch.as_tensor(game.labels if groups is None else groups).cpu()
    found = torch.unique(of)
    rows = []
    for group in found:
        member = of == group
        part = game.subset(member)
        # The subset means over its own samples; its share makes it a part of the mean over all.
        rows.append(float(member.double().mean()) * direction(part, base=base, step=step, nodes=nodes))
    return np.array(rows).reshape(len(rows), len(base)), found.numpy().astype(np.int64)


def can_group(game: ValidationGame) -> bool:
    """Whether validation samples have one class each."""
    return game.rows.form != NAMED and game.labels.ndim == 1 and not game.labels.is_floating_point()


def names_of(groups: NDArray[np.int64], class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names of groups that are labels; the number where there is no name."""
    return tuple(class_names[group] if 0 <= group < len(class_names) else str(group) for group in groups)
