"""What an update weighs in a round: its stake's share, less what the norm cap takes.

a_k = stake_k / Σ stake, clip_k = min(1, cap / ‖Δ_k‖), weight_k = round(a_k · clip_k · 2^32). Everything is an integer or
an exact fraction, so the weight has the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import isqrt

import numpy as np

from fl.codec import Blocks
from fl.errors import FairshareError

WEIGHT_ONE = 1 << 32  # the weight of an update that is the whole round


class EmptyRound(FairshareError):
    """A round has participants, but none of them has a stake."""

    def __str__(self) -> str:
        return (
            "the stakes of this round's participants add up to 0; only clients that joined with a stake can take part"
        )


def norm_q64(update: Blocks) -> int:
    """Euclidean norm of the decoded update, rounded down, in units of 2^−64."""
    squares = np.einsum("ij,ij->i", update.quanta, update.quanta, dtype=np.int64)  # ≤ 2^38 a block: exact
    # q² · 2^(2e) in units of 2^−128 is q² << 2(e + 64), and e ≥ −64 keeps the shift whole.
    total = 0
    for exponent in np.unique(update.exponents):
        total += int(squares[update.exponents == exponent].sum()) << (2 * (int(exponent) + 64))
    return isqrt(total)


def cap_q64(cap: str | Decimal) -> int:
    """A norm cap written in decimal, in units of 2^−64, rounded down; 0 or less is no cap that anybody can meet.

    The spec carries the cap as text because a decimal has one meaning, where a float's text has several.
    """
    value = int(Fraction(Decimal(cap)) * (1 << 64))
    if value <= 0:
        raise ValueError(f"the norm cap is {cap}; set it above 0")
    return value


def weights_q32(
    *, stakes: Sequence[int], norms: Sequence[int], cap: int, selected: Sequence[int] | None = None
) -> list[int]:
    """Weights of one round's accepted updates, in units of 2^−32.

    Args:
        stakes: Stake of each participant in wei, 0 or more.
        norms: `norm_q64` of each update.
        cap: `cap_q64` of the task.
        selected: 1 for an update that the aggregation rule took and 0 for one that it left out (Krum, MultiKrum);
            all 1 by default. The stakes of those left out do not count.
    Returns: one weight per participant; together at most 2^32 but for the rounding, half a unit each.
    Raises: EmptyRound if no selected participant has a stake.
    """
    counted = [stake * flag for stake, flag in zip(stakes, selected or [1] * len(stakes), strict=True)]
    total = sum(counted)
    if total <= 0 and counted:
        raise EmptyRound
    # One fraction, rounded once: stake·min(norm, cap) / (total·norm). Exact halves go up.
    return [
        _round_half_up(stake * min(norm, cap) * WEIGHT_ONE, total * norm)
        if norm
        else _round_half_up(stake * WEIGHT_ONE, total)
        for stake, norm in zip(counted, norms, strict=True)
    ]


def _round_half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
