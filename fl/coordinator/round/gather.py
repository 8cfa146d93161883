"""A round's updates: those that the journal and the bundle have in hand, and those that the nodes answer with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import Message

from fl.bundle.format import Bundle
from fl.codec import Blocks
from fl.coordinator.round.collect import AcceptedUpdate, Refusal, collect
from fl.coordinator.round.journal import Collected, Journal
from fl.coordinator.round.opening import OpenRound

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class InHand:
    """What a coordinator has of a round that an earlier life of it began; in a round of its own, nothing."""

    collected: Collected | None = None
    scored: Bundle | None = None  # whoever scored a round needs no answers any more: the updates are in the bundle

    @property
    def is_complete(self) -> bool:
        """Whether nobody has to be asked."""
        return self.scored is not None or (self.collected is not None and not self.collected.lost)

    def asks(self, node: int) -> bool:
        """Whether this node's answer is not in hand."""
        return self.collected is None or node in self.collected.lost


def in_hand(opened: OpenRound, *, journal: Journal) -> InHand:
    """What was written down of a round, each update checked as when it came."""
    scored = journal.whole_bundle(opened.number)
    collected = journal.collected(opened.number, opened.question) if journal.is_collected(opened.number) else None
    return InHand(collected=collected, scored=scored)


def gather(
    replies: Iterable[Message],
    opened: OpenRound,
    *,
    hand: InHand,
    journal: Journal,
    owners: Mapping[int, tuple[str, ...]] | None,
) -> tuple[list[AcceptedUpdate], list[Refusal]]:
    """The accepted updates, ascending by account, and the refusals; both are written down.

    Args:
        replies: Of the nodes that were asked.
        opened: The round.
        hand: What an earlier life of the coordinator had of it.
        journal: Takes down what is collected.
        owners: Accounts that joined with the key of each node; None where nodes have no keys.
    Raises: NotKept if it cannot be written down.
    """
    kept, number = hand.collected, opened.number
    if hand.scored is not None:
        log.info("round %d: %d updates are in its bundle", number, len(hand.scored.updates))
        return _updates_in(hand.scored, kept), list(kept.refusals if kept else ())
    if kept is not None and not kept.lost:
        log.info("round %d: %d updates were collected before", number, len(kept.updates))
        return list(kept.updates), list(kept.refusals)
    updates, refusals = collect(replies, opened.question, owners=owners)
    if kept is not None:  # those that were asked again join the others
        known = {update.account for update in kept.updates}
        added = [update for update in updates if update.account not in known]
        updates = sorted([*kept.updates, *added], key=lambda update: int(update.account, 16))
        refusals = [*kept.refusals, *refusals]
        journal.forget(number)
    log.info("round %d: %d updates accepted, %d refused", number, len(updates), len(refusals))
    for refusal in refusals:
        log.warning("round %d: node %d refused: %s", number, refusal.node_id, refusal.reason)
    journal.keep_collected(number, updates, refusals)
    return updates, refusals


def _updates_in(bundle: Bundle, kept: Collected | None) -> list[AcceptedUpdate]:
    """A bundle's updates as they were accepted; what only the journal tells of them is told where it still does."""
    known = {update.account: update for update in kept.updates} if kept else {}
    return [
        known.get(update.account)
        or AcceptedUpdate(
            account=update.account,
            node_id=0,
            stake=update.stake,
            blocks=Blocks.from_bytes(update.wire, size=bundle.layout.size),
            wire=update.wire,
            root=update.root,
            signature=update.signature,
        )
        for update in bundle.updates
    ]
