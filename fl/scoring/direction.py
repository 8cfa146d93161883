"""The direction of a round: the gradient averaged along the straight path from the base model to the aggregate.

    d = −∫₀¹ ∇loss(w + s·Σ_k a_k Δ_k) ds,   φ_k = a_k ⟨Δ_k, d⟩

φ is the Aumann–Shapley value of the fixed-weight game U(S) = −loss(w + Σ_{k∈S} a_k Δ_k) over infinitesimal parts of the
updates: the diagonal formula of Aumann and Shapley 1974, "Values of Non-Atomic Games". It costs one gradient per quadrature
node for any number of clients, and Σ φ_k = loss(w) − loss(w + Σ a_k Δ_k) up to the quadrature's error. Properties it lacks:
an update that repeats what everybody knows (replay) is aligned with the direction and is paid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.codec import Blocks, ranges
from fl.rewards import WEIGHT_ONE
from fl.scoring.game import ValidationGame


def weighted_step(updates: Iterable[tuple[Blocks, int]], *, size: int) -> NDArray[np.float64]:
    """Σ_k a_k Δ_k over pairs of blocks and weights in units of 2^−32; shape (size,), zeros for no updates."""
    step = np.zeros(size)
    for blocks, weight in updates:
        for part in ranges(size):
            step[part] += (weight / WEIGHT_ONE) * blocks.decode_part(part.start, part.stop)
    return step


def direction(
    game: ValidationGame, *, base: NDArray[np.float32], step: NDArray[np.floating], nodes: int = 3
) -> NDArray[np.float64]:
    """The round's direction, shape (P,), in units of loss per weight unit.

    Args:
        game: The loss on the committed validation set.
        base: The round's base model w, shape (P,).
        step: Σ_k a_k Δ_k, shape (P,).
        nodes: Gauss–Legendre nodes; exact for a loss that is a polynomial of degree 2·nodes along the path.
    """
    places, weights = np.polynomial.legendre.leggauss(nodes)
    total = np.zeros(len(base))
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        game.add_gradient(_OnTheWay(base=base, step=step, place=place), into=total, times=-weight)
    return total


@dataclass(frozen=True, kw_only=True, eq=False)
class _OnTheWay:
    """A model between the base and the aggregate, as a vector that is read in parts."""

    base: NDArray[np.float32]
    step: NDArray[np.floating]
    place: float  # 0 to 1

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        return (self.place * self.step[part] + self.base[part]).astype(np.float32)
