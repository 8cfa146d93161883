"""What everybody can know of a task belongs to nobody: the last steps and the last directions, taken out of what pays.

A replay of the last step or direction is aligned with the next direction, because losses are smooth. So the posted direction is
the part of the gradient that is orthogonal to these vectors, and any sum of replays scores 0. The latest round's are taken tensor by
tensor, so that no layer of them can be replayed at another strength; the sign of the latest direction and what Adam makes of all
directions and of all steps are public too, since anybody can make them. Nobody is paid for making the model longer or shorter either.

Sums run in float64, in one order, element by element, so that every machine gets the same bits. Vectors are read in parts of 32,768 values,
in which all is done that can be before the next, and the basis is held in float32, on disk where it is long (`fl.spool`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from fl.codec import Vector, ranges
from fl.spool import Spool

_LEAST = 1e-6  # of a vector's length, below which what is left of it is rounding
_ENOUGH = 0.5  # of a vector's length, from which what is left of it needs no second look
_NOTHING = 1e-150  # a length whose square a float64 still holds exactly enough
_VALUES_EACH = 4  # a model has at most one public vector for so many values
_ADAM = (0.9, 0.999, 1e-8)  # β1, β2, ε; Kingma and Ba 2015, arXiv:1412.6980
_AT_ONCE = 1 << 15  # values: part of what the sums are, as bits go


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicRound:
    """What everybody knows of a round that was."""

    step: Vector  # the model after it less the one before, shape (P,)
    direction: Vector  # as posted, shape (P,)


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicVector:
    """A vector of shape (P,) that is 0 outside of one range, which is all that is held of it."""

    values: Vector
    start: int = 0

    @property
    def stop(self) -> int:
        """Where the range ends."""
        return self.start + len(self.values)

    def within(self, part: slice) -> tuple[slice, NDArray[np.float64]] | None:
        """What of its range lies in a part, counted from the part's first place, and the values there; None if nothing does."""
        start, stop = self.start, self.start + len(self.values)
        first, last = max(start, part.start), min(stop, part.stop)
        if first >= last:
            return None
        values = self.values[first - start : last - start].astype(np.float64, copy=False)
        return slice(first - part.start, last - part.start), values


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelStep:
    """One model less another, as a vector that is read in parts."""

    base: Vector  # shape (P,)
    following: Vector  # shape (P,)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, part: slice, /) -> NDArray[np.float64]:
        return self.following[part].astype(np.float64) - self.base[part]


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
        places = [self.rate * coefficient for coefficient in self.coefficients]
        return Combined(origin=aggregate, basis=basis, places=places).whole()


def public_vectors(rounds: Sequence[PublicRound], *, model: Vector, parts: Sequence[int] = ()) -> list[PublicVector]:
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


def step_vectors(steps: Sequence[Vector], *, parts: Sequence[int] = ()) -> list[PublicVector]:
    """An orthonormal basis of what the public step goes along: the steps of rounds, which clients' rows made.

    In this order: the latest by tensor, each one before, and Adam's step on them; the first P // 4 of these. Not the directions, which fit
    the validation rows: along those a search always seems to help, on the rows that were held out from it as well. And not the model: shards
    of other sizes would be paid further off their size.

    Args:
        steps: Of the last rounds, the latest first, shape (P,) each.
        parts: How many values each tensor of the model has, in order; none: the vector is one part.
    """
    return orthonormal(islice(_all_steps(steps, parts=parts), len(steps[0]) // _VALUES_EACH))


def _all_steps(steps: Sequence[Vector], *, parts: Sequence[int]) -> Iterator[PublicVector]:
    yield from _by_part(steps[0], parts)
    yield from (PublicVector(values=step) for step in steps[1:])
    yield PublicVector(values=AdamStep(vectors=list(reversed(steps))))


def _all_public(rounds: Sequence[PublicRound], *, parts: Sequence[int], model: Vector) -> Iterator[PublicVector]:
    """What is public, in its order."""
    if rounds:
        yield from _by_part(rounds[0].step, parts)
        yield from _by_part(rounds[0].direction, parts)
    yield from _by_part(model, parts)
    if rounds:
        for past in rounds[1:]:
            yield from (PublicVector(values=past.step), PublicVector(values=past.direction))
        yield PublicVector(values=_Sign(vector=rounds[0].direction))
        yield PublicVector(values=AdamStep(vectors=[past.direction for past in reversed(rounds)]))
        yield PublicVector(values=AdamStep(vectors=[past.step for past in reversed(rounds)]))


def orthonormal(vectors: Iterable[PublicVector]) -> list[PublicVector]:
    """Gram–Schmidt (see `take_out`); what is left of less than 10^−6 of a vector's length is dropped.

    Args:
        vectors: Those of a part of the range have to come before those that reach beyond it.
    """
    basis: list[PublicVector] = []
    spool = Spool()
    for vector in vectors:
        near = [part for part in basis if part.start < vector.stop and vector.start < part.stop]
        rest = _float64(vector.values)
        long, left = take_out(
            rest, [PublicVector(values=part.values, start=part.start - vector.start) for part in near]
        )
        if left > max(_LEAST * long, _NOTHING):
            unit = spool.keep(_Divided(vector=rest, by=left), dtype=np.float32)
            # What stays in memory is widened once, and not each time that it is read.
            held = unit.astype(np.float64) if isinstance(unit, np.ndarray) else unit
            basis.append(PublicVector(values=held, start=vector.start))
        del rest  # before the next one is made: of a large model it is hundreds of megabytes
    return basis


def without_public(vector: NDArray[np.floating], basis: Sequence[PublicVector]) -> NDArray[np.float64]:
    """The part of a vector that no sum of the basis makes, shape (P,)."""
    rest = np.array(vector, dtype=np.float64)
    take_out(rest, basis)
    return rest


def take_out(vector: NDArray[np.float64], basis: Sequence[PublicVector]) -> tuple[float, float]:
    """Leave of a vector the part that no sum of the basis makes, in place; returns its length before and after.

    Classical Gram–Schmidt, of which a part of the vector meets the whole basis at once, and a second time if the first left less than half
    of its length. Sources: Daniel, Gragg, Kaufman, Stewart 1976, "Reorthogonalization and stable algorithms for updating the
    Gram-Schmidt QR factorization", for when; Giraud, Langou, Rozložník 2005, "The loss of orthogonality in the Gram–Schmidt process", for
    twice being enough.

    Args:
        vector: Shape (P,).
        basis: Public vectors, orthonormal.
    """
    along, long = _met(vector, basis)
    if not basis:
        return long, long
    along, left = _met(vector, basis, less=along)
    if left < _ENOUGH * long:
        _, left = _met(vector, basis, less=along, again=False)
    return long, left


def _met(
    vector: Vector, basis: Sequence[PublicVector], *, less: Sequence[float] = (), again: bool = True
) -> tuple[list[float], float]:
    """Take so much of each of the basis out of an array of float64, in place; returns what a vector has along each then, and its length."""
    along, square = [0.0] * len(basis), 0.0
    for part in ranges(len(vector), each=_AT_ONCE):
        there = np.asarray(vector[part], dtype=np.float64)  # no copy of what is taken out of
        near = [(number, *found) for number, known in enumerate(basis) if (found := known.within(part))]
        if less:
            for number, place, values in near:
                there[place] -= less[number] * values
        if again:
            for number, place, values in near:
                # Not BLAS, whose order of summation is the processor's; numpy's pairwise sum has one order.
                along[number] += float((values * there[place]).sum())
        square += float(np.square(there).sum())
    return along, float(np.sqrt(square))


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """origin + Σ place_i · basis_i, added in this order in float64, as a vector of float32 that is read in parts, shape (P,)."""

    origin: Vector  # shape (P,)
    basis: Sequence[PublicVector]
    places: Sequence[float]  # one for each of the basis

    def __len__(self) -> int:
        return len(self.origin)

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        start, stop, _ = part.indices(len(self))
        total = self.origin[start:stop].astype(np.float64)
        for vector, along in zip(self.basis, self.places, strict=True):
            if there := vector.within(slice(start, stop)):
                place, values = there
                total[place] += along * values
        return total.astype(np.float32)

    def whole(self) -> NDArray[np.float32]:
        """All of it in memory."""
        found = np.empty(len(self), dtype=np.float32)
        for part in ranges(len(self), each=_AT_ONCE):
            found[part] = self[part]
        return found


def products(vector: Vector, basis: Sequence[PublicVector]) -> list[float]:
    """⟨vector, basis_i⟩ for each of the basis."""
    return _met(vector, basis)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class AdamStep:
    """Adam's step on vectors for gradients, of any length, as a vector that is read in parts."""

    vectors: Sequence[Vector]  # the oldest first, shape (P,) each

    def __len__(self) -> int:
        return len(self.vectors[0])

    def __getitem__(self, part: slice, /) -> NDArray[np.float64]:
        first, second, epsilon = _ADAM
        size = len(range(*part.indices(len(self))))
        mean, square = np.zeros(size), np.zeros(size)
        # A square root and a quotient are rounded alike on every machine; a power by the C library need not be.
        mean_left, square_left = 1.0, 1.0
        for vector in self.vectors:
            values = np.asarray(vector[part], dtype=np.float64)
            mean = first * mean + (1 - first) * values
            square = second * square + (1 - second) * (values * values)
            mean_left, square_left = mean_left * first, square_left * second
        return (mean / (1 - mean_left)) / (np.sqrt(square / (1 - square_left)) + epsilon)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sign:
    vector: Vector

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, part: slice, /) -> NDArray[np.float64]:
        return np.sign(np.asarray(self.vector[part], dtype=np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A range of a vector."""

    vector: Vector
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice, /) -> NDArray[np.floating]:
        start, stop, _ = part.indices(len(self))
        return self.vector[self.start + start : self.start + stop]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Divided:
    vector: Vector
    by: float

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, part: slice, /) -> NDArray[np.floating]:
        return self.vector[part] / self.by


def _by_part(vector: Vector, parts: Sequence[int]) -> Iterator[PublicVector]:
    stops = list(accumulate(parts or (len(vector),)))
    for start, stop in zip([0, *stops], stops, strict=False):
        if stop > start:
            yield PublicVector(values=_Part(vector=vector, start=start, stop=stop), start=start)


def _float64(vector: Vector) -> NDArray[np.float64]:
    found = np.empty(len(vector))
    for part in ranges(len(vector), each=_AT_ONCE):
        found[part] = vector[part]
    return found
