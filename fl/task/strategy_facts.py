"""What is known of Flower's strategies, in one table: how each makes its model of a round's updates, and what follows from that.

It imports nothing of Flower: `fl.task.strategies` builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """One strategy. The defaults are what holds of a strategy of somebody's own."""

    kind: str = ""  # its class in `flwr.serverapp.strategy`
    is_mean: bool = False  # its model is the weighted mean of the updates that it takes
    selects: bool = False  # it leaves updates out
    remembers: bool = False  # what it makes of a round depends on the rounds before
    maskable: bool = (
        False  # the next model follows from the sums of masked rounds alone: of this one, or of all until now
    )
    decisive: tuple[str, ...] = ()  # settings that decide what an aggregate is, by Flower's names and attributes
    # Of a strategy that picks each coordinate from another client: the rule that scores the parts it took, and what that rule
    # calls the strategy's settings.
    scored_by: str = ""
    rule_settings: Mapping[str, str] = field(default_factory=dict)


STRATEGY_FACTS = {
    "fedavg": StrategyFacts(kind="FedAvg", is_mean=True, maskable=True),
    "fedprox": StrategyFacts(kind="FedProx", is_mean=True, maskable=True),
    "fedavgm": StrategyFacts(kind="FedAvgM", remembers=True, maskable=True),
    "fedadam": StrategyFacts(kind="FedAdam", remembers=True, maskable=True),
    "fedyogi": StrategyFacts(kind="FedYogi", remembers=True, maskable=True),
    "fedadagrad": StrategyFacts(kind="FedAdagrad", remembers=True, maskable=True),
    "krum": StrategyFacts(kind="Krum", is_mean=True, selects=True, decisive=("num_malicious_nodes",)),
    "multikrum": StrategyFacts(
        kind="MultiKrum", is_mean=True, selects=True, decisive=("num_malicious_nodes", "num_nodes_to_select")
    ),
    "fedmedian": StrategyFacts(kind="FedMedian", scored_by="median"),
    "fedtrimmedavg": StrategyFacts(
        kind="FedTrimmedAvg", decisive=("beta",), scored_by="trimmed_mean", rule_settings={"beta": "beta"}
    ),
    "bulyan": StrategyFacts(
        kind="Bulyan",
        selects=True,
        decisive=("num_malicious_nodes",),
        scored_by="bulyan",
        rule_settings={"num_malicious_nodes": "malicious"},
    ),
}


def facts_of(strategy: str) -> StrategyFacts:
    """What is known of a strategy by its name in a spec."""
    return STRATEGY_FACTS.get(strategy, StrategyFacts())
