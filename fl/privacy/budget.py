"""What a task's noise has spent of privacy: ε at the spec's δ, by opacus' accountant of Rényi divergences.

**Of a client** (`noise=client`). A round shows a client's update twice: in the sum, and in its score. Along the direction every score is
its contribution, its own noise and the noise of its closed pairs; across it the sum is all there is. From the variances and the pairs
that stayed closed follows how much a round tells of each client at most, and so the multiplier of the one Gaussian mechanism that would
tell as much (Dong, Roth and Su 2019, "Gaussian differential privacy": composition of Gaussians adds 1/multiplier²). Every client takes
part in every round that it can, so no sub-sampling is counted.

**Of a row** (`noise=rows`). Each step of training draws every row with the same chance, from the node's cryptographic source, and shows
the noisy sum of what it drew: the sub-sampled Gaussian mechanism (Abadi et al. 2016, "Deep learning with differential privacy"; Mironov
et al. 2019 for its divergences). A round is as many of them as it has steps, whatever is then shown of the update.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fl.errors import ConfigError
from fl.plain_text import plural
from fl.privacy.graph import Pair
from fl.privacy.terms import PrivacyTerms

MOST_MULTIPLIER = 1000.0  # beyond which noise is all that is left
_ORDERS = [1 + order / 20 for order in range(1, 400)] + list(
    range(21, 2048, 8)
)  # of the Rényi divergences that are tried
# Of sub-sampled mechanisms the divergence of a broken order is a long series, and only where much is spent a small one is the best.
_SAMPLED_ORDERS = [*range(2, 64), 72, 80, 96, 128, 192, 256, 512, 1024]
_SMALL_ORDERS = [1 + order / 10 for order in range(1, 20)]
_MUCH = 5.0  # multiplier below which they are tried
_LEAST_ROW_MULTIPLIER = 0.1  # below which one step spends hundreds
_SHOWN_TWICE = 2  # in the sum and in the score, each under the multiplier; a round's own figure counts the pairs that stayed closed


def epsilon(multipliers: Iterable[float], *, delta: float) -> float:
    """ε of Gaussian mechanisms after each other. Raises: ConfigError without the extra."""
    counted: dict[float, int] = {}
    for multiplier in multipliers:
        counted[multiplier] = counted.get(multiplier, 0) + 1
    return _epsilon(tuple((multiplier, 1.0, rounds) for multiplier, rounds in sorted(counted.items())), delta)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a round of training draws rows."""

    steps: int
    batch: int  # rows that a step draws on average
    rows: int  # of the client, or of whoever has fewest

    @property
    def rate(self) -> float:
        """The chance of a row to be in a step."""
        return min(1.0, self.batch / self.rows)

    @classmethod
    def of(cls, spec: Mapping[str, Any], *, rows: int = 0) -> Sampling | None:
        """That of a spec's rounds; None without noise on rows.

        Args:
            spec: Its values; a check of its bounds found steps and batch there.
            rows: Of the client whose budget is counted; 0: of whoever has fewest.
        """
        terms = PrivacyTerms.of(spec.get("privacy"))
        if terms.noise != "rows":
            return None
        return cls(steps=spec["steps"], batch=spec["batch_size"], rows=max(rows, terms.rows))


@lru_cache(maxsize=4096)
def _epsilon(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """ε of mechanisms by multiplier, chance of being in it, and how many there are."""
    if not any(count for _, _, count in history):
        return 0.0
    try:
        from opacus.accountants import RDPAccountant  # noqa: PLC0415 - an extra, and it imports torch
    except ImportError:
        raise ConfigError("privacy.noise needs the package opacus; run `pip install 'fairshare[privacy]'`") from None
    accountant = RDPAccountant()
    accountant.history = list(history)
    sampled = any(rate < 1 for _, rate, _ in history)
    small = _SMALL_ORDERS if min(multiplier for multiplier, _, _ in history) < _MUCH else []
    orders = [*small, *_SAMPLED_ORDERS] if sampled else _ORDERS
    with warnings.catch_warnings():
        # Beyond the orders that are looked at ε could be a little smaller: it is told as more than it is.
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha")
        return float(accountant.get_epsilon(delta, alphas=orders))


def planned(terms: PrivacyTerms, *, rounds: int, sampling: Sampling | None = None) -> float:
    """ε that a task's rounds come to at most, but for unlucky draws.

    Args:
        sampling: Of the training, with noise on rows.
    """
    if sampling is not None:
        return _of_rows(terms.sigma, sampling=sampling, rounds=rounds, delta=float(terms.delta))
    return epsilon([_of_a_round(terms, terms.sigma)] * rounds, delta=float(terms.delta))


def _of_rows(multiplier: float, *, sampling: Sampling, rounds: int, delta: float) -> float:
    return _epsilon(((multiplier, sampling.rate, sampling.steps * rounds),), delta)


def _of_a_round(terms: PrivacyTerms, multiplier: float) -> float:
    return multiplier / math.sqrt(_SHOWN_TWICE) if terms.masked else multiplier


def multiplier_for(target: float, *, rounds: int, terms: PrivacyTerms, sampling: Sampling | None = None) -> str:
    """The smallest multiplier, as a spec holds it, with which so many rounds spend at most `target`.

    Args:
        target: ε.
        rounds: Of the task.
        terms: Of its privacy.
        sampling: Of the training, with noise on rows.
    Raises: ConfigError that says how many rounds the target allows, if it allows fewer.
    """
    delta = float(terms.delta)

    def spent(multiplier: float, count: int) -> float:
        if sampling is not None:
            return _of_rows(multiplier, sampling=sampling, rounds=count, delta=delta)
        return epsilon([_of_a_round(terms, multiplier)] * count, delta=delta)

    if spent(MOST_MULTIPLIER, rounds) > target:
        allowed = _most(rounds, lambda count: spent(MOST_MULTIPLIER, count) <= target)
        raise ConfigError(
            f"privacy.epsilon is {target:g} at privacy.delta {terms.delta}: with noise of at most {MOST_MULTIPLIER:g} times "
            + ("an update " if sampling is None else "a row's gradient ")
            + f"it allows {plural(allowed, 'round')} and not {rounds}; set a larger epsilon"
            + (f", or task.rounds={allowed}" if allowed else "")
            + _fewer_steps(target, rounds=rounds, sampling=sampling, delta=delta)
        )
    low, high = 0.0 if sampling is None else _LEAST_ROW_MULTIPLIER, MOST_MULTIPLIER
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if middle and spent(middle, rounds) <= target else (middle, high)
    return f"{math.ceil(high * 1000) / 1000:.3f}"


def _fewer_steps(target: float, *, rounds: int, sampling: Sampling | None, delta: float) -> str:
    """How many steps a round may have for all rounds to keep to a target, in words."""
    if sampling is None:
        return ""

    allowed = _most(
        sampling.steps,
        lambda steps: _epsilon(((MOST_MULTIPLIER, sampling.rate, steps * rounds),), delta) <= target,
    )
    rate = f"{sampling.batch} of {sampling.rows} rows a step"
    return f", or task.steps={allowed} ({rate})" if allowed else f": {rate} are too many; set a smaller task.batch_size"


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `count` that fits, where all below one that does fit too; 0 for none."""
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


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
