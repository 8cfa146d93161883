"""What one round came to, as the coordinator tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np

from fl.chain.task_state import Posting
from fl.chain.typed_data import Header, header_hash
from fl.coordinator.round.collect import Refusal
from fl.coordinator.round.opening import OpenRound
from fl.coordinator.round.posting import SignedHeader
from fl.coordinator.round.settle import SettledRound
from fl.rewards import WEIGHT_ONE, Leaf
from fl.scoring.analysis.uncertainty import ScoreReading, read_attested, read_scores
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.lengths import length_factor
from fl.scoring.paid import PaidScoring
from fl.scoring.replication import duplicate_groups


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
    loss_before: float  # on the validation set
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
    epsilon: float | None = None  # what the noise of all rounds has spent of a client's privacy; None in a task without


def report_of(
    opened: OpenRound,
    settled: SettledRound,
    signed: SignedHeader,
    posting: Posting,
    *,
    scoring: PaidScoring,
    folder: Path,
    refusals: Sequence[Refusal],
) -> RoundReport:
    """Tell a round that is on chain.

    Args:
        opened: What was known before anybody answered.
        settled: What was made of the answers.
        signed: What the evaluators signed.
        posting: How it came onto the chain.
        scoring: By the task's rule; says the losses of the models.
        folder: Of the bundle.
        refusals: Of the nodes' replies; those that only scoring saw are in `settled`.
    Returns: the report but for receipts, reading, what the noise spent, and its seconds, which count this step too.
    """
    bundle, header, rows = settled.bundle, posting.header, scoring.validation
    taken = {participant.account for participant in settled.participants}
    paid_before = {leaf.account: leaf.cumulative for leaf in opened.before.leaves}
    before, after = rows.evaluate(opened.base), rows.evaluate(bundle.next)
    aggregated = after if bundle.aggregate is None else rows.evaluate(bundle.aggregate)
    rows.give_back()
    return RoundReport(
        round=opened.number,
        header=header,
        header_hash=header_hash(header),
        evaluators=signed.evaluators,
        leaves=bundle.leaves,
        scores={leaf.account: leaf.score for leaf in bundle.leaves if leaf.account in taken},
        left_out=tuple(participant.account for participant in settled.participants if not participant.selected),
        pays={leaf.account: leaf.cumulative - paid_before.get(leaf.account, 0) for leaf in bundle.leaves},
        stakes={account: enrolment.stake for account, enrolment in opened.enrolled.items()},
        refusals=(*refusals, *settled.refusals),
        loss_before=before.loss,
        loss_aggregated=aggregated.loss,
        loss_after=after.loss,
        public_rate=bundle.public.rate if bundle.public else None,
        factors=settled.factors
        if settled.factors is not None
        else {
            participant.account: length_factor(participant.blocks, length=bundle.length)
            for participant in settled.participants
        },
        bundle=folder,
        transaction=posting.sent.hash,
        gas=posting.sent.gas,
        posted_at=posting.time,
        duplicates=_duplicates(settled, threshold=scoring.spec.duplicate_cosine),
    )


def read_round(
    opened: OpenRound, settled: SettledRound, *, scoring: PaidScoring, most_clients: int
) -> ScoreReading | None:
    """Standard errors and scores by class; None of a round in which nobody is, or more clients than are read.

    Args:
        opened: What was known before anybody answered.
        settled: What was made of the answers.
        scoring: By the task's rule.
        most_clients: How many clients a round may have and still be read.
    """
    participants, bundle, spec = settled.participants, settled.bundle, scoring.spec
    accounts = [participant.account for participant in participants]
    if not 0 < len(participants) <= most_clients:
        return None
    if spec.attested:
        return read_attested(settled.attested, accounts=accounts)
    inputs = RoundInputs(
        game=scoring.validation,
        base=opened.base,
        updates=BlockUpdates(blocks=[participant.blocks for participant in participants]),
        weights=np.array([update.weight / WEIGHT_ONE for update in bundle.updates]),
        public=scoring.public_before(base=opened.base, past=opened.before.public),
    )
    return read_scores(inputs, accounts=accounts, class_names=spec.class_names, nodes=spec.quadrature)


def _duplicates(settled: SettledRound, *, threshold: str | Decimal | None) -> tuple[tuple[str, ...], ...]:
    groups = duplicate_groups([participant.blocks for participant in settled.participants], threshold=threshold)
    return tuple(tuple(settled.participants[member].account for member in group) for group in groups)
