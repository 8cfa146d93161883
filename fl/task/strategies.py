"""Flower's strategies by the names that specs and configurations use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
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
    "fedmedian": FedMedian,
    "fedtrimmedavg": FedTrimmedAvg,
    "bulyan": Bulyan,
}
# Settings that decide what a round's aggregate is, by the names that Flower gives them and their attributes.
_DECISIVE = {
    "krum": ("num_malicious_nodes",),
    "multikrum": ("num_malicious_nodes", "num_nodes_to_select"),
    "fedtrimmedavg": ("beta",),
    "bulyan": ("num_malicious_nodes",),
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


def described(strategy: Strategy) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a strategy that was built elsewhere: those that an evaluator needs to tell what it takes.

    The name of a class that is not in `STRATEGIES` is its own, in lower case.
    """
    name = type(strategy).__name__.lower()
    arguments = {key: getattr(strategy, key) for key in _DECISIVE.get(name, ())}
    return name, arguments
