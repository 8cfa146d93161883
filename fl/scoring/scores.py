"""What a scorer gives back: scores, how sure they are, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Scores of one round's clients.

    `errors` are standard errors: over validation samples (direction) or over the rule's own draws (sampled rules), as
    `diagnostics["error"]` says.
    """

    values: NDArray[np.float64]  # shape (N,), in units of the utility: loss taken off, accuracy added
    errors: NDArray[np.float64] | None = None  # shape (N,)
    covariance: NDArray[np.float64] | None = None  # of the scores, shape (N, N): errors² are its diagonal
    by_group: NDArray[np.float64] | None = None  # parts of each score by validation group, shape (N, G)
    group_names: tuple[str, ...] = ()
    diagnostics: dict[str, float | int | str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


def untold_pairs(scores: Scores, *, quantile: float = Z_95) -> list[tuple[int, int]]:
    """Pairs of clients whose scores cannot be told apart at 95 %: |φ_i − φ_j| ≤ 1.96 · standard error of the difference.

    With a covariance the difference is tested sample by sample (a paired test): two clients that do well on the same rows
    are told apart by less than their own errors suggest. Each pair is tested by itself: of twenty pairs that are equal,
    one is expected to look different. Two scores that are equal to the bit are never told apart.
    """
    if scores.errors is None:
        return []
    covariance = np.diag(scores.errors**2) if scores.covariance is None else scores.covariance
    variances = np.diag(covariance)
    with np.errstate(invalid="ignore"):  # an infinite error less an infinite covariance is no number, and tells nothing
        spread = np.sqrt(np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0))
    gaps = np.abs(scores.values[:, None] - scores.values[None, :])
    untold = ~(gaps > quantile * spread)
    return [(i, j) for i in range(len(scores)) for j in range(i + 1, len(scores)) if untold[i, j]]


def rank_correlation(values: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; NaN where a side has one value only, or fewer than two."""
    if len(values) < 2:
        return float("nan")
    ranks = [_ranks(np.asarray(side, dtype=np.float64)) for side in (values, other)]
    centred = [rank - rank.mean() for rank in ranks]
    norms = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / norms if norms else float("nan")


def relative_l2(found: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    """‖found − exact‖ / ‖exact‖."""
    return float(np.linalg.norm(np.asarray(found) - exact) / max(float(np.linalg.norm(exact)), 1e-300))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]
