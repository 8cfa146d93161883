"""The masked rounds of one task, as its strategy goes through them: who is asked, who has lost its place, what is written down."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl.audit.masked import follow_masked, liars_of, setting_of
from fl.audit.strategy_state import remembers
from fl.bundle.files import BrokenBundle
from fl.bundle.format import Bundle
from fl.codec import model_hash
from fl.coordinator.round.clock import RoundClock
from fl.coordinator.round.collect import AcceptedUpdate
from fl.coordinator.round.gather import InHand
from fl.coordinator.round.journal import Journal
from fl.coordinator.round.masked import MaskedRound
from fl.coordinator.round.masked_settle import accepted_of, masked_participants, settle_masked
from fl.coordinator.round.node_accounts import NodeAccounts
from fl.coordinator.round.opening import OpenRound
from fl.coordinator.round.resume import LostRound
from fl.coordinator.round.settle import SettledRound
from fl.privacy.transcript import Setting
from fl.scoring.paid import PaidScoring

log = logging.getLogger(__name__)


class MaskedRounds:
    """What a strategy needs beside itself where updates are masked.

    Args:
        inner: Makes the next model.
        scoring: By the spec.
        journal: Takes the bundles.
        nodes: Who speaks through which node.
    """

    def __init__(self, inner: Strategy, *, scoring: PaidScoring, journal: Journal, nodes: NodeAccounts) -> None:
        self._inner, self._scoring, self._journal, self._nodes = inner, scoring, journal, nodes
        self._grid: Grid | None = None
        self._timeout = 3600.0
        self._barred: set[str] = set()  # who was proven to have lied
        self._known = 0  # rounds whose liars are in it

    def reach(self, grid: Grid, *, timeout: float | None = None) -> None:
        """Ask the clients through this grid, and wait so many seconds for the answers to each question."""
        self._grid, self._timeout = grid, self._timeout if timeout is None else timeout

    def play(
        self, replies: Iterable[Message], opened: OpenRound, *, hand: InHand, clock: RoundClock
    ) -> tuple[list[AcceptedUpdate], SettledRound]:
        """From the answers to the train message to a round that lacks its header; its bundle is written down.

        Args:
            replies: Of the nodes.
            opened: The round.
            hand: What an earlier life left of it.
            clock: Times its steps.
        Raises: LostRound if the bundle in hand is of another task; UnencodableVector if the base model itself has no gradient.
        """
        if hand.scored is not None:
            return self._scored_before(hand.scored, opened)
        self._learn_liars(opened)
        masked = MaskedRound(
            self._setting(opened),
            base_model=opened.base_model,
            ask=self._ask,
            owners=self._nodes.owners,
            barred=frozenset(self._barred),
        )
        with clock.step("masking"):
            masked.collect(replies)
        done = settle_masked(opened, masked, inner=self._inner, scoring=self._scoring, step=clock.step)
        self._barred.update(done.liars)
        self._known = opened.number
        with clock.step("bundling"):
            self._journal.keep_bundle(done.settled.bundle)
        return list(done.updates), done.settled

    def _learn_liars(self, opened: OpenRound) -> None:
        """Who lied in rounds that an earlier life of this coordinator went through, as far as their bundles are here."""
        for number in range(self._known + 1, opened.number):
            try:
                bundle, _ = Bundle.read(self._journal.bundle(number))
            except BrokenBundle as error:
                log.warning("round %d: who lied in it is not known any more (%s)", number, error)
                continue
            self._barred.update(liars_of(bundle, self._setting(opened, number=number)))
        self._known = opened.number - 1

    def _scored_before(self, scored: Bundle, opened: OpenRound) -> tuple[list[AcceptedUpdate], SettledRound]:
        if scored.task_id != opened.task_id or model_hash(scored.base) != opened.base_model:
            folder = self._journal.bundle(scored.round)
            raise LostRound(round_number=scored.round, problem=f"the bundle at {folder} is of another task")
        log.info("round %d: the words of %d clients are in its bundle", scored.round, len(scored.updates))
        if remembers(self._scoring.spec):
            follow_masked(self._inner, scored, setting=self._setting(opened))
        settled = SettledRound(bundle=scored, participants=masked_participants(scored), refusals=(), metrics=None)
        return accepted_of(scored, {}, {}), settled

    def _setting(self, opened: OpenRound, *, number: int | None = None) -> Setting:
        return setting_of(
            task_id=opened.task_id,
            number=opened.number if number is None else number,
            size=len(opened.base),
            enrolments=opened.chain.enrolments,
            domain=opened.chain.domain,
            spec=self._scoring.spec,
        )

    def _ask(self, questions: Sequence[tuple[int, RecordDict]]) -> Iterable[Message]:
        # Of the train type: every app answers that, and its mod takes these before the app sees them.
        messages = [Message(content, node, MessageType.TRAIN) for node, content in questions]
        return self._grid.send_and_receive(messages, timeout=self._timeout) if messages and self._grid else []
