"""From a masked round's words to its bundle: unmask the sum, find the direction, have the masks told of, score, aggregate, settle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from flwr.serverapp.strategy import Strategy

from fl.aggregation.replay import aggregate, content_of_sum
from fl.audit.masked import SEALED, masked_weights
from fl.bundle.format import Bundle, BundledUpdate
from fl.codec import Blocks, UnencodableVector
from fl.coordinator.round.clock import Step
from fl.coordinator.round.collect import AcceptedUpdate, Refusal
from fl.coordinator.round.masked import MaskedRound
from fl.coordinator.round.opening import OpenRound
from fl.coordinator.round.settle import SettledRound, bundle_of
from fl.privacy.masked_round import MaskedScores, score_round, unmask
from fl.rewards import Participant, settle
from fl.scoring.paid import PaidScoring

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class SettledMasked:
    """A masked round that only lacks its header."""

    settled: SettledRound
    updates: tuple[AcceptedUpdate, ...]  # whose words are in, for receipts; their blocks are sealed
    liars: tuple[str, ...]  # whose word of a mask, or of their length, was proven false


def settle_masked(
    current: OpenRound,
    masked: MaskedRound,
    *,
    inner: Strategy,
    scoring: PaidScoring,
    step: Callable[[Step], AbstractContextManager[None]],
) -> SettledMasked:
    """Unmask, score, aggregate and settle a round whose words were collected.

    Args:
        masked: Collected; void where too few were left, which settles as a round in which nobody took part.
        inner: Makes the next model.
        scoring: Finds the direction.
        step: Opened around each step with its name, to time it.
    Raises: UnencodableVector if the base model itself has no gradient.
    """
    state = masked.state
    setting, said = state.setting, state.said
    with step("scoring"):
        moved, ruined = np.zeros(len(current.base)), ""
        if state.survivors:
            moved = unmask(
                {account: state.words[account] for account in state.survivors}, transcript=said, setting=setting
            ).step
        try:
            direction = Blocks.encode(scoring.direction(base=current.base, step=moved, past=current.before.public))
        except UnencodableVector:
            if not state.survivors:
                raise
            ruined = "with the sum of its updates the validation loss has no finite gradient; lower the learning rate"
            direction = _direction_of_nobody(current, scoring)
    # What a ruinous round is told of shows whose words were too long, and nothing else comes of it; noise that counts void rounds as
    # telling nothing has no projections either.
    words = {account: state.words[account] for account in state.survivors}
    roots = {account: state.roots[account] for account in state.survivors}
    with step("telling"):
        found = MaskedScores(scores={}, faults={}, liars=())
        if state.survivors and (not ruined or setting.terms.projections):
            masked.tell(direction)
            found = score_round(words, roots=roots, direction=direction, transcript=said, setting=setting)
    refusals = [*state.refusals]
    for account, reason in found.faults.items():
        refusals.append(Refusal(node_id=state.nodes[account], account=account, reason=reason))
        log.warning("round %d: %s scores 0: %s", current.number, account, reason)
    if found.too_long:
        # Everybody's score is along a path that these words bent, so that a longer update pays whoever sends its opposite.
        ruined = f"its sum has words that are longer than was stated, of {' and '.join(found.too_long)}"
    if ruined:
        state.void = ruined
        log.warning("round %d is void: %s", current.number, state.void)
        moved, direction = np.zeros(len(current.base)), _direction_of_nobody(current, scoring)
    if state.void:
        refusals += [
            Refusal(node_id=state.nodes[account], account=account, reason=f"the round is void: {state.void}")
            for account in state.words
            if all(other.account != account for other in refusals)
        ]
    survivors, scores = state.survivors, {} if state.void else found.scores
    weights = masked_weights({account: setting.stakes[account] for account in survivors})
    participants = [
        Participant(account=account, stake=setting.stakes[account], blocks=SEALED, root=state.roots[account])
        for account in survivors
    ]
    with step("aggregating"):
        weighted_by = getattr(inner, "weighted_by_key", "num-examples")
        contents = [content_of_sum(moved, base=current.base, layout=current.layout, weighted_by=weighted_by)]
        made, metrics = aggregate(
            inner, current.number, contents if survivors else [], base=current.base, layout=current.layout
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
    length = said.length(setting)
    bundle = bundle_of(
        current,
        [
            BundledUpdate(
                account=account,
                stake=setting.stakes[account],
                weight=weights[account],
                selected=True,
                root=state.roots[account],
                signature=state.signatures[account],
                wire=state.words[account].astype("<u8").tobytes(),
            )
            for account in survivors
        ],
        direction=direction,
        settlement=settlement,
        made=made,
        public=public,
        length=length,
        masked=said,
    )
    settled = SettledRound(
        bundle=bundle,
        participants=tuple(participants),
        refusals=tuple(refusals),
        metrics=metrics,
        factors={
            account: min(1.0, length / said.roster[account]) if said.roster[account] else 1.0 for account in survivors
        },
    )
    updates = accepted_of(bundle, state.nodes, state.seconds_training)
    return SettledMasked(settled=settled, updates=tuple(updates), liars=(*found.liars, *found.too_long))


def _direction_of_nobody(current: OpenRound, scoring: PaidScoring) -> Blocks:
    """The direction of a round in which the model stays."""
    nowhere = np.zeros(len(current.base))
    return Blocks.encode(scoring.direction(base=current.base, step=nowhere, past=current.before.public))


def masked_participants(bundle: Bundle) -> tuple[Participant, ...]:
    """Those whose words a masked bundle holds; the strategies of masked rounds remember nothing of them."""
    return tuple(update.participant(SEALED) for update in bundle.updates)


def accepted_of(
    bundle: Bundle, nodes: Mapping[str, int], seconds_training: Mapping[str, float]
) -> list[AcceptedUpdate]:
    """Those whose words a masked bundle holds, as receipts and reports know them.

    Args:
        bundle: Of the round.
        nodes: By account.
        seconds_training: By account.
    """
    return [
        AcceptedUpdate(
            account=update.account,
            node_id=nodes.get(update.account, 0),
            stake=update.stake,
            blocks=SEALED,
            wire=b"",
            root=update.root,
            signature=update.signature,
            seconds_training=seconds_training.get(update.account, 0.0),
        )
        for update in bundle.updates
    ]
