"""The nouns of the data: rows that a model can read, one client's share of them, and the whole federation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl.task.data.reading import DataReading


@dataclass(frozen=True, kw_only=True, eq=False)  # eq=False: == on arrays has no single truth value
class Dataset:
    """Rows with their labels, ready for a model."""

    # Shape (N, *feature_shape): float32 of standardised columns, or of pixels in [0, 1]; int64 of ids of words or items.
    features: NDArray[Any]
    # An index into the class names, shape (N,); or a target that is a number, float32 in standard deviations, shape (N, 1).
    labels: NDArray[np.int64] | NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Rows of each class, shape (num_classes,); of none where labels are numbers."""
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            return np.zeros(0, dtype=np.int64)  # numbers, or a token for each place
        return np.bincount(self.labels, minlength=num_classes).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """What one client trains on."""

    name: str  # file stem or column value for natural clients, else client-0, client-1, ...
    data: Dataset  # at least one row


class RowSchema(Protocol):
    """How rows were encoded: what a client needs to encode its own alike."""

    def to_json(self) -> str:
        """The text that the spec holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Federation:
    """All shards, and the two sets that the coordinator holds: one to score on, one to report on.

    No row is in two of them, unless the files given for them say the same thing twice.
    """

    shards: tuple[Shard, ...]
    validation: Dataset  # committed to by hash; scores are the loss on these rows
    test: Dataset  # never used for scoring or training
    class_names: tuple[str, ...]  # label i is class_names[i]; empty where a number is predicted
    schema: RowSchema | None  # how rows of a table or a text were encoded; None for images
    reading: DataReading | None = None  # what was understood of the files, to show to whoever owns them

    @property
    def num_classes(self) -> int:
        """How many classes a model of these data tells apart; 1, its one output, where it predicts a number."""
        return len(self.class_names) or 1

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one row: (F,) for tables, (1, height, width) for images."""
        return self.validation.features.shape[1:]
