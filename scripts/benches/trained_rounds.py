"""Rounds that were really trained, for the scoring benches: FedAvg by shard size, a fixed number of local steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from measurement import ROOT, mnist_folder
from numpy.typing import NDArray

from clients.trainer import train
from fl.aggregation.selection import clip_of
from fl.codec import Blocks
from fl.rewards import Participant, cap_q64
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
from fl.scoring.replication import share_stakes
from fl.task.behaviour.labels import flip_labels
from fl.task.data import DataConfig, Federation, PartitionConfig, load_federation
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A data set with a model that suits it, as the tables of `docs/scoring.md` use them."""

    model: str
    learning_rate: float
    data: DataConfig
    arguments: dict | None = None
    steps: int = 40


def digits() -> Setting:
    """1,797 digits of 8 × 8, an MLP of 64 units."""
    return Setting(model="fl.task.models:MLP", learning_rate=0.2, data=DataConfig())


def mnist(path: str, *, validation: int = 1000) -> Setting:
    """10,000 digits of 28 × 28, LeNet."""
    data = DataConfig(name="idx", path=mnist_folder(path), validation=validation, test=1000)
    return Setting(model="fl.task.models:LeNet", learning_rate=0.05, data=data)


def hospitals(path: str) -> Setting:
    """Four hospitals' tables of heart disease, a small MLP."""
    data = DataConfig(
        name="folder", path=str((ROOT / path).resolve()), target=-1, positive_above=0, missing=["", "?", "-9", "-9.0"]
    )
    return Setting(model="fl.task.models:MLP", learning_rate=0.05, steps=20, data=data, arguments={"hidden": [16]})


def federation_of(setting: Setting, partition: PartitionConfig, *, seed: int) -> tuple[Federation, TaskSpec]:
    """The data dealt, and the spec that trains on them."""
    federation = load_federation(setting.data, partition, seed=seed)
    spec = TaskSpec(
        model=setting.model,
        model_arguments=setting.arguments or {},
        feature_shape=federation.feature_shape,
        num_classes=federation.num_classes,
        steps=setting.steps,
        learning_rate=setting.learning_rate,
        seed=seed,
    )
    return federation, spec


def game_of(federation: Federation, spec: TaskSpec) -> ValidationGame:
    """The game on the validation set."""
    data = federation.validation
    return ValidationGame(spec.build_model(), loss=spec.build_loss(), features=data.features, labels=data.labels)


def trained_rounds(
    federation: Federation,
    spec: TaskSpec,
    *,
    rounds: int,
    behaviours: Sequence[str] | None = None,
    weights: NDArray[np.float64] | None = None,
    change: Callable[[list[NDArray[np.float64]]], list[NDArray[np.float64]]] = lambda updates: updates,
    duplicate_cosine: str | None = None,
) -> Iterator[RoundInputs]:
    """One round after the other, each as a scorer sees it; updates go through the codec and the spec's norm cap as in a run.

    Args:
        federation: Shards and validation set.
        spec: Model and training.
        rounds: How many.
        behaviours: honest, free_ride or label_flip:SHARE of each client.
        weights: Shares of the aggregate; by shard size by default.
        change: What becomes of a round's updates before they are weighed.
        duplicate_cosine: Cosine from which updates share the weight of one.
    """
    model, game = spec.build_model(), game_of(federation, spec)
    base = vector_of(model)
    if weights is None:
        weights = np.array([len(shard.data) for shard in federation.shards], dtype=np.float64)
    weights, cap = weights / weights.sum(), cap_q64(spec.norm_cap)
    behaviours = behaviours or ["honest"] * len(federation.shards)
    for number in range(rounds):
        updates = []
        for client, (shard, behaviour) in enumerate(zip(federation.shards, behaviours, strict=True)):
            if behaviour == "free_ride":
                updates.append(np.zeros(len(base)))
                continue
            labels, rng = shard.data.labels, np.random.default_rng([spec.seed, client, number])
            if behaviour.startswith("label_flip:"):
                share = float(behaviour.partition(":")[2])
                flips = np.random.default_rng([spec.seed, client])  # the same labels every round
                labels = flip_labels(labels, share=share, num_classes=federation.num_classes, rng=flips)
            seed = int(rng.integers(1 << 31))
            trained, _ = train(model, base, features=shard.data.features, labels=labels, spec=spec, seed=seed)
            updates.append(Blocks.encode(trained.astype(np.float64) - base).decode().astype(np.float64))
        updates = change(updates)
        clips = np.array([clip_of(Blocks.encode(one), cap=cap) for one in updates])
        shared = _shared(updates, weights, duplicate_cosine)
        inputs = RoundInputs(game=game, base=base, updates=updates, weights=shared * clips, clips=clips)
        yield inputs
        base = (base + inputs.step()).astype(np.float32)


def _shared(
    updates: Sequence[NDArray[np.float64]], weights: NDArray[np.float64], threshold: str | None
) -> NDArray[np.float64]:
    """Weights as the protocol makes them where near-duplicates share one."""
    seats = [
        Participant(
            account=f"0x{place + 1:040x}", stake=round(weight * 1e18), blocks=Blocks.encode(update), root=bytes(32)
        )
        for place, (update, weight) in enumerate(zip(updates, weights, strict=True))
    ]
    stakes = np.array([one.stake for one in share_stakes(seats, threshold=threshold)], dtype=np.float64)
    return stakes / stakes.sum()
