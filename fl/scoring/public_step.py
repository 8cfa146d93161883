"""The public step: the protocol itself goes along what everybody knows, before anybody is paid for going there.

A line search in the few dimensions that the last steps span, from the model that the inner strategy made. Half of the validation rows steer it, the other half, which the search has not seen, sets its length: 0 where it does not help. It takes the worth out of replays, and
is an accelerator: honest clients spend the length of their updates on what is new.

Source: Narkiss and Zibulevsky 2005, "Sequential Subspace Optimization Method for Large-Scale Unconstrained Problems" (SESOP).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fl.scoring.game import ValidationGame
from fl.scoring.public_vectors import RATES, Combined, PublicStep, PublicVector, products
from fl.scoring.rows import SplitRows

_FIRST_ROUNDS, _LONGER = (
    2,
    2,
)  # the search is short in the first rounds, in which most is earned, and then so many times as long
_WALL = 1e30  # what the search sees where the loss is no number


class _EnoughAsked(Exception):
    """The search has had its gradients."""


def gradients_in(number: int, *, first: int) -> int:
    """How many gradients the search of a round may ask for.

    What the public step takes off the loss in the first rounds is what clients are not paid for.

    Args:
        number: Of the round, from 1.
        first: How many in the first two rounds; twice as many later.
    """
    return first if number <= _FIRST_ROUNDS else _LONGER * first


def search(
    rows: SplitRows,
    *,
    aggregate: NDArray[np.float32],
    basis: Sequence[PublicVector],
    scale: float,
    gradients: int,
) -> PublicStep:
    """Find the public step by BFGS on the steering rows and a choice of length on those held out.

    Args:
        rows: The halves of the validation set.
        aggregate: The inner strategy's model w′, shape (P,).
        basis: Public vectors, orthonormal.
        scale: About how far to look first, such as the length of the round's own step, in weight units.
        gradients: The search asks for at most so many, each on the steering rows, which are half.
    """
    nowhere = PublicStep(coefficients=(0.0,) * len(basis), rate=0.0)
    if not basis or not scale > 0 or not math.isfinite(scale):
        return nowhere

    asked: list[tuple[float, NDArray[np.float64]]] = []
    calls = 0

    def value(places: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal calls
        if calls >= gradients:
            raise _EnoughAsked
        calls += 1
        model = Combined(origin=aggregate, basis=basis, places=(scale * places).tolist()).whole()
        gradient = np.zeros(len(model), dtype=np.float32)
        loss = rows.steering.add_gradient(model, into=gradient)
        slopes = scale * np.array(products(gradient, basis))
        if not (math.isfinite(loss) and np.isfinite(slopes).all()):
            return _WALL, np.zeros(len(basis))
        asked.append((loss, places.copy()))
        return loss, slopes

    with contextlib.suppress(_EnoughAsked):
        minimize(value, np.zeros(len(basis)), jac=True, method="BFGS", options={"maxiter": gradients})
    if not asked:
        return nowhere
    best_places = min(asked, key=lambda loss_and_places: loss_and_places[0])[1]
    coefficients = tuple(float(scale * place) for place in best_places)
    if not all(map(math.isfinite, coefficients)) or not any(coefficients):
        return nowhere
    return as_far_as_it_helps(rows.held_out, aggregate=aggregate, basis=basis, coefficients=coefficients)


def as_far_as_it_helps(
    game: ValidationGame,
    *,
    aggregate: NDArray[np.float32],
    basis: Sequence[PublicVector],
    coefficients: tuple[float, ...],
) -> PublicStep:
    """Shorten the step for as long as the loss falls, or is still above what it is without a step.

    Along a convex loss that is the best of all rates, and where the whole step helps most it asks for three losses and not six.

    Args:
        game: The loss on the rows that are held out.
        aggregate: The inner strategy's model, shape (P,).
        basis: Public vectors.
        coefficients: Of the whole step, one each.
    """
    steps = [PublicStep(coefficients=coefficients, rate=rate) for rate in RATES]
    best, least = steps[0], loss_on(game, aggregate)
    for step in reversed(steps[1:]):
        loss = loss_on(game, step.applied(aggregate, basis))
        if loss < least or (loss == least and best.rate):
            best, least = step, loss
        elif best.rate:
            break
    return best


def loss_on(game: ValidationGame, model: NDArray[np.float32]) -> float:
    """The loss of a model, infinity where it is no number."""
    loss = game.evaluate(model).loss
    return loss if math.isfinite(loss) else math.inf
