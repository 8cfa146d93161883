"""The score of one update: weight · ⟨update, direction⟩, bit-exact on every machine.

    dot_j     = Σ u_jk · g_jk                                 exact in int64
    partial_j = floor(dot_j · 2^(eu_j + eg_j + 40))            unit: 2^−40 of loss
    score     = floor(Σ_j partial_j · weight / 2^32)

Source: the Aumann–Shapley value of the round's fixed-weight game (Aumann and Shapley 1974, "Values of Non-Atomic
Games"), whose direction is one vector for all clients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.codec import Blocks

SCORE_FRACTION_BITS = 40  # a score of 2^40 is one whole unit of loss
_BLOCKS_AT_ONCE = 1024  # of which the floats are 2 MB: what is larger leaves a core's cache


def partials(update: Blocks, direction: Blocks, *, slopes: Sequence[NDArray[np.float64]] | None = None) -> list[int]:
    """The block sums of ⟨update, direction⟩, one per block, in units of 2^−40 of loss.

    Args:
        update: The client's blocks.
        direction: The round's direction, as many values.
        slopes: `slopes_of` the direction, for who asks about many updates.
    """
    if update.size != direction.size:
        raise ValueError(f"the update has {update.size} values and the direction {direction.size}")
    # float64 products of two 15-bit integers and their 256-fold sums stay below 2^53: exact in any order.
    parts = [
        np.einsum("ij,ij->i", _floats(update.quanta[start : start + len(part)]), part)
        for start, part in zip(range(0, len(update), _BLOCKS_AT_ONCE), slopes or slopes_of(direction), strict=True)
    ]
    dots = np.concatenate(parts)
    shifts = update.exponents.astype(np.int64) + direction.exponents + SCORE_FRACTION_BITS
    # Python's shifts floor towards minus infinity and never overflow, and both matter here.
    return [
        dot << shift if shift >= 0 else dot >> -shift
        for dot, shift in zip(dots.astype(np.int64).tolist(), shifts.tolist(), strict=True)
    ]


def slopes_of(direction: Blocks) -> Iterable[NDArray[np.float64]]:
    """A direction's quanta as `partials` takes them, in parts that a core's cache holds; made one by one, for nobody to keep."""
    starts = range(0, len(direction), _BLOCKS_AT_ONCE)
    return (_floats(direction.quanta[start : start + _BLOCKS_AT_ONCE]) for start in starts)


def _floats(quanta: NDArray[np.int16]) -> NDArray[np.float64]:
    # By way of float32, which holds 16 bits too: bytes in the wire's order are turned into it three times as fast.
    return quanta.astype(np.float32).astype(np.float64)


def score_of(raw: int, *, weight: int) -> int:
    """floor(raw · weight / 2^32): a raw sum of partials, in the units of the round's weights."""
    return (raw * weight) >> 32


def score(
    update: Blocks, direction: Blocks, *, weight: int, slopes: Sequence[NDArray[np.float64]] | None = None
) -> int:
    """Score of an update in units of 2^−40 of loss: what it took off the loss, as the round was aggregated.

    Args:
        update: The client's blocks.
        direction: The round's direction, as many values.
        weight: The update's weight, in units of 2^−32.
        slopes: As of `partials`.
    """
    return score_of(sum(partials(update, direction, slopes=slopes)), weight=weight)


def quantised(value: float) -> int:
    """A score that another rule computed in floating point, rounded once to units of 2^−40, halves to even.

    Raises: ValueError for NaN, infinity, or more than 2^40 units of the utility, which no loss comes near.
    """
    if not math.isfinite(value) or abs(value) > 2.0**SCORE_FRACTION_BITS:
        raise ValueError(f"the score is {value}; it has to be a number of at most 2^40")
    return round(math.ldexp(value, SCORE_FRACTION_BITS))
