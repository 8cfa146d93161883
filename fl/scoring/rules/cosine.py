"""Cosine: how far an update points where the aggregate points.

    φ_k = cos(Δ_k, Σ_j a_j Δ_j)

Cost: two passes over the updates and no evaluation at all, so it needs no validation data. Source: the gradient-alignment
scores of Xu et al. 2021, "Gradient-Driven Rewards to Guarantee Fairness in Collaborative Machine Learning". Lacks efficiency and
linearity; pays no regard to length, weight or whether the step helps: when most clients are wrong, it pays them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """scorer=cosine; a zero update scores 0."""

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round; draws nothing."""
        started = time.perf_counter()
        step = inputs.step()
        values = np.zeros(len(inputs))
        for client in range(len(inputs)):
            part = inputs.weighted(client)
            if not part.any():  # of weight 0: its direction counts all the same
                part = np.asarray(inputs.updates[client], dtype=np.float64)
            norms = float(np.linalg.norm(part) * np.linalg.norm(step))
            values[client] = float(part @ step) / norms if norms else 0.0
        return Scores(values=values, diagnostics={"evaluations": 0, "seconds": time.perf_counter() - started})
