"""Which updates a Flower strategy takes into its weighted mean, and the replies that it decides on.

The score is exact for every rule that aggregates a weighted sum with known weights: FedAvg and FedProx, the server
optimizers on top of the averaged update (FedAvgM, FedAdam, FedYogi, FedAdagrad), and Krum and MultiKrum, whose weights are
0 or 1 before the stakes. Rules that pick each coordinate from another client (FedMedian, FedTrimmedAvg, Bulyan) have no such
weights: they are scored by their own parts, which evaluators attest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedXgbBagging,
    FedXgbCyclic,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.serverapp.strategy.multikrum import select_multikrum
from numpy.typing import NDArray

from fl.codec import Blocks, Layout
from fl.errors import FairshareError
from fl.rewards import Participant, norm_q64
from fl.task.held_arrays import HeldArray, Records, metrics_of
from fl.task.strategies import STRATEGIES
from fl.task.strategy_facts import STRATEGY_FACTS

_UNWEIGHTED = (FedXgbBagging, FedXgbCyclic, QFedAvg)
_ROBUST = tuple(STRATEGIES[name] for name, facts in STRATEGY_FACTS.items() if facts.scored_by)


class UnscorableStrategy(FairshareError):
    """A strategy whose aggregate is made in a way that no score follows."""

    def __init__(self, strategy: str) -> None:
        super().__init__(strategy)
        self.strategy = strategy

    def __str__(self) -> str:
        weighted = [facts.kind for facts in STRATEGY_FACTS.values() if not facts.scored_by]
        picking = [facts.kind for facts in STRATEGY_FACTS.values() if facts.scored_by]
        return (
            f"{self.strategy} aggregates in a way that its rounds have no score for; use {_either(weighted)}, or Flower's own "
            f"{_either(picking)}"
        )


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def check_scorable(strategy: Strategy) -> None:
    """Raises: UnscorableStrategy for a rule that is known to aggregate otherwise, or is a robust rule's own variant."""
    # A subclass of a rule that picks coordinates may pick them otherwise, and Bulyan may be given a selection of its own.
    varied = isinstance(strategy, _ROBUST) and (
        type(strategy) not in _ROBUST or getattr(strategy, "selection_rule", select_multikrum) is not select_multikrum
    )
    if varied or isinstance(strategy, _UNWEIGHTED):
        raise UnscorableStrategy(strategy=type(strategy).__name__)


def clip_of(blocks: Blocks, *, cap: int) -> np.float32:
    """What the norm cap (`cap_q64`) leaves of an update, as a factor of it."""
    norm = norm_q64(blocks)
    return np.float32(cap / norm if norm > cap else 1.0)


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

    Args:
        participant: Its update and stake.
        base: The model before, shape (P,).
        layout: Its arrays.
        cap: What a longer update is held to (`cap_q64`).
        metrics: Of the reply.
        weighted_by: The metric by which the strategy weighs.
    """
    clip, start, held = clip_of(participant.blocks, cap=cap), 0, {}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        stop = start + math.prod(shape)
        read = partial(_model_part, participant.blocks, base=base, clip=clip, start=start, stop=stop, shape=shape)
        held[name] = HeldArray(read, dtype="float32", shape=shape)
        start = stop
    arrays = ArrayRecord()
    arrays.__dict__["_data"].update(held)  # past Flower's checks, as in `record_of`
    return Records(
        {
            "arrays": arrays,
            # A stake in wei overflows the 64-bit integers of a MetricRecord; strategies only use ratios.
            "metrics": metrics_of({**metrics, weighted_by: participant.stake / 1e18}),
        }
    )


def _model_part(
    blocks: Blocks, *, base: NDArray[np.float32], clip: np.float32, start: int, stop: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    # Decoded when the strategy reads it: ten thousand models at once would be 4 bytes a value, where blocks are 2.
    part = blocks.decode_part(start, stop)
    part *= clip
    part += base[start:stop]
    return part.reshape(shape)


def selected_by(strategy: Strategy, contents: Sequence[RecordDict]) -> list[bool]:
    """Whether the strategy takes each reply into its aggregate: all of them, but for Krum, MultiKrum and Bulyan's first step."""
    everybody = [True] * len(contents)
    if isinstance(strategy, MultiKrum) and contents:  # Krum is a MultiKrum that selects one
        count = strategy.num_nodes_to_select
    elif isinstance(strategy, Bulyan) and len(contents) >= 4 * strategy.num_malicious_nodes + 3:
        count = len(contents) - 2 * strategy.num_malicious_nodes
    else:  # with fewer replies Bulyan skips the round, and there is nothing to leave anybody out of
        return everybody
    chosen = select_multikrum(
        list(contents), num_malicious_nodes=strategy.num_malicious_nodes, num_nodes_to_select=count
    )
    return [any(content is picked for picked in chosen) for content in contents]
