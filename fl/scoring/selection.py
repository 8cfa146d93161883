"""Which updates a Flower strategy takes into its weighted mean, and the replies that it decides on.

The score is exact for every rule that aggregates a weighted sum with known weights: FedAvg and FedProx, the server
optimizers on top of the averaged update (FedAvgM, FedAdam, FedYogi, FedAdagrad), and Krum and MultiKrum, whose weights are
0 or 1 before the stakes. Rules that pick each coordinate from another client have no such weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.serverapp.strategy.multikrum import select_multikrum
from numpy.typing import NDArray

from fl.codec import Layout
from fl.errors import FairshareError
from fl.rewards import Participant, norm_q64

_UNWEIGHTED = (Bulyan, FedMedian, FedTrimmedAvg, FedXgbBagging, FedXgbCyclic, QFedAvg)


class UnscorableStrategy(FairshareError):
    """A strategy whose aggregate is no weighted sum of the updates."""

    def __init__(self, strategy: str) -> None:
        super().__init__(strategy)
        self.strategy = strategy

    def __str__(self) -> str:
        return (
            f"{self.strategy} does not aggregate a weighted sum of updates, so its rounds have no direction score; use "
            "FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad, Krum or MultiKrum"
        )


def check_scorable(strategy: Strategy) -> None:
    """Raises: UnscorableStrategy for a rule that is known to aggregate otherwise."""
    if isinstance(strategy, _UNWEIGHTED):
        raise UnscorableStrategy(strategy=type(strategy).__name__)


def content_for(
    participant: Participant,
    *,
    base: NDArray[np.float32],
    layout: Layout,
    cap: int,
    metrics: Mapping[str, float | int],
    weighted_by: str = "num-examples",
) -> RecordDict:
    """An accepted update as the ordinary Flower reply that it stands for: a model, weighted by stake.

    The model is base + clip·Δ. A strategy that normalises its weights thus arrives at the aggregate that is scored, where
    a clip inside the weight would only shift weight to others.
    """
    norm = norm_q64(participant.blocks)
    clip = np.float32(cap / norm if norm > cap else 1.0)
    model = base + clip * participant.blocks.decode()
    arrays = {name: Array(array) for name, array in layout.unflatten(model).items()}
    return RecordDict(
        {
            "arrays": ArrayRecord(arrays),
            # A stake in wei overflows the 64-bit integers of a MetricRecord; strategies only use ratios.
            "metrics": MetricRecord({**metrics, weighted_by: participant.stake / 1e18}),
        }
    )


def selected_by(strategy: Strategy, contents: Sequence[RecordDict]) -> list[bool]:
    """Whether the strategy takes each reply into its mean: all of them, but for Krum and MultiKrum."""
    if not isinstance(strategy, MultiKrum) or not contents:  # Krum is a MultiKrum that selects one
        return [True] * len(contents)
    chosen = select_multikrum(
        list(contents),
        num_malicious_nodes=strategy.num_malicious_nodes,
        num_nodes_to_select=strategy.num_nodes_to_select,
    )
    return [any(content is one for one in chosen) for content in contents]
