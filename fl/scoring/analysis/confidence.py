"""How sure a direction score is: what each validation sample says of each client, by forward-mode derivatives.

The score is a mean over validation samples, φ_k = 1/n Σ_i c_ki, with

    c_ki = −∫₀¹ d/dε ℓ_i(w + s·Σ_j a_j Δ_j + ε·a_k Δ_k) ds

and its standard error is that of a mean. A directional derivative of all samples' losses is one forward pass with dual numbers
(a Jacobian–vector product): no per-sample gradient is ever stored, and memory is that of one batch. Cost: one dual pass per client
and quadrature node, about three forward passes each.

What it says: how far the score would move with another validation set of the same size from the same source. It does not say
how far another training run would move it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jvp

from fl.scoring.game import ValidationGame
from fl.task.draws import drawing_alike
from fl.task.model_vector import copied
from fl.task.objectives import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Certainty:
    """Means over validation samples and how sure they are."""

    means: NDArray[np.float64]  # shape (N,)
    errors: NDArray[np.float64]  # standard errors, shape (N,)
    covariance: NDArray[np.float64]  # of the means, shape (N, N)


def sample_scores(
    game: ValidationGame,
    *,
    base: NDArray[np.float32],
    step: NDArray[np.floating],
    parts: Iterable[NDArray[np.floating]],
    nodes: int = 1,
) -> NDArray[np.float64]:
    """c_ki: what each validation sample adds to each client's score, shape (N, n), in units of loss.

    Args:
        game: Model, loss and validation data.
        base: The round's base model, shape (P,).
        step: Σ_k a_k Δ_k, shape (P,).
        parts: a_k Δ_k of each client, shape (P,) each; read once.
        nodes: Gauss–Legendre nodes; errors need fewer than scores do.
    """
    places, weights = np.polynomial.legendre.leggauss(nodes)
    frozen = _Frozen(game)
    points = [frozen.tensors(np.asarray(base, dtype=np.float64) + place * step) for place in (places + 1) / 2]
    rows = []
    for part in parts:
        tangents = frozen.tensors(part)
        row = np.zeros(len(game))
        for weight, point in zip(weights / 2, points, strict=True):
            row -= weight * frozen.slopes(point, tangents)
        rows.append(row)
    return np.array(rows).reshape(len(rows), len(game))


def certainty(samples: NDArray[np.float64]) -> Certainty:
    """Means of rows of shape (N, n), and the errors of those means; infinite from one sample."""
    count = samples.shape[1]
    means = samples.mean(axis=1)
    if count < 2:
        size = len(means)
        return Certainty(means=means, errors=np.full(size, np.inf), covariance=np.full((size, size), np.inf))
    centred = samples - means[:, None]
    covariance = centred @ centred.T / (count * (count - 1))
    return Certainty(means=means, errors=np.sqrt(np.diag(covariance)), covariance=covariance)


class _Frozen:
    """A game's model as a function of its parameters."""

    def __init__(self, game: ValidationGame) -> None:
        self.game = game
        self.model = copied(game.model).eval()
        self._has_duals = True

    def tensors(self, vector: NDArray[np.floating]) -> dict[str, Tensor]:
        """The parameters of a vector, by name."""
        arrays = self.game.layout.unflatten(np.asarray(vector, dtype=np.float32))
        held = dict(self.model.named_parameters())
        return {name: torch.tensor(array).to(held[name]) for name, array in arrays.items()}

    def slopes(self, point: dict[str, Tensor], tangents: dict[str, Tensor]) -> NDArray[np.float64]:
        """d/dε of each sample's loss along the tangents, shape (n,)."""
        found = []
        for batch in self.game.batches():

            def losses(moved: dict[str, Tensor], batch: Batch = batch) -> Tensor:
                return self.game.objective(_Moved(self.model, moved), batch)

            with torch.no_grad(), drawing_alike(self.game.device):
                slope = self._slope(losses, point, tangents)
            found.append(slope.double().cpu().numpy())
        return np.concatenate(found)

    def _slope(
        self, losses: Callable[[dict[str, Tensor]], Tensor], point: dict[str, Tensor], tangents: dict[str, Tensor]
    ) -> Tensor:
        if self._has_duals:
            try:
                return jvp(losses, (point,), (tangents,))[1]
            except (NotImplementedError, RuntimeError) as error:
                # Recurrent layers and fused kernels know no dual numbers.
                log.info("errors are taken from differences, the model has no forward derivatives: %s", error)
                self._has_duals = False
        ahead, behind = ({name: array + side * tangents[name] for name, array in point.items()} for side in (0.5, -0.5))
        return losses(ahead) - losses(behind)


class _Moved:
    """A model as its objective calls it, with other values in the place of its parameters."""

    def __init__(self, model: nn.Module, values: dict[str, Tensor]) -> None:
        self._model, self._values = model, values

    def __call__(self, *given: Any, **named: Any) -> Any:
        return functional_call(self._model, self._values, given, named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
