"""What a client sends that does not train: what everybody can know, again, and noise.

Directions show what made the loss fall, so replays of them, alone or gathered as Adam gathers gradients, are the cheapest work that
looks like work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ADAM = (0.9, 0.999, 1e-8)  # β1, β2, ε; Kingma and Ba 2015, arXiv:1412.6980


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What any client knows of a task: the models that it was sent, its own updates, and directions once they are revealed."""

    base: NDArray[np.float32]  # the model of this round, shape (P,)
    models: Sequence[NDArray[np.float32]] = ()  # of the rounds before, the oldest first; the last few are enough
    directions: Sequence[NDArray[np.floating]] = ()  # revealed so far, the oldest first, shape (P,) each
    first: NDArray[np.floating] | None = None  # its own first update

    def steps(self) -> list[NDArray[np.float64]]:
        """What each round did to the model, the oldest first."""
        models = [*self.models, self.base]
        return [after.astype(np.float64) - before for before, after in pairwise(models)]

    def step(self) -> NDArray[np.float64]:
        """What the last round did to the model; 0 before anything was seen."""
        steps = self.steps()
        return steps[-1] if steps else np.zeros(len(self.base))

    def length(self) -> float:
        """That of the last step; 1 before anything was seen. What is as long as it tells nobody by its length."""
        return norm(self.step()) if len(self.models) else 1.0


def replayed(source: str, *, known: Known, decay: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The update that a client sends which does not train, shape (P,), as long as the last step.

    Replays are 0 in the first round, when there is nothing to replay but the model. Where no direction is revealed, the last step stands for it.

    Args:
        source: zero, noise, replay_step, replay_direction, replay_average, adam, sign or replay_model.
        decay: Of replay_average: what a direction counts against the next one.
        rng: Draws noise.
    """
    if source == "zero":
        return np.zeros(len(known.base))
    if source == "noise":
        return as_long(rng.standard_normal(len(known.base)), length=known.length())
    directions = list(known.directions) or [known.step()]
    made: dict[str, Callable[[], NDArray[np.floating]]] = {
        "replay_step": known.step,
        "replay_direction": lambda: directions[-1],
        "replay_average": lambda: decayed(directions, decay=decay),
        "adam": lambda: adam(directions),
        "sign": lambda: np.sign(directions[-1]),
        "replay_model": lambda: known.base,
    }
    return as_long(made[source](), length=known.length())


def opposite(size: int, *, pair: tuple[int, ...], number: int, length: float, seed: int) -> NDArray[np.float64]:
    """x of a pair's first client and −x of its second, shape (size,): one of them is always right.

    Both draw x from a seed that they agreed on, the same in every round, so that the one that is right stays so.

    Args:
        size: P, values of the update.
        pair: The two clients.
        number: Which of them this is.
        length: Of the vector.
        seed: Of the run.
    """
    vector = as_long(np.random.default_rng([seed, *pair]).standard_normal(size), length=length)
    return vector if number == pair[0] else -vector


def decayed(directions: Sequence[NDArray[np.floating]], *, decay: float) -> NDArray[np.float64]:
    """Σ decay^age · direction, shape (P,)."""
    total = np.zeros(len(directions[0]))
    for direction in directions:
        total = decay * total + direction
    return total


def adam(directions: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Adam's step with directions for gradients, shape (P,), of any length."""
    first, second, epsilon = _ADAM
    mean, square = np.zeros(len(directions[0])), np.zeros(len(directions[0]))
    for direction in directions:
        mean = first * mean + (1 - first) * direction
        square = second * square + (1 - second) * np.square(direction, dtype=np.float64)
    rounds = len(directions)
    return (mean / (1 - first**rounds)) / (np.sqrt(square / (1 - second**rounds)) + epsilon)


def as_long(vector: NDArray[np.floating], *, length: float) -> NDArray[np.float64]:
    """A vector with another length; 0 stays 0."""
    own = norm(vector)
    return np.asarray(vector, dtype=np.float64) * (length / own) if own else np.zeros(len(vector))


def norm(vector: NDArray[np.floating]) -> float:
    """Euclidean."""
    return float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
