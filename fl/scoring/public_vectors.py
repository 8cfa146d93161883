"""What everybody can know of a task belongs to nobody: the last steps and the last directions, taken out of what pays.

A replay of the last step or direction is aligned with the next direction, because losses are smooth. So the posted direction is
the part of the gradient that is orthogonal to these vectors, and any sum of replays scores 0. The latest round's are taken tensor by
tensor, so that no layer of them can be replayed at another strength; the sign of the latest direction and what Adam makes of all
directions and of all steps are public too, since anybody can make them. Nobody is paid for making the model longer or shorter either.
Sums run in one order in float64, element by element, so that every machine gets the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6  # of a vector's length, below which what is left of it is rounding
_NOTHING = 1e-150  # a length whose square a float64 still holds exactly enough
_VALUES_EACH = 4  # a model has at most one public vector for so many values
_ADAM = (0.9, 0.999, 1e-8)  # β1, β2, ε; Kingma and Ba 2015, arXiv:1412.6980


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicRound:
    """What everybody knows of a round that was."""

    step: NDArray[np.float64]  # the model after it less the one before, shape (P,)
    direction: NDArray[np.float64]  # as posted, shape (P,)


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicVector:
    """A vector of shape (P,) that is 0 outside of one range, which is all that is held of it."""

    values: NDArray[np.float64]
    start: int = 0

    @property
    def stop(self) -> int:
        """Where the range ends."""
        return self.start + len(self.values)


RATES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)  # λ, exact in binary


@dataclass(frozen=True, kw_only=True)
class PublicStep:
    """Where the public step went: next = w′ + rate · Σ coefficient_i · h_i."""

    coefficients: tuple[float, ...]  # γ, one for each public vector, in weight units
    rate: float  # λ, one of RATES

    def applied(self, aggregate: NDArray[np.float32], basis: Sequence[PublicVector]) -> NDArray[np.float32]:
        """The next model, the same bits on every machine, shape (P,).

        Raises: ValueError if there are not as many coefficients as vectors.
        """
        if self.rate == 0:
            return aggregate
        return combined(aggregate, basis, [self.rate * coefficient for coefficient in self.coefficients]).astype(
            np.float32
        )


def public_vectors(
    rounds: Sequence[PublicRound], *, model: NDArray[np.floating], parts: Sequence[int] = ()
) -> list[PublicVector]:
    """An orthonormal basis of what is public, to be taken out of what pays.

    In this order: the latest round's step by tensor, its direction by tensor, the model by tensor, the step and the direction of each
    round before the latest, the sign of the latest direction, Adam's step on the directions, and Adam's on the steps; the first P // 4
    of these. Before the first round the model alone.

    Args:
        rounds: The last rounds, the latest first.
        model: As it is after them, shape (P,).
        parts: How many values each tensor of the model has, in order; none: the vector is one part.
    """
    # In a model of few values, more would leave clients little to be paid for.
    return orthonormal(islice(_all_public(rounds, parts=parts, model=model), len(model) // _VALUES_EACH))


def step_vectors(steps: Sequence[NDArray[np.float64]], *, parts: Sequence[int] = ()) -> list[PublicVector]:
    """An orthonormal basis of what the public step goes along: the steps of rounds, which clients' rows made.

    In this order: the latest by tensor, each one before, and Adam's step on them; the first P // 4 of these. Not the directions, which fit
    the validation rows: along those a search always seems to help, on the rows that were held out from it as well. And not the model: shards
    of other sizes would be paid further off their size.

    Args:
        steps: Of the last rounds, the latest first, shape (P,) each.
        parts: How many values each tensor of the model has, in order; none: the vector is one part.
    """
    return orthonormal(islice(_all_steps(steps, parts=parts), len(steps[0]) // _VALUES_EACH))


def _all_steps(steps: Sequence[NDArray[np.float64]], *, parts: Sequence[int]) -> Iterator[PublicVector]:
    yield from _by_part(steps[0], parts)
    yield from (PublicVector(values=step) for step in steps[1:])
    yield PublicVector(values=adam(list(reversed(steps))))


def _all_public(
    rounds: Sequence[PublicRound], *, parts: Sequence[int], model: NDArray[np.floating]
) -> Iterator[PublicVector]:
    """What is public, in its order; each is made when it is asked for, since each is 8 bytes a value."""
    if rounds:
        yield from _by_part(rounds[0].step, parts)
        yield from _by_part(rounds[0].direction, parts)
    yield from _by_part(model, parts)
    if rounds:
        for past in rounds[1:]:
            yield from (PublicVector(values=past.step), PublicVector(values=past.direction))
        yield PublicVector(values=np.sign(rounds[0].direction))
        yield PublicVector(values=adam([past.direction for past in reversed(rounds)]))
        yield PublicVector(values=adam([past.step for past in reversed(rounds)]))


def orthonormal(vectors: Iterable[PublicVector]) -> list[PublicVector]:
    """Modified Gram–Schmidt, twice; what is left of less than 10^−6 of a vector's length is dropped.

    Source: Giraud, Langou, Rozložník 2005, "The loss of orthogonality in the Gram–Schmidt process": twice is enough.

    Args:
        vectors: Those of a part of the range have to come before those that reach beyond it.
    """
    basis: list[PublicVector] = []
    for vector in vectors:
        near = [part for part in basis if part.start < vector.stop and vector.start < part.stop]
        within = [PublicVector(values=part.values, start=part.start - vector.start) for part in near]
        rest = without_public(vector.values, within)
        left = _length(rest)
        if left > max(_LEAST * _length(vector.values), _NOTHING):
            basis.append(PublicVector(values=rest / left, start=vector.start))
    return basis


def without_public(vector: NDArray[np.floating], basis: Sequence[PublicVector]) -> NDArray[np.float64]:
    """The part of a vector that no sum of the basis makes, shape (P,)."""
    rest = np.array(vector, dtype=np.float64)
    for _ in range(2):
        for known in basis:
            there = rest[known.start : known.stop]
            there -= _product(known.values, there) * known.values
    return rest


def combined(
    origin: NDArray[np.floating], basis: Sequence[PublicVector], places: Sequence[float]
) -> NDArray[np.float64]:
    """origin + Σ place_i · basis_i, added in this order, shape (P,).

    Args:
        origin: Shape (P,).
        basis: Public vectors.
        places: One for each.
    """
    total = np.array(origin, dtype=np.float64)
    for vector, place in zip(basis, places, strict=True):
        total[vector.start : vector.stop] += place * vector.values
    return total


def products(vector: NDArray[np.floating], basis: Sequence[PublicVector]) -> list[float]:
    """⟨vector, basis_i⟩ for each of the basis."""
    values = np.asarray(vector, dtype=np.float64)
    return [_product(part.values, values[part.start : part.stop]) for part in basis]


def adam(vectors: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Adam's step on vectors for gradients, shape (P,), of any length.

    Args:
        vectors: The oldest first, shape (P,) each.
    """
    first, second, epsilon = _ADAM
    mean, square = np.zeros(len(vectors[0])), np.zeros(len(vectors[0]))
    for vector in vectors:
        values = np.asarray(vector, dtype=np.float64)
        mean = first * mean + (1 - first) * values
        square = second * square + (1 - second) * (values * values)
    rounds = len(vectors)
    # A square root and a quotient are rounded alike on every machine; a power by the C library need not be.
    mean_left, square_left = 1.0, 1.0
    for _ in range(rounds):
        mean_left, square_left = mean_left * first, square_left * second
    return (mean / (1 - mean_left)) / (np.sqrt(square / (1 - square_left)) + epsilon)


def _by_part(vector: NDArray[np.floating], parts: Sequence[int]) -> Iterator[PublicVector]:
    stops = list(accumulate(parts or (len(vector),)))
    for start, stop in zip([0, *stops], stops, strict=False):
        if stop > start:
            yield PublicVector(values=np.asarray(vector[start:stop], dtype=np.float64), start=start)


def _product(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    # Not BLAS, whose order of summation is the processor's; numpy's pairwise sum has one order.
    return float((left * right).sum())


def _length(vector: NDArray[np.floating]) -> float:
    values = np.asarray(vector, dtype=np.float64)
    return float(np.sqrt(_product(values, values)))
