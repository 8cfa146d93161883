"""A client's part in a round, honest or not: from what it has and knows to the model that it answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clients.trainer import gradient, train
from clients.workbench import Tools
from fl.errors import ConfigError
from fl.task.behaviour import HONEST, Behaviour, Known
from fl.task.behaviour.labels import flip_labels, with_backdoor
from fl.task.behaviour.replays import as_long, norm, opposite, replayed
from fl.task.behaviour.synthetic import synthetic_rows
from fl.task.data import Dataset
from fl.task.spec import TaskSpec

_REMEMBERED = 2  # moves that made-up rows are held against


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """What a client has in one round."""

    spec: TaskSpec
    tools: Tools  # to train the task's model with; its values are overwritten
    number: int  # of the client
    round: int  # from 1
    seed: int  # of the run: batches and draws start from it
    known: Known
    rows: Callable[[int], Dataset]  # a client's rows by its number: its own, and those that an accomplice gave it
    proximal_mu: float = 0.0


def play(behaviour: Behaviour, turn: Turn) -> tuple[NDArray[np.float32], float]:
    """The model that the client answers with, shape (P,), and the mean loss of its training, 0 where it does not train.

    Raises: ConfigError for a behaviour that this client cannot play.
    """
    base = turn.known.base
    if behaviour.source == HONEST and behaviour.factor == 1:
        return _trained(behaviour, turn, turn.number)
    update, loss = _update(behaviour, turn)
    return (base + behaviour.factor * update).astype(np.float32), loss


def _update(behaviour: Behaviour, turn: Turn) -> tuple[NDArray[np.float64], float]:
    known, source = turn.known, behaviour.source
    if source in ("ring", "opposite") and turn.number not in behaviour.members:
        raise ConfigError(
            f"client {turn.number} is not in {behaviour.text}; name it there, or give it another behaviour"
        )
    if source == "opposite":
        size, length = len(known.base), known.length()
        return opposite(size, pair=behaviour.members, number=turn.number, length=length, seed=turn.seed), 0.0
    if source == "synthetic":
        return _made_up(turn)
    if source == "ring":
        return _best_of_ring(behaviour, turn)
    if source == "stale" and known.first is not None:
        return np.asarray(known.first, dtype=np.float64), 0.0
    if not behaviour.trains:
        rng = np.random.default_rng([turn.seed, turn.number, turn.round])
        return replayed(source, known=known, decay=behaviour.decay, rng=rng), 0.0
    trained, loss = _trained(behaviour, turn, turn.number)
    update = trained.astype(np.float64) - known.base
    return (_harming(update, turn), loss) if source == "harm" else (update, loss)


def _trained(behaviour: Behaviour, turn: Turn, number: int) -> tuple[NDArray[np.float32], float]:
    """A client's training, as it does it itself: whoever has its rows comes to the same bits."""
    number = number if behaviour.copied is None else behaviour.copied
    data = turn.rows(number)
    features, labels = data.features, data.labels
    if behaviour.flipped:
        # The same labels every round.
        rng, classes = np.random.default_rng([turn.seed, number]), turn.spec.num_classes
        labels = flip_labels(labels, share=behaviour.flipped, num_classes=classes, rng=rng)
    if behaviour.backdoor is not None:
        if behaviour.backdoor >= turn.spec.num_classes:
            raise ConfigError(
                f"behaviour {behaviour.text} names class {behaviour.backdoor}, the task has 0 to {turn.spec.num_classes - 1}"
            )
        rng = np.random.default_rng([turn.seed, number])
        features, labels = with_backdoor(features, labels, target=behaviour.backdoor, rng=rng)
    spec = turn.spec if behaviour.steps is None else replace(turn.spec, steps=min(behaviour.steps, turn.spec.steps))
    return train(
        turn.tools,
        turn.known.base,
        features=features,
        labels=labels,
        spec=spec,
        seed=batch_seed(turn.seed, number=number, round_number=turn.round),
        proximal_mu=turn.proximal_mu,
    )


def batch_seed(seed: int, *, number: int, round_number: int) -> int:
    """One stream per round and client, the same whichever process or engine trains it.

    Args:
        seed: Of the run.
        number: Of the client.
        round_number: From 1 on.
    """
    return int(np.random.SeedSequence([seed, number, round_number]).generate_state(1)[0])


def _made_up(turn: Turn) -> tuple[NDArray[np.float64], float]:
    known, spec = turn.known, turn.spec
    moves = list(zip(known.models, known.steps(), strict=True))[-_REMEMBERED:]
    if not any(step.any() for _, step in moves):
        return np.zeros(len(known.base)), 0.0
    features, labels = synthetic_rows(
        turn.tools.model,
        loss=spec.build_loss(),
        moves=moves,
        feature_shape=spec.feature_shape,
        num_classes=spec.num_classes,
        count=spec.batch_size,
        rng=np.random.default_rng([turn.seed, turn.number, turn.round]),
    )
    trained, loss = train(turn.tools, known.base, features=features, labels=labels, spec=spec, seed=turn.round)
    return as_long(trained.astype(np.float64) - known.base, length=known.length()), loss


def _best_of_ring(behaviour: Behaviour, turn: Turn) -> tuple[NDArray[np.float64], float]:
    """Members gave each other their rows, so each knows all their updates, and all send the one that lowers their common loss most.

    Updates compare by what they gain at one length, since a round's length holds them all to it.
    """
    base = turn.known.base
    found = [_trained(behaviour, turn, member) for member in behaviour.members]
    updates = [trained.astype(np.float64) - base for trained, _ in found]
    pooled = [turn.rows(member) for member in behaviour.members]
    rows = Dataset(
        features=np.concatenate([data.features for data in pooled]),
        labels=np.concatenate([data.labels for data in pooled]),
    )
    slope = _slope(rows, turn, at=base + np.mean(updates, axis=0))
    gains = [-float(update @ slope) / (norm(update) or 1.0) for update in updates]
    best = int(np.argmax(gains))
    return updates[best], found[best][1]


def _harming(update: NDArray[np.float64], turn: Turn) -> NDArray[np.float64]:
    """As long as the honest update, along what curvature makes of it: H·Δ, by two gradients on its own rows.

    A client's score falls by ½ a_k a_j ⟨Δ_k, H Δ_j⟩ for what another one sends, and honest updates resemble each other, so this lowers
    the others' scores as much as a vector of this length can.
    """
    base, own = turn.known.base, turn.rows(turn.number)
    return as_long(_slope(own, turn, at=base + update) - _slope(own, turn, at=base), length=norm(update))


def _slope(data: Dataset, turn: Turn, *, at: NDArray[np.floating]) -> NDArray[np.float64]:
    vector = at.astype(np.float32)
    return gradient(turn.tools.model, vector, features=data.features, labels=data.labels, spec=turn.spec)
