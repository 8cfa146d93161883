"""What a run's privacy settings come to in its spec."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fl.coordinator.config import RunConfig
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.privacy.budget import Sampling, multiplier_for, planned
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
        projections=0 if asked.noise == "client" else asked.projections if asked.masked else PrivacyTerms().projections,
        noise=asked.noise,
        multiplier=asked.multiplier or ("1" if asked.epsilon is not None else "0"),
        delta=asked.delta if asked.noise != "none" else PrivacyTerms().delta,
        clip=asked.clip if asked.noise != "none" else PrivacyTerms().clip,
        rows=_least_rows(config, federation),
    )
    sampling = Sampling(steps=config.task.steps, batch=config.task.batch_size, rows=terms.rows) if terms.rows else None
    if asked.epsilon is not None:
        found = multiplier_for(asked.epsilon, rounds=config.task.rounds, terms=terms, sampling=sampling)
        terms = replace(terms, multiplier=found)
    if terms.noise != "none":
        planned(terms, rounds=config.task.rounds, sampling=sampling)  # without the accountant nothing is escrowed
    if (terms.masked or terms.noise == "client") and config.task.block_bits != 16:
        raise ConfigError(
            f"task.block_bits is {config.task.block_bits} and updates are private: masks and noise are 16-bit; set task.block_bits=16"
        )
    if terms.masked:
        clients = len(federation.shards) or config.coordinator.clients
        if clients < LEAST_CLIENTS:
            raise ConfigError(
                f"privacy=masked and {plural(clients, 'client')}: the sum of two shows each the other's update; wait for {LEAST_CLIENTS} or "
                "more (coordinator.clients, partition.clients)"
            )
        terms.threshold_of(terms.degree(clients) + 1)
    return terms.to_spec()


def _least_rows(config: RunConfig, federation: Federation) -> int:
    """How many rows a client has at least, where the noise is on rows; 0 elsewhere."""
    asked, counts = config.privacy, [len(shard.data) for shard in federation.shards]
    if asked.noise != "rows":
        if asked.rows:
            raise ConfigError(
                f"privacy.rows is {asked.rows} and privacy.noise {asked.noise}; it is of privacy=dpsgd alone"
            )
        return 0
    if not asked.rows and not counts:
        raise ConfigError(
            "privacy.rows is not set: what noise on rows spends depends on how many a client has at least, which nobody knows before it "
            "joins; set privacy.rows=1000, say, and who has fewer is told before it stakes"
        )
    least = asked.rows or min(counts)
    if counts and min(counts) < least:
        raise ConfigError(
            f"privacy.rows is {least} and the smallest shard has {plural(min(counts), 'row')}; set privacy.rows={min(counts)} or less, or "
            "fewer clients"
        )
    return least


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
