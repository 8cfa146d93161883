"""What everybody can know of a task belongs to nobody: the last steps and the last directions, taken out of what pays.

A replay of the last step or direction is aligned with the next direction, because losses are smooth. So the posted direction is
the part of the gradient that is orthogonal to these vectors, and any sum of replays scores 0. Sums run in one order in
float64, element by element, so that every machine gets the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6  # of a vector's length, below which what is left of it is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicRound:
    """What everybody knows of a round that was."""

    step: NDArray[np.float64]  # the model after it less the one before, shape (P,)
    direction: NDArray[np.float64]  # as posted, shape (P,)


RATES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)  # λ, exact in binary


@dataclass(frozen=True, kw_only=True)
class PublicStep:
    """Where the public step went: next = w′ + rate · Σ coefficient_i · h_i."""

    coefficients: tuple[float, ...]  # γ, one for each public vector, in weight units
    rate: float  # λ, one of RATES

    def applied(self, aggregate: NDArray[np.float32], basis: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
        """The next model, the same bits on every machine, shape (P,).

        Raises: ValueError if there are not as many coefficients as vectors.
        """
        if self.rate == 0:
            return aggregate
        return combined(aggregate, basis, [self.rate * one for one in self.coefficients]).astype(np.float32)


def public_vectors(rounds: Sequence[PublicRound]) -> list[NDArray[np.float64]]:
    """An orthonormal basis of what is public, each of shape (P,).

    Args:
        rounds: The last rounds, the latest first.
    """
    return orthonormal([vector for past in rounds for vector in (past.step, past.direction)])


def orthonormal(vectors: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Modified Gram–Schmidt, twice; what is left of less than 10^−6 of a vector's length is dropped.

    Source: Giraud, Langou, Rozložník 2005, "The loss of orthogonality in the Gram–Schmidt process": twice is enough.
    """
    basis: list[NDArray[np.float64]] = []
    for vector in vectors:
        rest = without_public(np.asarray(vector, dtype=np.float64), basis)
        left = _length(rest)
        if left > _LEAST * _length(vector):
            basis.append(rest / left)
    return basis


def without_public(vector: NDArray[np.floating], basis: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The part of a vector that no sum of the basis makes, shape (P,)."""
    rest = np.array(vector, dtype=np.float64)
    for _ in range(2):
        for one in basis:
            rest -= _product(one, rest) * one
    return rest


def combined(
    origin: NDArray[np.floating], basis: Sequence[NDArray[np.float64]], places: Sequence[float]
) -> NDArray[np.float64]:
    """origin + Σ place_i · basis_i, added in this order, shape (P,)."""
    total = np.array(origin, dtype=np.float64)
    for one, place in zip(basis, places, strict=True):
        total += place * one
    return total


def products(vector: NDArray[np.floating], basis: Sequence[NDArray[np.float64]]) -> list[float]:
    """⟨vector, basis_i⟩ for each of the basis."""
    return [_product(one, np.asarray(vector, dtype=np.float64)) for one in basis]


def _product(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    # Not BLAS, whose order of summation is the processor's; numpy's pairwise sum has one order.
    return float((left * right).sum())


def _length(vector: NDArray[np.floating]) -> float:
    values = np.asarray(vector, dtype=np.float64)
    return float(np.sqrt(_product(values, values)))
