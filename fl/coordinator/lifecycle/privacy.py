"""What a run's privacy settings come to in its spec."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fl.coordinator.config import RunConfig
from fl.errors import ConfigError
from fl.privacy.budget import multiplier_for, planned
from fl.privacy.terms import LEAST_CLIENTS, PrivacyTerms
from fl.task.data import Federation
from fl.task.spec import TaskSpec


def privacy_of(config: RunConfig, federation: Federation) -> dict[str, Any] | None:
    """The `privacy` of a spec, None for an open task.

    Raises: ConfigError for what so few clients cannot keep, or so many rounds cannot meet.
    """
    asked = config.privacy
    terms = PrivacyTerms(
        masked=asked.masked,
        threshold=asked.threshold,
        neighbours=asked.neighbours,
        projections=0 if asked.noise != "none" else asked.projections if asked.masked else PrivacyTerms().projections,
        noise=asked.noise,
        multiplier=asked.multiplier or ("1" if asked.epsilon is not None else "0"),
        delta=asked.delta if asked.noise != "none" else PrivacyTerms().delta,
        clip=asked.clip if asked.noise != "none" else PrivacyTerms().clip,
    )
    if asked.epsilon is not None:
        terms = replace(terms, multiplier=multiplier_for(asked.epsilon, rounds=config.task.rounds, terms=terms))
    if terms.noise == "client":
        planned(terms, rounds=config.task.rounds)  # without the accountant nothing is escrowed
    if (terms.masked or terms.noise == "client") and config.task.block_bits != 16:
        raise ConfigError(
            f"task.block_bits is {config.task.block_bits} and updates are private: masks and noise are 16-bit; set task.block_bits=16"
        )
    if terms.masked:
        clients = len(federation.shards) or config.coordinator.clients
        if clients < LEAST_CLIENTS:
            raise ConfigError(
                f"privacy=masked and {clients} clients: the sum of two shows each the other's update; wait for {LEAST_CLIENTS} or "
                "more (coordinator.clients, partition.clients)"
            )
        terms.threshold_of(terms.degree(clients) + 1)
    return terms.to_spec()


def cap_with_noise(spec: TaskSpec, *, parameters: int) -> TaskSpec:
    """The spec of an open task with noise, with a norm cap that a noisy update keeps to: else noise would shorten what it hides.

    Args:
        parameters: P; noise of a deviation on each of them is √P times that long, and by a few per cent more seldom.
    """
    terms = spec.private
    if terms.noise != "client" or terms.masked:
        return spec
    cap = float(terms.clip) * (1 + terms.sigma * (math.sqrt(parameters) + 6))
    return replace(spec, norm_cap=f"{cap:.6g}")
