"""How a coordinator runs its rounds, and what it is told and asked while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fl.coordinator.round.report import RoundReport


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What is the same in every round."""

    seed: int = 0  # draws the inner strategy's sample of nodes
    read_clients: int = 0  # rounds of at most so many clients get standard errors and scores by class
    resumable: bool = (
        True  # whether to write down each step as it is done; False where the chain ends with this process
    )
    simulated: str = ""  # the invite in one line, if the nodes are simulated and sign with Anvil's published keys


@dataclass(frozen=True, kw_only=True)
class RoundHooks:
    """What is called as rounds go on."""

    # With a round none of whose nodes is connected; returns when they are, or have had their time.
    await_nodes: Callable[[int], None] = lambda number: None
    on_phase: Callable[[int, str], None] = lambda number, phase: None  # the round and each step as it begins
    # Each round's report once it is on chain; again after a crash before it returned.
    on_round: Callable[[RoundReport], None] = lambda report: None
