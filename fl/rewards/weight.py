"""What an update weighs in a round: its stake's share, less what the round's length takes.

a_k = stake_k / Σ stake, factor_k = min(1, R / ‖Δ_k‖), weight_k = floor(a_k · factor_k · 2^32). R is the stake-weighted median
of the round's lengths but those of 0, and at most the spec's cap: an update that is longer counts as if it had that length, so
that multiplying an honest one gains nothing. Rounded down, a stake weighs no more under many names than
under one. Everything is an integer or an exact fraction, the same bits on every machine.
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
    """The stake-weighted median of a round's lengths above 0, in units of 2^−64; 0 where there are none.

    The first norm, ascending by (norm, account), at which twice the summed stake reaches the total of those who sent something. A
    zero update says nothing of how long the others should be, and counted, half of the stake could stop a task by sending nothing.
    Whoever holds less than half of that total pushes the median neither above the others' longest update nor below their shortest;
    with exactly half it can still be made short, which pays nobody more, but not long.

    Args:
        stakes: Stake of each participant in wei, 0 or more.
        norms: `norm_q64` of each update.
        accounts: 0x addresses, which break ties.
    """
    sent = sorted(
        (norm, int(account, 16), stake)
        for norm, account, stake in zip(norms, accounts, stakes, strict=True)
        if norm and stake
    )
    summed, total = 0, sum(stake for _, _, stake in sent)
    for norm, _, stake in sent:
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
    Returns: one weight per participant; together at most 2^32, and less by under a unit each where lengths take nothing.
    Raises: EmptyRound if no selected participant has a stake.
    """
    counted = [stake * flag for stake, flag in zip(stakes, selected or [1] * len(stakes), strict=True)]
    total = sum(counted)
    if total <= 0 and counted:
        raise EmptyRound
    # One fraction, rounded once, down: stake·min(norm, cap) / (total·norm).
    return [
        stake * min(norm, cap) * WEIGHT_ONE // (total * norm) if norm else stake * WEIGHT_ONE // total
        for stake, norm in zip(counted, norms, strict=True)
    ]
