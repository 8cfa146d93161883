"""Scores for rules that pick each coordinate from another client: median, trimmed mean, Bulyan.

Such a rule's step is Σ_k s_kj Δ_kj in coordinate j, where s_kj is the share that it took from client k there. The score is that part's
product with the direction of the step that the rule really made:

    φ_k = Σ_j s_kj Δ_kj d_j

Efficient up to the quadrature, and 0 for whoever is trimmed everywhere. Cost: 3 gradients and two sorts per coordinate; all updates are
read block by block of coordinates. Source: the parts are ours; the rules are those of Yin et al. 2018, arXiv:1803.01498 (median,
trimmed mean) and El Mhamdi et al. 2018, arXiv:1802.07927 (Bulyan), as Flower computes them: on models in float32, after the norm cap.
They ignore stakes, so weights do too.

**Attested, not provable**: the shares depend on everybody's update, so no inner product of two vectors gives the score and the
contract cannot check it; it stands on the evaluators' signatures alone. Lacks the split property: two identities count twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from numpy.typing import NDArray

from fl.scoring.direction import direction
from fl.scoring.inputs import RoundInputs, UnscorableUpdate
from fl.scoring.scores import Scores

BLOCK_BYTES = 32 << 20  # of updates held at once
STANDING = "attested, not provable on chain"


class RobustRule(Protocol):
    """A rule that picks coordinates, with what each client has of them."""

    @property
    def nodes(self) -> int:
        """Quadrature nodes of the direction."""
        ...

    def taken(self, inputs: RoundInputs) -> NDArray[np.int64]:
        """Clients by number whose models the rule looks at, ascending; none where it skips the round."""
        ...

    def shares(self, models: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each of those clients has of each coordinate; columns sum to 1. Shape (T, B) → (T, B)."""
        ...

    def aggregate(self, models: NDArray[np.float32]) -> NDArray[np.floating]:
        """The rule's own model, by Flower's arithmetic. Shape (T, B) → (B,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class MedianShare:
    """scorer=median: the middle client of each coordinate, or the two in the middle by half."""

    nodes: int = 3

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round whose step was the coordinate-wise median; draws nothing."""
        return _score(self, inputs)

    def taken(self, inputs: RoundInputs) -> NDArray[np.int64]:
        """Everybody."""
        return np.arange(len(inputs))

    def shares(self, models: NDArray[np.float32]) -> NDArray[np.float64]:
        """By rank."""
        ranks = np.zeros(len(models))
        ranks[[(len(models) - 1) // 2, len(models) // 2]] = 1.0 if len(models) % 2 else 0.5
        return rank_shares(models, ranks)

    def aggregate(self, models: NDArray[np.float32]) -> NDArray[np.floating]:
        """The median."""
        return np.median(models, axis=0)


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
        return _score(self, inputs)

    def taken(self, inputs: RoundInputs) -> NDArray[np.int64]:
        """Everybody."""
        return np.arange(len(inputs))

    def shares(self, models: NDArray[np.float32]) -> NDArray[np.float64]:
        """By rank."""
        cut, ranks = int(self.beta * len(models)), np.zeros(len(models))
        ranks[cut : len(models) - cut] = 1 / (len(models) - 2 * cut)
        return rank_shares(models, ranks)

    def aggregate(self, models: NDArray[np.float32]) -> NDArray[np.floating]:
        """The mean of those who are left."""
        return trim_mean(models, self.beta)


@dataclass(frozen=True, kw_only=True)
class BulyanShare:
    """scorer=bulyan: of the clients that MultiKrum selects, the nearest to each coordinate's median.

    With fewer than 4·malicious + 3 clients Flower's Bulyan skips the round, so everybody scores 0.
    """

    malicious: int = 0  # Flower's num_malicious_nodes
    nodes: int = 3

    def __post_init__(self) -> None:
        if self.malicious < 0:
            raise ValueError(f"malicious is {self.malicious}; set 0 or more")

    @property
    def least_clients(self) -> int:
        """Clients without whom Bulyan skips a round."""
        return 4 * self.malicious + 3

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round whose step was Bulyan's; draws nothing."""
        return _score(self, inputs)

    def taken(self, inputs: RoundInputs) -> NDArray[np.int64]:
        """The clients that MultiKrum selected: by the round's own weights of 0, else by their updates."""
        if len(inputs) < self.least_clients:
            return np.zeros(0, dtype=np.int64)
        count = len(inputs) - 2 * self.malicious
        weighing = np.flatnonzero(inputs.weights)
        return weighing if len(weighing) == count else _multikrum(inputs, malicious=self.malicious, count=count)

    def shares(self, models: NDArray[np.float32]) -> NDArray[np.float64]:
        """By how near a client is to the median."""
        gaps = np.abs(models - np.median(models, axis=0))
        ranks = np.zeros(len(models))
        ranks[: self._kept(models)] = 1 / self._kept(models)
        return rank_shares(gaps, ranks)

    def aggregate(self, models: NDArray[np.float32]) -> NDArray[np.floating]:
        """The mean of those who are nearest to the median."""
        return aggregate_n_closest_weights([np.median(models, axis=0)], [[row] for row in models], self._kept(models))[
            0
        ]

    def _kept(self, models: NDArray[np.float32]) -> int:
        return len(models) - 2 * self.malicious


def rank_shares(rows: NDArray[np.floating], by_rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each client has of each coordinate, given what each rank has; shape (N, B).

    Clients with the very same value share what their ranks have together.
    """
    order = np.argsort(rows, axis=0, kind="stable")
    shares = np.empty(rows.shape)
    np.put_along_axis(shares, order, np.broadcast_to(by_rank[:, None], rows.shape), axis=0)
    ordered = np.take_along_axis(rows, order, axis=0)
    tied = np.flatnonzero((ordered[1:] == ordered[:-1]).any(axis=0))
    for column in tied:
        _, group = np.unique(rows[:, column], return_inverse=True)
        shares[:, column] = (np.bincount(group, weights=shares[:, column]) / np.bincount(group))[group]
    return shares


def robust_step(rule: RobustRule, inputs: RoundInputs) -> NDArray[np.float64]:
    """The step that the rule made, Σ_k s_k ∘ Δ_k, shape (P,); zeros where it skipped the round."""
    step = np.zeros(len(inputs.base))
    taken = rule.taken(inputs)
    for place, updates, models in _blocks(inputs, taken):
        step[place] = (rule.shares(models) * updates).sum(axis=0)
    return step


def robust_model(rule: RobustRule, inputs: RoundInputs) -> NDArray[np.float32]:
    """The model that the rule made, as Flower computes it, shape (P,); the base where it skipped the round."""
    model = np.array(inputs.base, dtype=np.float32)
    for place, _, models in _blocks(inputs, rule.taken(inputs)):
        model[place] = rule.aggregate(models)
    return model


def _score(rule: RobustRule, inputs: RoundInputs) -> Scores:
    started = time.perf_counter()
    found = inputs.direction
    if found is None:
        found = direction(inputs.game, base=inputs.base, step=robust_step(rule, inputs), nodes=rule.nodes)
    values = np.zeros(len(inputs))
    taken = rule.taken(inputs)
    for place, updates, models in _blocks(inputs, taken):
        values[taken] += (rule.shares(models) * updates) @ found[place]
    return Scores(
        values=values,
        diagnostics={
            "evaluations": 0,
            "gradients": 0 if inputs.direction is not None else rule.nodes,
            "seconds": time.perf_counter() - started,
            "standing": STANDING,
        },
    )


def _blocks(
    inputs: RoundInputs, clients: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float32]]]:
    """Coordinates in blocks: their place, the clients' updates there and their models, shape (T, B) each."""
    columns = max(1024, BLOCK_BYTES // (8 * max(1, len(clients))))
    for start in range(0, len(inputs.base) if len(clients) else 0, columns):
        place = slice(start, start + columns)
        rows = np.array([inputs.clipped(client)[place] for client in clients.tolist()])
        if (bad := ~np.isfinite(rows).all(axis=1)).any():
            raise UnscorableUpdate(client=int(clients[np.argmax(bad)]))
        # Ranked as Flower ranks them: float32 models, in which what is nearly equal may be equal.
        yield place, rows, (inputs.base[place] + rows.astype(np.float32)).astype(np.float32)


def _multikrum(inputs: RoundInputs, *, malicious: int, count: int) -> NDArray[np.int64]:
    """Clients whose nearest neighbours are nearest, `count` of them: Flower's `select_multikrum` on updates."""
    products = np.zeros((len(inputs), len(inputs)))
    for _, rows, _ in _blocks(inputs, np.arange(len(inputs))):
        products += rows @ rows.T
    norms = np.diag(products)
    distances = norms[:, None] + norms[None, :] - 2 * products
    nearest = max(1, len(inputs) - malicious - 2)
    # A client's own place is not counted, whatever rounding makes of its distance to itself.
    np.fill_diagonal(distances, -np.inf)
    scores = np.sort(distances, axis=1)[:, 1 : nearest + 1].sum(axis=1)
    return np.sort(np.argsort(scores, kind="stable")[:count])
