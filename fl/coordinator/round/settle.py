"""From a round's accepted updates to its bundle: weigh, score, aggregate, settle."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
from flwr.app import MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl.aggregation.replay import aggregate
from fl.aggregation.selection import content_for, selected_by
from fl.bundle.format import Bundle, BundledUpdate
from fl.codec import Blocks, UnencodableVector
from fl.coordinator.round.clock import Step
from fl.coordinator.round.collect import AcceptedUpdate, Refusal
from fl.coordinator.round.opening import OpenRound
from fl.coordinator.round.side_records import joined
from fl.privacy.transcript import Transcript
from fl.rewards import Participant, Settlement, settle, weigh
from fl.scoring.direction import weighted_step
from fl.scoring.lengths import agreed_length, loose_cap
from fl.scoring.paid import PaidScoring, UnusableScore
from fl.scoring.public_step import PublicStep
from fl.scoring.replication import share_stakes
from fl.scoring.rows import few_rows
from fl.scoring.scores import Scores
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class SettledRound:
    """A round that only lacks its header."""

    bundle: Bundle
    participants: tuple[Participant, ...]
    refusals: tuple[Refusal, ...]  # those that only scoring could see
    metrics: MetricRecord | None  # the strategy's own
    attested: Scores | None = None  # what the rule says beside its scores, where evaluators attest them
    factors: dict[str, float] | None = (
        None  # of a masked round: what its length left of each, by the length that it stated
    )


def settle_updates(
    current: OpenRound,
    updates: Sequence[AcceptedUpdate],
    *,
    inner: Strategy,
    scoring: PaidScoring,
    step: Callable[[Step], AbstractContextManager[None]],
) -> SettledRound:
    """Weigh, score, aggregate and settle a round.

    Args:
        updates: Accepted, ascending by account.
        inner: Makes the next model.
        scoring: By the task's rule.
        step: Opened around each step with its name, to time it.
    Raises: UnencodableVector if the base model itself has no gradient.
    """
    spec = scoring.spec
    with step("scoring"):
        updates, refusals = _within(updates, most=scoring.most_clients, scorer=spec.scorer)
        if current.number == 1:
            _warn(updates, scoring=scoring)
        # Before the inner strategy sees anything: what ruins the loss would stay in a server optimizer's memory.
        while True:
            participants, contents, length = _participants(current, updates, inner=inner, spec=spec)
            weights = weigh(participants, cap=length)
            try:
                blocks = _direction(current, participants, weights, scoring=scoring)
                scores, attested = scoring.scores(
                    participants,
                    base=current.base,
                    weights=weights,
                    direction=blocks,
                    task_id=current.task_id,
                    round_number=current.number,
                )
                break
            except (UnencodableVector, UnusableScore):
                if not updates:
                    raise
                updates, ruinous = _without_ruinous(current, updates, weights, scoring=scoring)
                refusals += ruinous
    with step("aggregating"):
        made, metrics = aggregate(
            inner,
            current.number,
            contents,
            base=current.base,
            layout=current.layout,
            nodes=[update.node_id for update in updates],
        )
    with step("public step"):
        public = scoring.public_step(
            base=current.base,
            aggregate=made,
            layout=current.layout,
            number=current.number,
            past=current.before.public,
        )
    with step("settling"):
        settlement = settle(
            participants, weights=weights, scores=scores, accounts=current.accounts, allowed=current.allowed
        )
    bundle = bundle_of(
        current,
        [_bundled(update, participant, weights) for update, participant in zip(updates, participants, strict=True)],
        direction=blocks,
        settlement=settlement,
        made=made,
        public=public,
        length=length,
    )
    return SettledRound(
        bundle=bundle,
        participants=tuple(participants),
        refusals=tuple(refusals),
        metrics=metrics,
        attested=attested,
    )


def _direction(
    current: OpenRound, participants: Sequence[Participant], weights: Mapping[str, int], *, scoring: PaidScoring
) -> Blocks:
    way = scoring.step(participants, base=current.base, weights=weights)
    return Blocks.encode(scoring.direction(base=current.base, step=way, past=current.before.public))


def _participants(
    current: OpenRound, updates: Sequence[AcceptedUpdate], *, inner: Strategy, spec: TaskSpec
) -> tuple[list[Participant], list[RecordDict], int]:
    # Flower wants the same metrics in every reply, and a client may send what it likes.
    shared = set.intersection(*(set(update.metrics) for update in updates)) if updates else set()
    candidates = [
        Participant(account=update.account, stake=update.stake, blocks=update.blocks, root=update.root)
        for update in updates
    ]
    candidates = share_stakes(candidates, threshold=spec.duplicate_cosine)
    length = agreed_length(candidates, spec=spec)
    weighted_by = getattr(inner, "weighted_by_key", "num-examples")
    contents = [
        joined(
            content_for(
                candidate,
                base=current.base,
                layout=current.layout,
                cap=length,
                metrics={key: update.metrics[key] for key in shared},
                weighted_by=weighted_by,
            ),
            update.side,
        )
        for candidate, update in zip(candidates, updates, strict=True)
    ]
    taken = selected_by(inner, contents)
    participants = [
        candidate if is_taken else replace(candidate, selected=False)
        for candidate, is_taken in zip(candidates, taken, strict=True)
    ]
    return participants, contents, length


def _warn(updates: Sequence[AcceptedUpdate], *, scoring: PaidScoring) -> None:
    """Say in the first round's log what makes pay follow worth badly."""
    spec, rows = scoring.spec, scoring.game
    capped = loose_cap((update.blocks for update in updates), cap=spec.norm_cap) if spec.length == "capped" else None
    for warning in (capped, few_rows(len(rows)) if rows is not None else None):
        if warning:
            log.warning(warning)


def _within(
    updates: Sequence[AcceptedUpdate], *, most: int | None, scorer: str
) -> tuple[list[AcceptedUpdate], list[Refusal]]:
    """As many updates as the rule can value, largest stakes first, so that one client more does not end a task."""
    by_stake = sorted(updates, key=lambda update: (-update.stake, int(update.account, 16)))
    out = {update.account for update in by_stake[most:]} if most is not None else set()
    reason = f"scorer={scorer} values at most {most} clients of a round, and others staked more"
    refused = [
        Refusal(node_id=update.node_id, account=update.account, reason=reason)
        for update in by_stake
        if update.account in out
    ]
    for refusal in refused:
        log.warning("node %d refused: %s", refusal.node_id, refusal.reason)
    return [update for update in updates if update.account not in out], refused


def _without_ruinous(
    current: OpenRound, updates: Sequence[AcceptedUpdate], weights: Mapping[str, int], *, scoring: PaidScoring
) -> tuple[list[AcceptedUpdate], list[Refusal]]:
    """Leave out those whose step alone, as it weighs in this round, has no direction that blocks carry; everybody if there is none.

    A finite loss is not enough: along a steep one the gradient is beyond what blocks carry, and one such update would cost all their round.
    """

    def ruins(update: AcceptedUpdate) -> bool:
        step = weighted_step([(update.blocks, weights[update.account])], size=len(current.base))
        if not math.isfinite(scoring.loss((current.base + step).astype(np.float32))):
            return True
        try:
            Blocks.encode(scoring.direction(base=current.base, step=step, past=current.before.public))
        except UnencodableVector:
            return True
        return False

    out = {update.account for update in updates if ruins(update)} or {update.account for update in updates}
    reason = "with this update the validation loss has no finite gradient; lower the learning rate"
    refused = [
        Refusal(node_id=update.node_id, account=update.account, reason=reason)
        for update in updates
        if update.account in out
    ]
    for refusal in refused:
        log.warning("node %d refused: %s", refusal.node_id, refusal.reason)
    return [update for update in updates if update.account not in out], refused


def bundle_of(
    current: OpenRound,
    updates: Sequence[BundledUpdate],
    *,
    direction: Blocks,
    settlement: Settlement,
    made: NDArray[np.float32],
    public: tuple[PublicStep, NDArray[np.float32]] | None,
    length: int,
    masked: Transcript | None = None,
) -> Bundle:
    """What is published of a round.

    Args:
        updates: Of those who took part, in their order.
        direction: As posted.
        settlement: Leaves and price.
        made: What the inner strategy made of the model, shape (P,).
        public: The public step and the model after it, shape (P,); None in a task without.
        length: R, units of 2^−64.
        masked: What was said in a masked round.
    """
    return Bundle(
        task_id=current.task_id,
        round=current.number,
        layout=current.layout,
        base=current.base,
        next=public[1] if public else made,
        updates=tuple(updates),
        direction=direction,
        previous=current.before.leaves,
        leaves=settlement.tree.leaves,
        price=settlement.payout.price,
        length=length,
        aggregate=made if public else None,
        public=public[0] if public else None,
        masked=masked,
    )


def _bundled(update: AcceptedUpdate, participant: Participant, weights: Mapping[str, int]) -> BundledUpdate:
    return BundledUpdate(
        account=update.account,
        stake=update.stake,
        weight=weights[update.account],
        selected=participant.selected,
        root=update.root,
        signature=update.signature,
        wire=update.wire,
    )
