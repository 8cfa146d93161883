"""Watches a task: looks at every round as it is posted, and says which calls prove on chain what is wrong with it.

What it needs beside the chain is what everybody is given of a bundle. With updates and directions at hand it checks scores too,
challenges false ones and refutes false challenges; with an account's receipts it proves that an update was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fl.audit.disputes import proofs
from fl.audit.disputes.challenges import Dispute, answer_request, judge_challenge
from fl.audit.disputes.evidence import KeptReceipt, SeenUpdate
from fl.audit.disputes.findings import Finding, Judged, Look
from fl.audit.disputes.proofs import Call, Signed
from fl.audit.disputes.reader import RoundReader
from fl.audit.disputes.rounds import RoundToJudge, ScoreChecks, judge_round
from fl.bundle.store import BundleSource
from fl.chain.enrolment import Enrolment
from fl.chain.record import LeafRequest, PostedRound, TaskRecord
from fl.chain.task_state import Status, TaskState
from fl.chain.typed_data import Header, InvalidSignature, Update, compact, evaluator_of, signer_of


class Watch:
    """One watcher of one task.

    Args:
        record: The task on chain.
        source: Where its bundles can be had.
        account: Whose receipts these are, "" for none.
        receipts: The account's receipts by round, signatures checked.
        seen: Signed updates that were seen elsewhere; those of the bundles are remembered too.
        challenger: Who files what is found, "" for nobody: what it has challenged is not found again. Others' challenges are
            no reason to stand back, since they may be meant to fail.
    """

    def __init__(
        self,
        record: TaskRecord,
        source: BundleSource,
        *,
        account: str = "",
        receipts: Mapping[int, KeptReceipt] | None = None,
        seen: Sequence[SeenUpdate] = (),
        challenger: str = "",
    ) -> None:
        self.record, self.source, self.account, self.receipts = record, source, account, receipts or {}
        self.seen: list[SeenUpdate] = []
        self._by_place: dict[tuple[int, str], list[Signed]] = {}
        for update in seen:
            self.remember(update)
        self._reader = RoundReader(source, remember=self.remember)
        self._scores = ScoreChecks(record, self._reader)
        self._fine: dict[int, Header] = {}
        self._challenger = challenger

    def remember(self, update: SeenUpdate) -> None:
        """Keep a signed update, to hold later ones against it; one that its client did not sign proves nothing."""
        kept = self._by_place.setdefault((update.round, update.client), [])
        if all(update.signed.commitment != other.commitment for other in kept) and self._is_genuine(update):
            kept.append(update.signed)
            self.seen.append(update)

    def look(self) -> Look:
        """Look at everything once. Raises: ChainError if the chain cannot be asked."""
        state, posted, enrolments = self.record.state(), self.record.posted(), self.record.enrolments()
        standing = {number: round_ for number, round_ in posted.items() if not 0 < state.void_from <= number}
        disputes, requests = self._disputes(), self._requests(state)
        unread = self._take_in({**standing, **_disputed(disputes, requests, posted)})
        findings: list[Finding] = []
        fine, unchecked = [], {}
        if state.status in (Status.STARTED, Status.HALTED):
            challenged = self._challenged(disputes)
            for number, round_ in standing.items():
                if self._fine.get(number) == round_.header:
                    continue
                if self.record.escrow.is_final(self.record.task_id, number):
                    continue  # nothing about it can be proven any more
                judged = self._judge_round(round_, standing, enrolments, challenged)
                findings += judged.findings
                if judged.findings or self._reader.read(number) is None:
                    continue
                if judged.unchecked:
                    unchecked[number] = judged.unchecked
                else:
                    self._fine[number] = round_.header
                    fine.append(number)
            findings += self._equivocations()
            findings += self._withheld_leaf(standing, enrolments, requests)
        findings += self._careless_evaluators(posted)
        steps = self._next_steps(disputes, requests, posted)
        return Look(
            findings=(*findings, *steps.findings),
            fine=tuple(fine),
            unchecked=unchecked,
            unread=(*unread, *steps.unchecked),
            over=_over(state, disputes) and self.record.is_deep(state.status),
        )

    def look_at_challenges(self) -> Look:
        """Look at the challenges of scores and the requests of leaves alone, and read no more than the rounds that they are of.

        Raises: ChainError if the chain cannot be asked.
        """
        state, posted = self.record.state(), self.record.posted()
        disputes, requests = self._disputes(), self._requests(state)
        unread = self._take_in(_disputed(disputes, requests, posted))
        steps = self._next_steps(disputes, requests, posted)
        return Look(
            findings=steps.findings,
            fine=(),
            unchecked={},
            unread=(*unread, *steps.unchecked),
            over=_over(state, disputes) and self.record.is_deep(state.status),
        )

    def _disputes(self) -> list[Dispute]:
        """Every challenge, and how it stands."""
        found = []
        for opened in self.record.escrow.challenges(self.record.task_id, from_block=self.record.invite.block):
            is_open, deadline, _ = self.record.escrow.standing_of(opened.id)
            found.append(Dispute(opened=opened, is_open=is_open, deadline=deadline))
        return found

    def _challenged(self, disputes: Sequence[Dispute]) -> set[tuple[int, str]]:
        """Rounds and accounts of the open challenges that are this watcher's own."""
        challenges = [dispute.opened.challenge for dispute in disputes if dispute.is_open]
        return {(own.round, own.account) for own in challenges if own.challenger == self._challenger}

    def _requests(self, state: TaskState) -> list[LeafRequest]:
        """The leaves that are asked for, of rounds that are not void."""
        if not state.open_challenges:
            return []
        return [request for request in self.record.leaf_requests() if not 0 < state.void_from <= request.round]

    def _take_in(self, rounds: Mapping[int, PostedRound]) -> list[str]:
        """Read what is not read yet; returns what cannot be read."""
        unread, replaced = self._reader.take_in(rounds)
        for number in replaced:
            self._scores.forget(number)
        return unread

    def _next_steps(
        self, disputes: Sequence[Dispute], requests: Sequence[LeafRequest], posted: Mapping[int, PostedRound]
    ) -> Judged:
        """What to do about the challenges and requests now, and which open ones cannot be judged."""
        findings: list[Finding] = []
        for request in requests:
            read = self._reader.read(request.round)
            findings += answer_request(request, posted[request.round], read=read, record=self.record)
        undecided: list[str] = []
        for dispute in disputes:
            round_ = posted.get(dispute.opened.challenge.round)
            judged = judge_challenge(dispute, posted=round_, reader=self._reader, record=self.record)
            findings += judged.findings
            undecided += judged.unchecked
        self._reader.drop_vectors(self._scores.rounds - set(_disputed(disputes, requests, posted)))
        return Judged(findings=tuple(findings), unchecked=tuple(undecided))

    def _judge_round(
        self,
        posted: PostedRound,
        standing: Mapping[int, PostedRound],
        enrolments: Mapping[str, Enrolment],
        challenged: set[tuple[int, str]],
    ) -> Judged:
        number, read = posted.header.round, self._reader.read(posted.header.round)
        judged = judge_round(
            RoundToJudge(
                posted=posted,
                before=standing.get(number - 1),
                read=read,
                previous=self._reader.last_provable(number),
                enrolments=enrolments,
                account=self.account,
                receipt=self.receipts.get(number),
            ),
            record=self.record,
        )
        if read is None or not read.provable or self.record.terms.attested:
            return judged
        scores = self._scores.check(read.published, challenged=challenged)
        return Judged(findings=(*judged.findings, *scores.findings), unchecked=(*judged.unchecked, *scores.unchecked))

    def _equivocations(self) -> Iterator[Finding]:
        places = {place: kept for place, kept in self._by_place.items() if len(kept) > 1}
        slashed = self.record.slashed() if places else set()
        for (number, client), kept in places.items():
            if client in slashed:
                continue
            call = proofs.prove_equivocation(
                self.record.task_id,
                round_number=number,
                client=client,
                first=kept[0],
                second=kept[1],
                domain=self.record.domain,
            )
            if call is not None:
                yield Finding(round=number, what=f"{client} signed two updates", call=call)

    def _careless_evaluators(self, posted: Mapping[int, PostedRound]) -> Iterator[Finding]:
        """Take the stakes of those who signed what they could have seen to be wrong; their signatures came with its post."""
        record = self.record
        if not record.terms.evaluator_stake:
            return
        escrow, header_of = record.escrow, {number: round_.header for number, round_ in posted.items()}
        for number in escrow.at_fault(record.task_id, from_block=record.invite.block):
            if number not in posted:
                continue
            signatures = escrow.signatures_in(posted[number].transaction)
            signers = [evaluator_of(header_of[number], domain=record.domain, signature=each) for each in signatures]
            held = escrow.backers(record.task_id, [name for name in signers if name in record.terms.evaluators])
            if guilty := [name for name, backer in held.items() if backer.stake]:
                arguments = (header_of[number].as_tuple(), [compact(each) for each in signatures])
                yield Finding(
                    round=number,
                    what=f"{', '.join(guilty)} signed what they could have seen to be wrong",
                    call=Call(function="slashEvaluators", arguments=arguments),
                    fraud=False,
                )

    def _is_genuine(self, seen: SeenUpdate) -> bool:
        update = Update(
            task_id=self.record.task_id,
            round=seen.round,
            client=seen.client,
            base_model=seen.signed.base_model,
            update_root=seen.signed.update_root,
        )
        try:
            return signer_of(update, domain=self.record.domain, signature=seen.signed.signature) == seen.client
        except InvalidSignature:
            return False

    def _withheld_leaf(
        self, standing: Mapping[int, PostedRound], enrolments: Mapping[str, Enrolment], requests: Sequence[LeafRequest]
    ) -> Iterator[Finding]:
        """Ask on chain for the account's own leaf of a round that nobody hands out, once half of its window is over."""
        own = enrolments.get(self.account)
        for number, round_ in standing.items():
            read = self._reader.read(number)
            if own is None or not own.counts_in(number) or (read is not None and read.posted):
                continue
            _, posted_at = self.record.escrow.posted(self.record.task_id, number)
            late = self.record.now() >= posted_at + self.record.terms.challenge_window // 2
            asked = any((each.round, each.account) == (number, self.account) for each in requests)
            shown = any(
                self.account in {leaf.account for leaf in each.leaves} for each in self.record.shown_leaves(number)
            )
            if not late or asked or shown or self.record.escrow.is_final(self.record.task_id, number):
                continue
            yield Finding(
                round=number,
                what=f"the leaf of {self.account} is withheld",
                call=Call(function="requestLeaf", arguments=(round_.header.as_tuple(), self.account)),
                bond=self.record.terms.min_stake,
                fraud=False,
            )


def _disputed(
    disputes: Iterable[Dispute], requests: Iterable[LeafRequest], posted: Mapping[int, PostedRound]
) -> dict[int, PostedRound]:
    """The rounds of open challenges and requests."""
    numbers = {dispute.opened.challenge.round for dispute in disputes if dispute.is_open}
    numbers |= {request.round for request in requests}
    return {number: posted[number] for number in numbers if number in posted}


def _over(state: TaskState, disputes: Iterable[Dispute]) -> bool:
    is_open = any(dispute.is_open for dispute in disputes)
    return state.status == Status.CLOSED or (state.status == Status.HALTED and not is_open)
