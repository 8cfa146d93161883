"""Watches a task: looks at every round as it is posted, and says which calls prove on chain what is wrong with it.

What it needs beside the chain is what everybody is given of a bundle. With updates and directions at hand it checks scores too,
challenges false ones and refutes false challenges; with an account's receipts it proves that an update was left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fl.audit import proofs
from fl.audit.bundle import (
    MANIFEST,
    ROUND,
    BrokenBundle,
    RoundRecord,
    checked_file,
    read_manifest,
    read_round,
)
from fl.audit.evidence import KeptReceipt, SeenUpdate
from fl.audit.proofs import Call, Published, Signed
from fl.audit.store import BundleSource
from fl.chain.escrow import Enrolment, OpenedChallenge, Status
from fl.chain.record import PostedRound, TaskRecord
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.rewards.sums import span_of, sums_bytes

_DIRECTION = "direction.blocks"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that the chain can be told."""

    round: int
    what: str  # for a line of a log
    call: Call
    bond: int = 0  # wei of the task's token that the call escrows
    fraud: bool = True  # False for a step of a dispute that is under way


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a task came to."""

    findings: tuple[Finding, ...]
    fine: tuple[int, ...]  # rounds in which this watcher found nothing, for the first time
    unread: tuple[str, ...]  # what it could not read and will look at again
    over: bool  # the task is closed, or halted without an open challenge


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    published: Published
    record: RoundRecord
    sums: Mapping[str, str]


class Watch:
    """One watcher of one task.

    Args:
        record: The task on chain.
        source: Where its bundles can be had.
        account: Whose receipts these are, "" for none.
        receipts: The account's receipts by round, signatures checked.
        seen: Signed updates that were seen elsewhere; those of the bundles are remembered too.
    """

    def __init__(
        self,
        record: TaskRecord,
        source: BundleSource,
        *,
        account: str = "",
        receipts: Mapping[int, KeptReceipt] | None = None,
        seen: Sequence[SeenUpdate] = (),
    ) -> None:
        self.record, self.source, self.account, self.receipts = record, source, account, receipts or {}
        self.seen: list[SeenUpdate] = []
        self._by_place: dict[tuple[int, str], list[Signed]] = {}
        for one in seen:
            self.remember(one)
        self._read: dict[int, _Read] = {}
        self._fine: set[int] = set()
        self._scored: set[tuple[int, str]] = set()  # accounts whose score of a round is right
        self._challenged: set[bytes] = set()  # sums of the challenges that are open
        self._blocks: dict[tuple[int, str], Blocks] = {}

    def remember(self, one: SeenUpdate) -> None:
        """Keep a signed update, to hold later ones against it."""
        kept = self._by_place.setdefault((one.round, one.client), [])
        if all(one.signed.as_tuple()[:2] != other.as_tuple()[:2] for other in kept):
            kept.append(one.signed)
            self.seen.append(one)

    def look(self) -> Look:
        """Look at everything once. Raises: ChainError, ArchiveUnreachable if chain or bundles cannot be asked."""
        state, posted, enrolments = self.record.state(), self.record.posted(), self.record.enrolments()
        standing = {number: one for number, one in posted.items() if not 0 < state.void_from <= number}
        unread, findings, fine = [], [], []
        for number, one in standing.items():
            if number not in self._read:
                try:
                    self._read[number] = self._read_round(one)
                except BrokenBundle as error:
                    unread.append(f"round {number}: {error.problem}")
        challenges = self._challenges()
        if state.status in (Status.STARTED, Status.HALTED):
            for number, one in standing.items():
                if state.status == Status.HALTED and self.record.escrow.is_final(self.record.task_id, number):
                    continue  # nothing is left to halt or to void
                found = list(self._look_at(number, one, standing, enrolments))
                findings += found
                if not found and number in self._read and number not in self._fine:
                    self._fine.add(number)
                    fine.append(number)
            findings += self._equivocations()
        for challenge, open_, deadline in challenges:
            try:
                findings += self._judge(challenge, open_=open_, deadline=deadline, posted=posted)
            except BrokenBundle as error:
                if open_:
                    unread.append(f"the challenge of round {challenge.challenge[1]}: {error.problem}")
        self._forget({challenge.challenge[1] for challenge, open_, _ in challenges if open_})
        open_challenges = any(open_ for _, open_, _ in challenges)
        over = state.status == Status.CLOSED or (state.status == Status.HALTED and not open_challenges)
        return Look(findings=tuple(findings), fine=tuple(fine), unread=tuple(unread), over=over and not findings)

    def _challenges(self) -> list[tuple[OpenedChallenge, bool, int]]:
        """Every challenge, whether it is open, and until when (s)."""
        found = []
        for one in self.record.escrow.challenges(self.record.task_id, from_block=self.record.invite.block):
            open_, deadline, _ = self.record.escrow.standing_of(one.id)
            found.append((one, open_, deadline))
        self._challenged = {sums_bytes(one.sums) for one, open_, _ in found if open_}
        return found

    def _forget(self, disputed: set[int]) -> None:
        """Vectors are large: keep those of rounds that are not done with."""
        done = {number for number, _ in self._scored} - disputed
        self._blocks = {key: blocks for key, blocks in self._blocks.items() if key[0] not in done}

    # ---- one round ---------------------------------------------------------------------------------------------------

    def _read_round(self, posted: PostedRound) -> _Read:
        files = self.source.bundle(posted.header.round)
        manifest = files.read(MANIFEST)
        if hashlib.sha256(manifest).digest() != posted.header.bundle:
            raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} is not the one that the posted header names")
        sums = read_manifest(manifest, files)
        if ROUND not in sums:
            raise BrokenBundle(folder=files.where, problem=f"{ROUND} is not in the manifest")
        record = read_round(checked_file(files, ROUND, sha256=sums[ROUND]), where=files.where)
        for one in record.updates:
            signed = Signed(base_model=posted.header.base_model, update_root=one.root, signature=one.signature)
            self.remember(SeenUpdate(round=posted.header.round, client=one.account, signed=signed))
        return _Read(published=Published(header=posted.header, leaves=record.leaves), record=record, sums=sums)

    def _look_at(
        self,
        number: int,
        posted: PostedRound,
        standing: Mapping[int, PostedRound],
        enrolments: Mapping[str, Enrolment],
    ) -> Iterator[Finding]:
        def finding(what: str, call: Call | None, *, bond: int = 0) -> Iterator[Finding]:
            if call is not None:
                yield Finding(round=number, what=what, call=call, bond=bond)

        if before := standing.get(number - 1):
            earlier = Published(header=before.header, leaves=())
            yield from finding(
                "the header does not follow from the one before",
                proofs.prove_broken_chain(
                    earlier, Published(header=posted.header, leaves=()), domain=self.record.domain
                ),
            )
        read = self._read.get(number)
        if read is None:
            return
        current, tree = read.published, read.published.tree
        if (tree.root, tree.entitlement, tree.cumulative) != (
            posted.header.tree_root, posted.header.entitlement, posted.header.cumulative,
        ):  # fmt: skip
            # No proof opens from these leaves; what claims show of the real tree is all there is.
            for shown in self.record.shown_leaves(number):
                call = proofs.prove_shown_sums(posted.header, leaves=current.leaves, shown=shown)
                yield from finding("the tree promises other sums than its leaves", call)
            return
        yield from finding("two leaves of one account, or out of order", proofs.prove_disorder(current))
        yield from finding("an enrolled account has no leaf", proofs.prove_missing(current, enrolments=enrolments))
        previous = self._read.get(number - 1)
        if number == 1 or previous is not None:
            firsts = {account: one.first_round for account, one in enrolments.items()}
            yield from finding(
                "a balance or payout does not follow from the round before",
                proofs.prove_transition(previous.published if previous else None, current, first_rounds=firsts),
            )
        if receipt := self.receipts.get(number):
            yield from finding(
                f"the update of {self.account} has a receipt and was left out",
                proofs.prove_omission(
                    current, account=self.account, update_root=receipt.update_root, receipt=receipt.signature
                ),
            )
        yield from self._false_scores(number, current)

    def _false_scores(self, number: int, current: Published) -> Iterator[Finding]:
        if self.record.terms.attested:
            return
        for leaf in current.leaves:
            if not any(leaf.update_root) or (number, leaf.account) in self._scored:
                continue
            try:
                update, direction = self._update(number, leaf.account), self._direction(number)
            except BrokenBundle:
                continue  # not given to this watcher, or not yet
            call = proofs.challenge_score(current, account=leaf.account, update=update, direction=direction)
            if call is None:
                self._scored.add((number, leaf.account))
            elif call.arguments[-1] not in self._challenged:
                yield Finding(
                    round=number,
                    what=f"the score of {leaf.account} is wrong",
                    call=call,
                    bond=self.record.terms.min_stake,
                )

    def _equivocations(self) -> Iterator[Finding]:
        for (number, client), kept in self._by_place.items():
            for other in kept[1:]:
                call = proofs.prove_equivocation(
                    self.record.task_id,
                    round_number=number,
                    client=client,
                    first=kept[0],
                    second=other,
                    domain=self.record.domain,
                )
                if call is not None:
                    yield Finding(round=number, what=f"{client} signed two updates", call=call)

    # ---- challenges --------------------------------------------------------------------------------------------------

    def _judge(
        self, opened: OpenedChallenge, *, open_: bool, deadline: int, posted: Mapping[int, PostedRound]
    ) -> Iterator[Finding]:
        """What to do about a challenge now: refute it, break a sum down, or see it through."""
        challenge = opened.challenge
        number, account, blocks, span = challenge[1], challenge[2], challenge[6], challenge[7]
        steps = self.record.steps(opened.id) if span > 1 else {}
        waiting = [one.sum for one in steps.values() if one.partials is None]

        def step(what: str, call: Call, *, bond: int = 0) -> Finding:
            return Finding(round=number, what=what, call=call, bond=bond, fraud=False)

        for place in waiting:
            # Refused until the answer is overdue; after the challenge's end it brings the demander's bond back.
            call = Call(function="dismiss", arguments=(challenge, place))
            if not open_ or self.record.now() >= deadline:
                yield step(f"nobody broke down sum {place} of the challenge of {account}", call)
        if not open_:
            return
        update, direction = self._update(number, account), self._direction(number)
        if len(update) != blocks or span != span_of(blocks):
            return  # of another update than the leaf's: the contract takes no such challenge
        wrong = proofs.wrong_sum(opened.sums, update=update, direction=direction)
        if wrong is None:
            for place in waiting:
                call = proofs.answer(challenge, place=place, sums=opened.sums, update=update, direction=direction)
                yield step(f"sum {place} of the right challenge of {account} is to be broken down", call)
            if self.record.now() >= deadline and not waiting:
                header = posted[number].header.as_tuple()
                yield step(
                    f"nobody refuted the challenge of {account}", Call(function="uphold", arguments=(challenge, header))
                )
            return
        if self.record.now() >= deadline:
            return
        what = f"the challenge of {account} is false"
        if span == 1:
            call = proofs.refute(challenge, sums=opened.sums, index=wrong, update=update, direction=direction)
            yield step(what, call)
        elif wrong not in steps:
            yield step(what, proofs.demand(challenge, place=wrong), bond=self.record.terms.min_stake)
        elif (told := steps[wrong].partials) is not None:
            right = proofs.partials(update, direction)[wrong * span : (wrong + 1) * span]
            index = wrong * span + next(place for place, one in enumerate(right) if told[place] != one)
            call = proofs.refute(challenge, sums=list(told), index=index, update=update, direction=direction)
            yield step(what, call)

    # ---- vectors -----------------------------------------------------------------------------------------------------

    def _update(self, number: int, account: str) -> Blocks:
        leaf = next((one for one in self._of(number).published.leaves if one.account == account), None)
        return self._vector(number, f"updates/{account}.blocks", root=leaf.update_root if leaf else bytes(32))

    def _direction(self, number: int) -> Blocks:
        return self._vector(number, _DIRECTION, root=self._of(number).published.header.direction_root)

    def _vector(self, number: int, name: str, *, root: bytes) -> Blocks:
        """A vector of a bundle; only one with the root on chain can prove anything. Raises: BrokenBundle."""
        if (number, name) not in self._blocks:
            read, files = self._of(number), self.source.bundle(number)
            data = files.read(name)
            try:
                blocks = Blocks.from_bytes(data, size=read.record.layout.size)
            except MalformedBlocks as error:
                raise BrokenBundle(folder=files.where, problem=f"{name} cannot be read ({error})") from error
            if block_root(data) != root:
                raise BrokenBundle(folder=files.where, problem=f"{name} has another root than the one on chain")
            self._blocks[number, name] = blocks
        return self._blocks[number, name]

    def _of(self, number: int) -> _Read:
        if number not in self._read:
            raise BrokenBundle(folder=self.source.where, problem=f"round {number} could not be read")
        return self._read[number]
