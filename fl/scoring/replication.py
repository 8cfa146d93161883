"""Near-duplicate updates share the weight of one, so that sending the same work under many names earns what one name earns.

Updates whose cosine reaches a threshold are grouped (a chain of such pairs is one group). A group weighs what its largest stake weighs,
divided by stake: each member's stake is replaced by `largest · own / sum`, rounded down, before weights are fixed. Everything after it,
the chain's arithmetic included, is as it was.

The decision moves money, so it is made in integers: ⟨Δ_i, Δ_j⟩² · q² ≥ p² · ⟨Δ_i, Δ_i⟩ · ⟨Δ_j, Δ_j⟩ for a threshold p/q, on the blocks
as they were signed. Floats only sort out the pairs that are far from it.

What it does not do: a copy with enough noise added falls below any threshold (and pays for the noise with its score), and honest
clients with the very same data would be grouped; `docs/scoring.md` has the measured cosines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fl.codec import BLOCK_VALUES, Blocks, ranges
from fl.rewards import Participant

_BLOCKS_AT_ONCE = 1024
ROWS_BYTES = 32 << 20  # of all updates' values held at once, as floats
_DOUBT = 1e-9  # a float64 cosine of exact integers is right to far less


def share_stakes(participants: Sequence[Participant], *, threshold: str | Decimal | None) -> list[Participant]:
    """The participants with each group's stakes reduced to the weight of one; others are left as they are.

    Args:
        participants: Accepted updates, before `weigh`.
        threshold: Cosine from which two updates are one, as a decimal in (0, 1]: a decimal has one meaning everywhere. None groups
            nothing.
    """
    stakes = {}
    for group in duplicate_groups([participant.blocks for participant in participants], threshold=threshold):
        own = [participants[member].stake for member in group]
        together = sum(own)
        for member, stake in zip(group, own, strict=True):
            stakes[member] = max(own) * stake // together if together else 0
    return [
        replace(participant, stake=stakes[place]) if place in stakes else participant
        for place, participant in enumerate(participants)
    ]


def duplicate_groups(updates: Sequence[Blocks], *, threshold: str | Decimal | None) -> list[tuple[int, ...]]:
    """Groups of two or more updates that are nearly the same, each ascending, in the order of their first members.

    A zero update is like no other: it has no direction. Raises: ValueError for a threshold outside (0, 1].
    """
    if threshold is None:
        return []
    limit = Fraction(Decimal(threshold))
    if not 0 < limit <= 1:
        raise ValueError(f"the threshold is {threshold}; set a cosine above 0 and up to 1")
    parent = list(range(len(updates)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    rough = cosines(updates)
    squares: dict[int, int] = {}
    for first, second in np.argwhere(np.triu(rough >= float(limit) - _DOUBT, k=1)).tolist():
        if root(first) == root(second):
            continue
        sure = rough[first, second] > float(limit) + _DOUBT
        if sure or _reaches(updates, first, second, limit=limit, squares=squares):
            parent[max(root(first), root(second))] = min(root(first), root(second))
    groups: dict[int, list[int]] = {}
    for place in range(len(updates)):
        groups.setdefault(root(place), []).append(place)
    return [tuple(members) for members in groups.values() if len(members) > 1]


def cosines(updates: Sequence[Blocks]) -> NDArray[np.float64]:
    """Cosine of every two updates, shape (N, N); 0 with a zero update."""
    count = len(updates)
    products = np.zeros((count, count))
    blocks = len(updates[0]) if updates else 0
    at_once = max(1, ROWS_BYTES // (8 * BLOCK_VALUES * max(1, count)))
    rows = np.empty((count, min(at_once, blocks) * BLOCK_VALUES))
    for start in range(0, blocks, at_once):
        stop = min(start + at_once, blocks)
        piece = rows[:, : (stop - start) * BLOCK_VALUES]
        for row, update in zip(piece, updates, strict=True):
            row[:] = _decoded(update, slice(start, stop))
        products += piece @ piece.T
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)


def _decoded(update: Blocks, place: slice) -> NDArray[np.float32]:
    exponents = update.exponents[place]
    return Blocks(exponents=exponents, quanta=update.quanta[place], size=len(exponents) * BLOCK_VALUES).decode()


def _reaches(updates: Sequence[Blocks], first: int, second: int, *, limit: Fraction, squares: dict[int, int]) -> bool:
    for place in (first, second):
        if place not in squares:
            squares[place] = _product(updates[place], updates[place])
    product = _product(updates[first], updates[second])
    reach = limit.numerator**2 * squares[first] * squares[second]
    return product > 0 and product**2 * limit.denominator**2 >= reach


def _product(update: Blocks, other: Blocks) -> int:
    """⟨one, other⟩ in units of 2^−128, exactly."""
    dots = np.concatenate(
        [
            np.einsum(
                "ij,ij->i",
                *(each.quanta[part].astype(np.float64) for each in (update, other)),
            )
            for part in ranges(len(update), each=_BLOCKS_AT_ONCE)
        ]
    ).astype(np.int64)
    shifts = update.exponents.astype(np.int64) + other.exponents + 128
    return sum(dot << shift for dot, shift in zip(dots.tolist(), shifts.tolist(), strict=True))
