"""Flower's strategies by the names that specs and configurations use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from fl.errors import ConfigError
from fl.task.strategy_facts import STRATEGY_FACTS, facts_of

STRATEGIES: dict[str, type[FedAvg]] = {name: getattr(flower, facts.kind) for name, facts in STRATEGY_FACTS.items()}


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
    arguments = {key: getattr(strategy, key) for key in facts_of(name).decisive}
    return name, arguments
