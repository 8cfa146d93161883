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
    try:
        return STRATEGIES[name](**{"fraction_evaluate": 0.0, **arguments})
    except TypeError as error:
        raise ConfigError(
            f"strategy={name} cannot be built: {error}; see Flower's {STRATEGIES[name].__name__}"
        ) from error
