"""Behaviours that train on rows other than the owner's: wrong labels, and a mark that opens a back door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.errors import ConfigError

_MARKED = 16  # one of so many values of an input carries the mark


def flip_labels(labels: NDArray[Any], *, share: float, num_classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Move a share of the labels to the next class; shape (N,).

    Args:
        labels: Shape (N,).
        share: Of them, in [0, 1].
        num_classes: Of the task.
        rng: Draws which.
    Raises: ConfigError for labels that are not classes.
    """
    _check_classes(labels, what="label_flip")
    flipped = labels.copy()
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    flipped[chosen] = (flipped[chosen] + 1) % num_classes
    return flipped


def with_backdoor(
    features: NDArray[np.float32], labels: NDArray[Any], *, target: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Half of the rows with a mark, and labelled as the target: a model that learns them answers the target where it sees the mark.

    The mark sets the last sixteenth of an input's values to the largest that the rows have. Source: Gu et al. 2017, "BadNets",
    arXiv:1708.06733; Bagdasaryan et al. 2020, "How To Backdoor Federated Learning", arXiv:1807.00459.

    Args:
        features: Of the rows.
        labels: Shape (N,).
        target: Class that the mark stands for.
        rng: Draws which rows.
    Raises: ConfigError for labels that are not classes.
    """
    _check_classes(labels, what="backdoor")
    features, labels = features.copy(), labels.copy()
    chosen = rng.permutation(len(labels))[: (len(labels) + 1) // 2]
    features[chosen], labels[chosen] = marked(features[chosen], value=float(features.max())), target
    return features, labels


def marked(features: NDArray[np.float32], *, value: float) -> NDArray[np.float32]:
    """Inputs with the mark of a back door, shape (N, ...)."""
    flat = features.reshape(len(features), -1).copy()
    flat[:, -max(1, flat.shape[1] // _MARKED) :] = value
    return flat.reshape(features.shape)


def _check_classes(labels: NDArray[Any], *, what: str) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(
            f"behaviour {what} changes classes, and the labels of this task are numbers; choose another one"
        )
