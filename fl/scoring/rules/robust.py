"""Scores for rules that pick each coordinate from another client: median, trimmed mean, Bulyan.

Such a rule's step is Σ_k s_kj Δ_kj in coordinate j, where s_kj is the share that it took from client k there. The score is that part's
product with the direction of the step that the rule really made:

    φ_k = Σ_j s_kj Δ_kj d_j

Efficient up to the quadrature, and 0 for whoever is trimmed everywhere. Cost: 3 gradients and a sort per coordinate; all updates are
read block by block of coordinates. Source: the parts are ours; the rules are those of Yin et al. 2018, arXiv:1803.01498 (median,
trimmed mean) and El Mhamdi et al. 2018, arXiv:1802.07927 (Bulyan), as Flower computes them. They ignore stakes, so weights do too.

**Attested, not provable**: the shares depend on everybody's update, so no inner product of two vectors gives the score and the
contract cannot check it; it stands on the evaluators' signatures alone. Lacks the split property: two identities count twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.scoring.direction import direction
from fl.scoring.inputs import RoundInputs, UnscorableUpdate
from fl.scoring.scores import Scores

COLUMNS = 4096  # coordinates held at once


@dataclass(frozen=True, kw_only=True)
class MedianShare:
    """scorer=median: the middle client of each coordinate, or the two in the middle by half."""

    nodes: int = 3

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round whose step was the coordinate-wise median; draws nothing."""
        return _score(inputs, lambda rows: rank_shares(rows, _median_ranks(len(rows))), nodes=self.nodes)


@dataclass(frozen=True, kw_only=True)
class TrimmedMeanShare:
    """scorer=trimmed_mean: everybody but the `beta` lowest and highest of each coordinate."""

    beta: float = 0.2  # as in Flower's FedTrimmedAvg
    nodes: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 0.5:
            raise ValueError(f"beta is {self.beta}; set 0 to below 0.5")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round whose step was the trimmed mean; draws nothing."""

        def shares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            cut, ranks = int(self.beta * len(rows)), np.zeros(len(rows))
            ranks[cut : len(rows) - cut] = 1 / max(1, len(rows) - 2 * cut)
            return rank_shares(rows, ranks)

        return _score(inputs, shares, nodes=self.nodes)


@dataclass(frozen=True, kw_only=True)
class BulyanShare:
    """scorer=bulyan: of the clients that MultiKrum selects, the nearest to each coordinate's median."""

    malicious: int = 0  # Flower's num_malicious_nodes; a round needs 4·malicious + 3 clients
    nodes: int = 3

    def __post_init__(self) -> None:
        if self.malicious < 0:
            raise ValueError(f"malicious is {self.malicious}; set 0 or more")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round whose step was Bulyan's; draws nothing. Raises: ValueError for too few clients."""
        if 0 < len(inputs) < 4 * self.malicious + 3:
            raise ValueError(
                f"Bulyan with {self.malicious} malicious clients needs {4 * self.malicious + 3}, the round has {len(inputs)}; "
                "lower malicious"
            )
        theta = len(inputs) - 2 * self.malicious
        chosen = _multikrum(inputs, malicious=self.malicious, count=theta)

        def shares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            found = np.zeros_like(rows)
            picked = rows[chosen]
            gaps = np.abs(picked - np.median(picked, axis=0))
            nearest = np.zeros(theta)
            nearest[: theta - 2 * self.malicious] = 1 / (theta - 2 * self.malicious)
            found[chosen] = rank_shares(gaps, nearest)
            return found

        return _score(inputs, shares, nodes=self.nodes)


def rank_shares(rows: NDArray[np.float64], by_rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each client has of each coordinate, given what each rank has; shape (N, B).

    Clients with the very same value share what their ranks have together.
    """
    order = np.argsort(rows, axis=0, kind="stable")
    shares = np.empty_like(rows)
    np.put_along_axis(shares, order, np.broadcast_to(by_rank[:, None], rows.shape), axis=0)
    ordered = np.take_along_axis(rows, order, axis=0)
    tied = np.flatnonzero((ordered[1:] == ordered[:-1]).any(axis=0))
    for column in tied:
        _, group = np.unique(rows[:, column], return_inverse=True)
        shares[:, column] = (np.bincount(group, weights=shares[:, column]) / np.bincount(group))[group]
    return shares


def _median_ranks(clients: int) -> NDArray[np.float64]:
    ranks = np.zeros(clients)
    if clients:
        ranks[[(clients - 1) // 2, clients // 2]] = 0.5
        if clients % 2:
            ranks[clients // 2] = 1.0
    return ranks


def _score(inputs: RoundInputs, shares: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, nodes: int) -> Scores:
    started = time.perf_counter()
    size = len(inputs.base)
    step = np.zeros(size)
    parts = []  # what each client put where, for the second pass
    for start in range(0, size if len(inputs) else 0, COLUMNS):
        rows = _block(inputs, slice(start, start + COLUMNS))
        part = shares(rows) * rows
        step[start : start + COLUMNS] = part.sum(axis=0)
        parts.append(part)
    found = direction(inputs.game, base=inputs.base, step=step, nodes=nodes)
    values = np.zeros(len(inputs))
    for number, part in enumerate(parts):
        values += part @ found[number * COLUMNS : (number + 1) * COLUMNS]
    return Scores(
        values=values,
        diagnostics={
            "evaluations": 0,
            "gradients": nodes,
            "seconds": time.perf_counter() - started,
            "standing": "attested, not provable on chain",
        },
    )


def _block(inputs: RoundInputs, place: slice) -> NDArray[np.float64]:
    rows = np.array([np.asarray(inputs.updates[client][place], dtype=np.float64) for client in range(len(inputs))])
    if (bad := ~np.isfinite(rows).all(axis=1)).any():
        raise UnscorableUpdate(client=int(np.argmax(bad)))
    return rows


def _multikrum(inputs: RoundInputs, *, malicious: int, count: int) -> NDArray[np.int64]:
    """Clients whose nearest neighbours are nearest, `count` of them: Flower's `select_multikrum` on updates."""
    products = np.zeros((len(inputs), len(inputs)))
    if not len(inputs):
        return np.zeros(0, dtype=np.int64)
    for start in range(0, len(inputs.base), COLUMNS):
        rows = _block(inputs, slice(start, start + COLUMNS))
        products += rows @ rows.T
    norms = np.diag(products)
    distances = norms[:, None] + norms[None, :] - 2 * products
    nearest = max(1, len(inputs) - malicious - 2)
    # A client's own place is not counted, whatever rounding makes of its distance to itself.
    np.fill_diagonal(distances, -np.inf)
    scores = np.sort(distances, axis=1)[:, 1 : nearest + 1].sum(axis=1)
    return np.sort(np.argsort(scores, kind="stable")[:count])
