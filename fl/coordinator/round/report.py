"""What one round came to, as the coordinator tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fl.chain.typed_data import Header
from fl.coordinator.round.collect import Refusal
from fl.rewards import Leaf
from fl.scoring.analysis.uncertainty import ScoreReading


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundReport:
    """What one round came to, for reports and progress bars."""

    round: int
    header: Header
    header_hash: bytes
    evaluators: tuple[str, ...]  # who signed the header
    leaves: tuple[Leaf, ...]
    scores: dict[str, int]  # units of 2^−40 of loss, of accepted updates
    left_out: tuple[str, ...]  # accepted, but not taken by the strategy (Krum)
    pays: dict[str, int]  # wei
    stakes: dict[str, int]  # wei, of everybody enrolled
    factors: dict[str, float]  # what the round's length left of each accepted update, 0 to 1
    refusals: tuple[Refusal, ...]
    loss_before: float  # on the validation rows that score
    loss_aggregated: float  # of the inner strategy's model, before the public step
    loss_after: float
    public_rate: float | None  # of the public step, 0 where it did not help; None in a task without
    bundle: Path
    transaction: str  # 0x hash of the post
    gas: int
    posted_at: int  # s, of the post's block
    receipts: dict[str, bytes] = field(default_factory=dict)  # account -> the coordinator's signature, 65 bytes
    duplicates: tuple[tuple[str, ...], ...] = ()  # groups of accounts that shared one weight
    reading: ScoreReading | None = None  # of rounds that are small enough to be read
    seconds: dict[str, float] = field(default_factory=dict)  # by step; training and signing are told by the clients
