"""What a run comes to, and what a view is told while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fl.chain.sender import Sent
from fl.chain.task_state import Terms
from fl.coordinator.round.report import RoundReport
from fl.scoring.game import Evaluation
from fl.task.data import DataReading
from fl.task.spec import TaskSpec


@dataclass(kw_only=True)
class Watcher:
    """What a view is told while the federation runs; every method may be replaced."""

    on_setup: Callable[[str], None] = lambda what: None
    on_data: Callable[[DataReading], None] = lambda reading: (
        None
    )  # what was understood of the data, before anything else
    on_doubt: Callable[[str], None] = lambda told: None  # what works and is seldom meant, before money moves
    on_task: Callable[[FederationResult], None] = lambda result: None  # before round 1; it fills as the rounds go
    on_phase: Callable[[int, str], None] = lambda number, phase: None
    on_reply: Callable[[int], None] = lambda node_id: None
    on_round: Callable[[RoundReport, Evaluation], None] = lambda report, test: None


@dataclass(kw_only=True)
class ClientResult:
    """What one client put in and got out."""

    number: int
    name: str
    account: str
    behaviour: str
    samples: int | None  # None where only the client itself knows
    class_counts: list[int] | None
    stake: int  # wei
    score: int = 0  # units of 2^−40 of loss, all rounds
    earned: int = 0  # wei
    claimed: int = 0  # wei, as the contract says
    balance: int = 0  # wei of the token after claiming and before the stake came back, as the token says


@dataclass(frozen=True, kw_only=True)
class EngineUse:
    """How a run's clients were trained."""

    name: str
    workers: int  # processes at the same time
    vectorised: bool  # whether in one batch, where the app could
    why: str  # in words


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """How the models of a task of text go on after the same words."""

    opening: str
    before: str  # by the initial model
    after: str  # by the last one


@dataclass(kw_only=True)
class FederationResult:
    """What a run came to."""

    task_id: bytes
    chain_id: int
    contract: str
    token: str
    terms: Terms
    spec: TaskSpec
    initial: Evaluation  # of the initial model on the test set
    parameters: int  # values of the model's vector
    validation_samples: int
    test_samples: int
    rounds: list[RoundReport] = field(default_factory=list)
    tests: list[Evaluation] = field(default_factory=list)  # after each round, on the test set
    clients: list[ClientResult] = field(default_factory=list)
    sample: TextSample | None = None  # of a language model, once its last round is over
    gas: dict[str, list[int]] = field(default_factory=dict)  # by operation, one figure a transaction
    seconds: dict[str, float] = field(default_factory=dict)
    engine: EngineUse | None = None  # None where the clients are on machines of their own
    paid: int = 0  # wei of the task's total that was claimed, as the contract says


def note_gas(gas: dict[str, list[int]], name: str, sent: Sent | None) -> None:
    """Add a transaction to the gas of its operation; one that was not needed adds nothing.

    Args:
        gas: By operation, one figure a transaction.
        name: Of the operation.
        sent: The transaction; None for one that was not needed.
    """
    if sent is not None:
        gas.setdefault(name, []).append(sent.gas)
