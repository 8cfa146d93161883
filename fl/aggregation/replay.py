"""A strategy's step over accepted updates, and the same step again: how a server optimizer's memory is rebuilt.

FedAvgM, FedAdam, FedYogi and FedAdagrad carry a memory from round to round. It is not in a bundle, and does not have to be:
the accepted updates are, and the strategy makes the same of them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from fl.aggregation.null_grid import NullGrid
from fl.aggregation.selection import content_for
from fl.codec import Layout
from fl.rewards import Participant
from fl.task.held_arrays import record_of, reply


def aggregate(
    inner: Strategy,
    number: int,
    contents: Sequence[RecordDict],
    *,
    base: NDArray[np.float32],
    layout: Layout,
    nodes: Sequence[int] = (),
) -> tuple[NDArray[np.float32], MetricRecord | None]:
    """The model after a round, shape (P,), and the strategy's own metrics; the base model if it made nothing of it.

    Args:
        nodes: Whose replies these are, where that is known: a strategy may go by the nodes that it asked.
    """
    arrays, metrics = inner.aggregate_train(number, _replies(contents, nodes))
    following = base if arrays is None else layout.flatten({name: array.numpy() for name, array in arrays.items()})
    return following, metrics


def prepare(inner: Strategy, number: int, *, base: NDArray[np.float32], layout: Layout) -> None:
    """Let the strategy see a round's model, which server optimizers note when they are asked whom to train; nobody is asked.

    Args:
        inner: The strategy.
        number: Of the round.
        base: The model, shape (P,).
        layout: Its arrays.
    """
    _be_somebody()
    model = record_of(layout.unflatten(base), shared=True)
    list(inner.configure_train(number, model, ConfigRecord(), NullGrid(lambda: range(2, 2 + _wanted(inner)))))


def replay(
    inner: Strategy,
    number: int,
    participants: Sequence[Participant],
    *,
    base: NDArray[np.float32],
    layout: Layout,
    cap: int,
) -> NDArray[np.float32]:
    """Take the strategy through a round that was, asking nobody; returns the model after it, shape (P,).

    Args:
        inner: The strategy.
        number: Of the round.
        participants: Of the round.
        base: The model before it, shape (P,).
        layout: Its arrays.
        cap: What a longer update is held to (`cap_q64`).
    """
    prepare(inner, number, base=base, layout=layout)
    weighted_by = getattr(inner, "weighted_by_key", "num-examples")
    contents = [
        content_for(participant, base=base, layout=layout, cap=cap, metrics={}, weighted_by=weighted_by)
        for participant in participants
    ]
    return aggregate(inner, number, contents, base=base, layout=layout)[0]


def replay_sum(
    inner: Strategy,
    number: int,
    step: NDArray[np.float64] | None,
    *,
    base: NDArray[np.float32],
    layout: Layout,
) -> NDArray[np.float32]:
    """Take the strategy through a masked round that was; returns the model after it, shape (P,).

    Args:
        step: The round's, shape (P,); None of a void round, of which there is nothing to aggregate.
    """
    prepare(inner, number, base=base, layout=layout)
    weighted_by = getattr(inner, "weighted_by_key", "num-examples")
    contents = [] if step is None else [content_of_sum(step, base=base, layout=layout, weighted_by=weighted_by)]
    return aggregate(inner, number, contents, base=base, layout=layout)[0]


def content_of_sum(
    step: NDArray[np.float64], *, base: NDArray[np.float32], layout: Layout, weighted_by: str = "num-examples"
) -> RecordDict:
    """A masked round's step as the one reply that it stands for: a strategy's mean of it is the step itself.

    Args:
        step: Of the round, shape (P,).
        base: The model before it, shape (P,).
        layout: Its arrays.
        weighted_by: The metric by which the strategy weighs.
    """
    model = (base + step).astype(np.float32)
    return RecordDict({"arrays": record_of(layout.unflatten(model)), "metrics": MetricRecord({weighted_by: 1.0})})


def _be_somebody() -> None:
    # Flower's messages name the task that sends them, even those that are never sent; outside a grid there is none.
    try:
        _ = TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id
    except RuntimeError:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 0, 1, 0  # the server


def _replies(contents: Sequence[RecordDict], nodes: Sequence[int]) -> list[Message]:
    # Flower reads a reply's sender from the message that it answers.
    senders = nodes if nodes and all(nodes) else range(2, 2 + len(contents))
    nothing = RecordDict()
    asked = (Message(nothing, sender, "train") for sender in senders)
    return [reply(content, message) for content, message in zip(contents, asked, strict=True)]


def _wanted(inner: Strategy) -> int:
    """How many nodes a strategy, or the one that it wraps, waits for."""
    wrapped = getattr(inner, "strategy", None)
    own = max(getattr(inner, name, 0) for name in ("min_available_nodes", "min_train_nodes"))
    return max(own, 1, _wanted(wrapped) if isinstance(wrapped, Strategy) else 0)
