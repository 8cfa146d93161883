"""The spec: everything that a client has to know to train and an evaluator to score, frozen by its hash on chain."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.errors import ConfigError, FairshareError
from fl.privacy.terms import PrivacyTerms
from fl.task.bounds import MOST_MODEL, check_bounds, read_spec
from fl.task.data.dataset import Dataset
from fl.task.model_vector import choose, frozen_hash, travelling
from fl.task.models import build_model
from fl.task.objectives import Objective, objective_of
from fl.task.rows import Rows
from fl.task.trust import LOSSES, OWN, Trust

TOGETHER = "together"


class OtherBase(FairshareError):
    """What a machine builds and does not train is not what the task's spec names."""

    def __init__(self, seen: str, expected: str) -> None:
        super().__init__(seen, expected)
        self.seen, self.expected = seen, expected

    def __str__(self) -> str:
        return (
            f"the frozen part of the model has sha256 {self.seen[:16]}… here and {self.expected[:16]}… in the task; get the base that "
            "the coordinator names, and the same torch if the base is drawn from a seed"
        )


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What is trained, and how. Equal specs have equal JSON and equal hashes."""

    model: str  # import path, package.module:Class
    feature_shape: tuple[int, ...]  # of one input
    num_classes: int
    class_names: tuple[str, ...] = ()
    model_arguments: dict[str, Any] = field(default_factory=dict)
    # A name of `fl.task.trust.LOSSES`, or an import path: of a loss module that means over samples, or a function
    # loss(model, batch) of one loss a row.
    loss: str = "cross_entropy"
    trainable: str = "all"  # what travels and is paid: all, adapters, or patterns of parameter names with commas
    frozen: str | None = None  # sha256 in hex of the parameters that do not travel; None: all do
    # fairshare: by the settings below; app: a Flower app of the coordinator's trains its own way; together: a simulation, whose
    # clients are trained in one batch, so that the last bits of a float are not those of one client at a time.
    training: str = "fairshare"
    steps: int = 20  # local steps of one round, the same for every client
    batch_size: int = 32  # samples of one step
    rows_at_once: int = 0  # that a step passes at a time, adding up their gradients; 0: all of them
    learning_rate: float = 0.1
    momentum: float = 0.0
    optimizer: str = "sgd"  # sgd, or adam, whose memory starts anew each round
    block_bits: int = 16  # of an update's values on the wire: 16, or 8 with error feedback
    norm_cap: str = "10"  # decimal; a longer update is scaled down to this Euclidean norm
    length: str = "median"  # median: also to the round's stake-weighted median length; capped: to norm_cap alone
    public_rounds: int = 6  # how many of the last rounds' steps and directions belong to nobody; 0: none do
    public_gradients: int = (
        7  # on half of the rows, that the search for the public step may ask for; from round 3 on twice as many
    )
    scorer: str = "direction"  # the rule that is paid; any other than direction is attested by evaluators, not provable
    scorer_arguments: dict[str, Any] = field(default_factory=dict)
    quadrature: int = 3  # Gauss–Legendre nodes of the direction
    tolerance: float = 1e-3  # relative L2 by which an evaluator's direction, or attested scores, may differ
    duplicate_cosine: str | None = None  # decimal; updates that are so near share one weight; None: none do
    strategy: str = "fedavg"  # how the server uses the weighted mean
    strategy_arguments: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None  # how table rows are encoded, if the data is a table
    seed: int = 0
    privacy: dict[str, Any] | None = None  # `fl.privacy.terms`; None: an open task, whose JSON says nothing of it
    # Whose code it may name here. No part of the task: a spec that was read from a file says it with `from_json`.
    trust: Trust = field(default=OWN, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_bounds({name: getattr(self, name) for name in _told()})
        object.__setattr__(self, "feature_shape", tuple(self.feature_shape))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    @property
    def attested(self) -> bool:
        """Whether the scores rest on the evaluators' word: the chain can recompute those of the direction and of open updates only."""
        return self.scorer != "direction" or self.private.masked

    @cached_property
    def private(self) -> PrivacyTerms:
        """What is masked, and which noise is added."""
        return PrivacyTerms.of(self.privacy)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        told = {name: getattr(self, name) for name in _told()}
        if self.privacy is None:  # an open task's bytes are those that they always were
            del told["privacy"]
        if not self.rows_at_once:  # nor do they say what no task did
            del told["rows_at_once"]
        return json.dumps(told, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, trust: Trust) -> TaskSpec:
        """Read what `to_json` wrote.

        Args:
            trust: Whose code the text may name on this machine; checked here by name, and again by whatever builds from it.
        Raises: ConfigError for text that is not a spec, or one beyond `fl.task.bounds`; UntrustedCode.
        """
        raw = read_spec(text)
        if unknown := set(raw) - _told():
            raise ConfigError(f"the task spec has unknown keys {sorted(unknown)}; update fairshare on this machine")
        trust.check_names(raw)
        try:
            return cls(**raw, trust=trust)
        except TypeError as error:  # a key is missing, or a value has another type
            raise ConfigError(f"the task spec cannot be read ({error}); fetch it again from the coordinator") from error

    def hash(self) -> bytes:
        """sha256 of the canonical JSON, 32 bytes: the contract's specHash."""
        return hashlib.sha256(self.to_json().encode()).digest()

    def build_model(self) -> nn.Module:
        """The model with its initial weights, the same on every machine with this torch; what does not travel is frozen.

        Raises: ConfigError; OtherBase if what is frozen is not what the spec names.
        """
        model = build_model(
            self.model,
            self.model_arguments,
            feature_shape=self.feature_shape,
            num_classes=self.build_loss().outputs(self.num_classes),
            seed=self.seed,
            trust=self.trust,
        )
        choose(model, self.trainable)
        if (sent := sum(parameter.numel() for parameter in travelling(model).values())) > MOST_MODEL:
            fix = "train adapters of it, by model.arguments.lora and task.trainable=adapters"
            raise ConfigError(f"{sent:,} values of the model travel, {MOST_MODEL:,} are the most; {fix}")
        if self.frozen is not None and (seen := frozen_hash(model)) != self.frozen:
            raise OtherBase(seen=seen or "nothing", expected=self.frozen)
        return model

    def with_base(self, model: nn.Module) -> TaskSpec:
        """The same spec with the hash of what a model of it leaves frozen: what whoever opens the task commits to."""
        return replace(self, frozen=frozen_hash(model))

    def build_loss(self) -> Objective:
        """What the task minimises. Raises: ConfigError if it cannot be built without arguments."""
        found = self.trust.load(LOSSES.get(self.loss, self.loss), setting="loss")
        if not isinstance(found, type):
            return objective_of(found)
        try:
            return objective_of(found())
        except TypeError as error:
            raise ConfigError(f"task.loss is {self.loss!r} and cannot be built: {error}") from error


def _told() -> set[str]:
    return {entry.name for entry in fields(TaskSpec)} - {"trust"}


def dataset_hash(data: Dataset) -> bytes:
    """sha256 over shapes, float32 inputs and int64 (or, for regression, float32) labels, little-endian: 32 bytes.

    It is the contract's validationHash. Token ids and other whole-number inputs are hashed as int64, see `Rows.hash`.
    """
    return rows_of_dataset(data).hash()


def rows_of_dataset(data: Dataset) -> Rows:
    """A data set as rows of inputs and targets."""
    arrays = {"features": data.features, "labels": data.labels}
    return Rows(arrays={name: torch.from_numpy(_whole(array)) for name, array in arrays.items()})


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """In memory, tokens and classes as int64: a shard of text may be in a file, and of one byte a token."""
    kind = np.int64 if array.dtype.kind in "iu" else array.dtype
    return np.array(array, dtype=kind) if not array.flags.writeable else np.ascontiguousarray(array, dtype=kind)
