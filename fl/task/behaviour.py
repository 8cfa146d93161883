"""What a client does instead of honest work, for demonstrations and experiments.

A behaviour is text in the node configuration: `honest`, `label_flip:0.5` (that share of the labels is moved to the next
class before training) or `free_ride` (the base model goes back unchanged).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl.errors import ConfigError

HONEST, FREE_RIDE, LABEL_FLIP = "honest", "free_ride", "label_flip"


def check_behaviour(text: str) -> tuple[str, float]:
    """Split a behaviour into its name and its share. Raises: ConfigError for anything else."""
    name, _, share_text = text.partition(":")
    try:
        share = float(share_text or 0)
    except ValueError:
        share = -1
    if (name == LABEL_FLIP and 0 < share <= 1) or (name in (HONEST, FREE_RIDE) and not share_text):
        return name, share
    raise ConfigError(
        f"behaviour {text!r} is unknown; write {HONEST}, {FREE_RIDE} or {LABEL_FLIP}:SHARE with 0 < SHARE ≤ 1"
    )


def flip_labels(
    labels: NDArray[np.int64], *, share: float, num_classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Move a share of the labels to the next class; shape (N,)."""
    flipped = labels.copy()
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    flipped[chosen] = (flipped[chosen] + 1) % num_classes
    return flipped
