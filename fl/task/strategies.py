"""Flower's strategies by the names that specs and configurations use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedProx,
    FedYogi,
    Krum,
    MultiKrum,
    Strategy,
)

from fl.errors import ConfigError

STRATEGIES: dict[str, type[FedAvg]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "krum": Krum,
    "multikrum": MultiKrum,
}


def build_strategy(name: str, arguments: Mapping[str, Any]) -> Strategy:
    """A Flower strategy that trains on every node and leaves evaluation to the server.

    Raises: ConfigError for an unknown name, or arguments that the strategy does not take.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy.name is {name!r}; choose one of {', '.join(STRATEGIES)}")
    # Flower waits for two nodes by default, and for ever where there is one.
    defaults = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1}
    try:
        return STRATEGIES[name](**{**defaults, **arguments})
    except TypeError as error:
        raise ConfigError(
            f"strategy={name} cannot be built: {error}; see Flower's {STRATEGIES[name].__name__}"
        ) from error
