"""What a task's noise has spent of a client's privacy: ε at the spec's δ, by opacus' accountant of Rényi divergences.

A round shows a client's update twice: in the sum, and in its score. Along the direction every score is its contribution, its own noise
and the noise of its closed pairs; across it the sum is all there is. From the variances and the pairs that stayed closed follows how
much a round tells of each client at most, and so the multiplier of the one Gaussian mechanism that would tell as much
(Dong, Roth and Su 2019, "Gaussian differential privacy": composition of Gaussians adds 1/multiplier²). Every client takes part in every
round that it can, so no sub-sampling is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from fl.errors import ConfigError
from fl.privacy.graph import Pair
from fl.privacy.terms import PrivacyTerms

MOST_MULTIPLIER = 1000.0  # beyond which noise is all that is left
_ORDERS = [1 + order / 20 for order in range(1, 400)] + list(
    range(21, 2048, 8)
)  # of the Rényi divergences that are tried
_SHOWN_TWICE = 2  # in the sum and in the score, each under the multiplier; a round's own figure counts the pairs that stayed closed


def epsilon(multipliers: Iterable[float], *, delta: float) -> float:
    """ε of Gaussian mechanisms after each other. Raises: ConfigError without the extra."""
    counted: dict[float, int] = {}
    for multiplier in multipliers:
        counted[multiplier] = counted.get(multiplier, 0) + 1
    return _epsilon(tuple(sorted(counted.items())), delta)


@lru_cache(maxsize=4096)
def _epsilon(history: tuple[tuple[float, int], ...], delta: float) -> float:
    if not history:
        return 0.0
    try:
        from opacus.accountants import RDPAccountant  # noqa: PLC0415 - an extra, and it imports torch
    except ImportError:
        raise ConfigError("privacy.noise needs the package opacus; run `pip install 'fairshare[privacy]'`") from None
    accountant = RDPAccountant()
    accountant.history = [(multiplier, 1.0, rounds) for multiplier, rounds in history]
    return float(accountant.get_epsilon(delta, alphas=_ORDERS))


def planned(terms: PrivacyTerms, *, rounds: int) -> float:
    """ε that a task's rounds come to at most, but for unlucky draws."""
    return epsilon([_of_a_round(terms, terms.sigma)] * rounds, delta=float(terms.delta))


def _of_a_round(terms: PrivacyTerms, multiplier: float) -> float:
    return multiplier / math.sqrt(_SHOWN_TWICE) if terms.masked else multiplier


def multiplier_for(target: float, *, rounds: int, terms: PrivacyTerms) -> str:
    """The smallest multiplier, as a spec holds it, with which so many rounds spend at most `target`.

    Raises: ConfigError that says how many rounds the target allows, if it allows fewer.
    """
    delta = float(terms.delta)

    def spent(multiplier: float, count: int) -> float:
        return epsilon([_of_a_round(terms, multiplier)] * count, delta=delta)

    if spent(MOST_MULTIPLIER, rounds) > target:
        allowed = next((count for count in range(rounds, 0, -1) if spent(MOST_MULTIPLIER, count) <= target), 0)
        raise ConfigError(
            f"privacy.epsilon is {target:g} at privacy.delta {terms.delta}: with noise of at most {MOST_MULTIPLIER:g} times an update "
            f"it allows {allowed} rounds and not {rounds}; set a larger epsilon, or task.rounds={allowed or 1}"
        )
    low, high = 0.0, MOST_MULTIPLIER
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if middle and spent(middle, rounds) <= target else (middle, high)
    return f"{math.ceil(high * 1000) / 1000:.3f}"


def open_multiplier(terms: PrivacyTerms) -> float:
    """Of one round of an open task, whose updates are noisy each by itself."""
    return terms.sigma


def masked_multiplier(
    accounts: Sequence[str],
    *,
    sensitivities: Mapping[str, float],
    own: float,
    pairs: Mapping[Pair, float],
) -> float:
    """Of one masked round: that of the client of whom it tells most.

    Args:
        accounts: Whose words are in.
        sensitivities: Of each, the most that its contribution is long.
        own: Variance of the noise that each added to each of its values.
        pairs: Variance of the noise of each pair that stayed closed, along the direction's unit vector.
    Returns: infinity for nobody.
    """
    if not accounts:
        return math.inf
    place = {account: number for number, account in enumerate(accounts)}
    # Scores: contributions + own noise + pair noise, whose signs cancel: a Laplacian.
    covariance = own * np.eye(len(accounts))
    for (client, other), variance in pairs.items():
        a, b = place[client], place[other]
        covariance[a, a] += variance
        covariance[b, b] += variance
        covariance[a, b] -= variance
        covariance[b, a] -= variance
    along = np.diag(np.linalg.inv(covariance))
    across = 1 / (own * len(accounts))
    told = max(sensitivities[account] ** 2 * max(along[place[account]], across) for account in accounts)
    return 1 / math.sqrt(told)
