"""The direction rule: φ_k = a_k ⟨Δ_k, d⟩ with the gradient averaged along the round's step (see `fl.scoring.direction`).

Cost: `nodes` gradients for any number of clients, two passes over the updates, one update in memory at a time; with
`confidence`, one dual forward pass more per client and error node; with `explain`, nothing to speak of. Source: Aumann and Shapley 1974.
Efficient up to the quadrature, symmetric, linear, exactly 0 for a zero update, and a split pays what the whole does. Lacks: it
is the Shapley value of infinitely many small players, not of N whole ones, so where the loss bends hard across one client's
update the two differ. A replay of what everybody knows is paid unless `inputs.public` names it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.scoring.analysis.confidence import Certainty, certainty, sample_scores
from fl.scoring.analysis.explanation import can_group, group_directions
from fl.scoring.direction import direction
from fl.scoring.inputs import RoundInputs
from fl.scoring.public_vectors import without_public
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Direction:
    """scorer=direction. Errors are over validation samples."""

    nodes: int = 3
    confidence: bool = True
    error_nodes: int = 1
    explain: bool = False

    def __post_init__(self) -> None:
        for name in ("nodes", "error_nodes"):
            if not 1 <= getattr(self, name) <= 64:
                raise ValueError(f"{name} is {getattr(self, name)}; set 1 to 64")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round; draws nothing."""
        started = time.perf_counter()
        step = inputs.step()
        by_group: NDArray[np.float64] | None = None
        names: tuple[str, ...] = ()
        if self.explain and can_group(inputs.game):
            rows, groups = group_directions(inputs.game, base=inputs.base, step=step, nodes=self.nodes)
            rows = np.array([without_public(row, inputs.public) for row in rows])
            by_group = self._products(inputs, rows)
            values, names = by_group.sum(axis=1), tuple(map(str, groups))
        else:
            row = without_public(direction(inputs.game, base=inputs.base, step=step, nodes=self.nodes), inputs.public)
            values = self._products(inputs, row[None])[:, 0]
        scored = time.perf_counter() - started
        sure = self._certainty(inputs, step) if self.confidence else None
        return Scores(
            values=values,
            errors=sure.errors if sure else None,
            covariance=sure.covariance if sure else None,
            by_group=by_group,
            group_names=names,
            diagnostics={
                "evaluations": 0,
                "gradients": self.nodes,
                "dual_passes": self.error_nodes * len(inputs) if self.confidence else 0,
                "seconds": scored,
                "seconds_confidence": time.perf_counter() - started - scored,
                "error": "over validation samples",
            },
        )

    def _products(self, inputs: RoundInputs, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.zeros((len(inputs), len(rows)))
        for client in range(len(inputs)):
            found[client] = rows @ inputs.weighted(client)
        return found

    def _certainty(self, inputs: RoundInputs, step: NDArray[np.float64]) -> Certainty:
        # ⟨Δ, d less its public part⟩ is ⟨Δ less its public part, d⟩.
        parts = (without_public(inputs.weighted(client), inputs.public) for client in range(len(inputs)))
        return certainty(sample_scores(inputs.game, base=inputs.base, step=step, parts=parts, nodes=self.error_nodes))
