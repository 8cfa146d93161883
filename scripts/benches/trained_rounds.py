"""Rounds that were really trained, for the scoring benches: FedAvg by shard size, a fixed number of local steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from measurement import ROOT, mnist_folder
from together import train_together

from fl.aggregation.selection import clip_of
from fl.codec import Blocks
from fl.rewards import cap_q64
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
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


def trained_rounds(federation: Federation, spec: TaskSpec, *, rounds: int) -> Iterator[RoundInputs]:
    """One round after the other, each as a scorer sees it; updates go through the codec and the spec's norm cap as in a run.

    Plain federated averaging, weighted by shards and without a public step: `played_task` plays tasks as they are paid.
    """
    model, game = spec.build_model(), game_of(federation, spec)
    base, cap = vector_of(model), cap_q64(spec.norm_cap)
    rows = np.array([len(shard.data) for shard in federation.shards], dtype=np.float64)
    for number in range(rounds):
        seeds = [
            int(np.random.default_rng([spec.seed, client, number]).integers(1 << 31))
            for client in range(len(federation.shards))
        ]
        data = [shard.data for shard in federation.shards]
        trained = train_together(model, base, data=data, spec=spec, seeds=seeds)
        updates = [Blocks.encode(vector.astype(np.float64) - base) for vector in trained]
        clips = np.array([clip_of(update, cap=cap) for update in updates])
        inputs = RoundInputs(
            game=game,
            base=base,
            updates=[update.decode().astype(np.float64) for update in updates],
            weights=rows / rows.sum() * clips,
            clips=clips,
        )
        yield inputs
        base = (base + inputs.step()).astype(np.float32)
