"""What an update weighs in a round: its stake's share, less what the round's length takes.

a_k = stake_k / Σ stake, factor_k = min(1, R / ‖Δ_k‖), weight_k = round(a_k · factor_k · 2^32). R is the stake-weighted median
of the round's lengths, and at most the spec's cap: an update that is longer counts as if it had that length, so that
multiplying an honest one gains nothing. Everything is an integer or an exact fraction, the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import isqrt

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
    return isqrt(update.squared_q128)


def cap_q64(cap: str | Decimal) -> int:
    """A norm cap written in decimal, in units of 2^−64, rounded down; 0 or less is no cap that anybody can meet.

    The spec carries the cap as text because a decimal has one meaning, where a float's text has several.
    """
    value = int(Fraction(Decimal(cap)) * (1 << 64))
    if value <= 0:
        raise ValueError(f"the norm cap is {cap}; set it above 0")
    return value


def median_q64(*, stakes: Sequence[int], norms: Sequence[int], accounts: Sequence[str]) -> int:
    """The stake-weighted median of a round's lengths, in units of 2^−64; 0 for no updates.

    The first norm, ascending by (norm, account), at which twice the summed stake reaches the round's total. Whoever holds less
    than half of the stake cannot push it beyond what the others sent.

    Args:
        stakes: Stake of each participant in wei, 0 or more.
        norms: `norm_q64` of each update.
        accounts: 0x addresses, which break ties.
    """
    summed, total = 0, sum(stakes)
    for norm, _, stake in sorted(zip(norms, (int(account, 16) for account in accounts), stakes, strict=True)):
        summed += stake
        if 2 * summed >= total:
            return norm
    return 0


def weights_q32(
    *, stakes: Sequence[int], norms: Sequence[int], cap: int, selected: Sequence[int] | None = None
) -> list[int]:
    """Weights of one round's accepted updates, in units of 2^−32.

    Args:
        stakes: Stake of each participant in wei, 0 or more.
        norms: `norm_q64` of each update.
        cap: The round's length R: what a longer update is held to, in units of 2^−64.
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
