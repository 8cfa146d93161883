"""How long a masked update may be: the length that a round agrees on, and the random projections that hold everybody to it.

A client states the length of its update before anything is masked; the round's length R is their stake-weighted median, as in an
open task. Once all words are in, signs s_1 … s_m are drawn from their hash, and ⟨x, s_i⟩ of each client is told. Each has mean square
‖x‖², and the mean of m of them passes the bound τ · longest² of an honest client but for a chance of 10^−6 a round:

    P(mean > τ ‖x‖²) ≤ exp(−m/2 · (τ − 1 − ln τ))

The moments of a sum of random signs are at most those of a normal variable of its variance, so that the chi-square bound holds
(Achlioptas 2003, "Database-friendly random projections", lemma 5.2; Laurent and Massart 2000 for the tail).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from fl.rewards.weight import median_q64

FALSE_ALARMS = 1e-6  # of honest clients, a round
_STEP = 1 << 16  # the bound is a whole number of these parts, so that every machine has the same


def agreed_length(
    *, accounts: Sequence[str], stakes: Sequence[int], lengths: Sequence[int], cap: int, median: bool
) -> int:
    """The length that a masked round is held to, in units of 2^−64: at most the cap, and the weighted median of what was stated.

    Args:
        accounts: Of the roster.
        stakes: Wei, in the same order.
        lengths: As stated, units of 2^−64.
        cap: Likewise.
        median: Whether the weighted median counts too.
    """
    if not median or not accounts:
        return cap
    return min(cap, median_q64(stakes=stakes, norms=lengths, accounts=accounts))


@lru_cache(maxsize=256)
def bound(*, projections: int, clients: int) -> Fraction:
    """τ: how far the mean square of the projections of an honest client may be above its squared length."""
    from scipy.optimize import brentq  # noqa: PLC0415 - half a second, and every node reads this module

    needed = 2 * math.log(clients / FALSE_ALARMS) / projections
    found = brentq(lambda tau: tau - 1 - math.log(tau) - needed, 1.0, 4 + 4 * needed, xtol=1e-12)
    return Fraction(math.ceil(found * _STEP), _STEP)


def passes(projections: Sequence[int], *, longest: int, clients: int) -> bool:
    """Whether projections are those of an update of at most this length, as integers.

    Args:
        projections: As integers.
        longest: The most that ‖x‖ may come to.
        clients: Of the round.
    """
    if not projections:
        return True
    tau = bound(projections=len(projections), clients=clients)
    total = sum(projection * projection for projection in projections)
    return total * tau.denominator <= tau.numerator * len(projections) * longest * longest


def pass_chance(factor: float, *, projections: int, clients: int) -> float:
    """How likely an update of `factor` times the length that it may have goes unnoticed, for one that is spread over its values.

    Args:
        factor: Of the length that it may have.
        projections: How many signs are drawn.
        clients: Of the round.
    """
    from scipy.stats import chi2  # noqa: PLC0415 - as in `bound`

    tau = float(bound(projections=projections, clients=clients))
    return float(chi2.cdf(projections * tau / factor**2, projections))


def best_factor(*, projections: int, clients: int) -> tuple[float, float]:
    """What a client gains most by a longer update when to be noticed costs it the round: the factor, and its expected pay over 1."""
    factors = [1 + step / 200 for step in range(400)]
    gains = [factor * pass_chance(factor, projections=projections, clients=clients) for factor in factors]
    best = max(range(len(gains)), key=gains.__getitem__)
    return factors[best], gains[best]
