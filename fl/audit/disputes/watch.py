"""Watches a task: looks at every round as it is posted, and says which calls prove on chain what is wrong with it.

What it needs beside the chain is what everybody is given of a bundle. With updates and directions at hand it checks scores too,
challenges false ones and refutes false challenges; with an account's receipts it proves that an update was left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fl.audit.disputes import proofs
from fl.audit.disputes.evidence import KeptReceipt, SeenUpdate
from fl.audit.disputes.proofs import Call, Published, Signed
from fl.bundle.format import MANIFEST, ROUND, BrokenBundle, BundleFiles, leaves_of, read_manifest, read_round
from fl.bundle.http_client import ArchiveUnreachable
from fl.bundle.store import BundleSource, Withheld
from fl.chain.enrolment import Enrolment
from fl.chain.escrow import OpenedChallenge, Status, TaskState
from fl.chain.record import LeafRequest, PostedRound, TaskRecord
from fl.chain.typed_data import Header, InvalidSignature, Update, signer_of
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.codec.blocks import BLOCK_BYTES, BLOCK_VALUES
from fl.rewards.sums import span_of

_DIRECTION = "direction.blocks"
# One file that a coordinator does not get itself to send keeps nothing else from being looked at.
_UNREADABLE = (BrokenBundle, ArchiveUnreachable)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that the chain can be told."""

    round: int
    what: str  # for a line of a log
    call: Call
    bond: int = 0  # wei of the task's token that the call escrows
    fraud: bool = True  # False for a step of a dispute that is under way
    by: str = ""  # the only account from which the contract takes the call, "" for any


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a task came to."""

    findings: tuple[Finding, ...]
    fine: tuple[int, ...]  # rounds of which all that the chain can prove was checked, nothing found, for the first time
    unchecked: Mapping[int, tuple[str, ...]]  # of the other rounds with nothing found: what was not checked, and why
    unread: tuple[str, ...]  # what it could not read and will look at again
    over: bool  # the task is closed, or halted without an open challenge, and has been for some blocks


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    published: Published
    problems: tuple[str, ...]  # of the rest of the bundle; what the leaves are worth, the posted root says

    @property
    def posted(self) -> bool:
        """Whether the leaves are those of the posted tree."""
        header, tree = self.published.header, self.published.tree
        return (tree.root, len(tree)) == (header.tree_root, header.leaf_count)

    @property
    def provable(self) -> bool:
        """Whether the contract takes proofs of these leaves: the header states their sum, too."""
        header, tree = self.published.header, self.published.tree
        return self.posted and tree.cumulative == header.cumulative


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
        self._read: dict[int, _Read] = {}
        self._fine: dict[int, Header] = {}
        self._scored: set[tuple[int, str]] = set()  # accounts whose score of a round is right
        self._withheld: dict[tuple[int, str], str] = {}  # updates that this watcher is not given, and why
        self._challenger = challenger
        self._challenged: set[tuple[int, str]] = set()  # rounds and accounts of its own challenges that are open
        self._blocks: dict[tuple[int, str], Blocks] = {}

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
        challenges = self._challenges()
        requests = self._requests(state)
        unread = self._take_in({**standing, **_disputed(challenges, requests, posted)})
        findings, fine, unchecked = [], [], {}
        if state.status in (Status.STARTED, Status.HALTED):
            for number, round_ in standing.items():
                if self._fine.get(number) == round_.header:
                    continue
                if self.record.escrow.is_final(self.record.task_id, number):
                    continue  # nothing about it can be proven any more
                missed: list[str] = []
                found = list(self._look_at(number, round_, standing, enrolments, missed))
                findings += found
                if found or number not in self._read:
                    continue
                if missed:
                    unchecked[number] = tuple(missed)
                else:
                    self._fine[number] = round_.header
                    fine.append(number)
            findings += self._equivocations()
            findings += self._withheld_leaf(standing, enrolments, requests)
        steps, undecided = self._next_steps(challenges, requests, posted)
        findings += steps
        return Look(
            findings=tuple(findings),
            fine=tuple(fine),
            unchecked=unchecked,
            unread=(*unread, *undecided),
            over=_over(state, challenges) and self.record.is_deep(state.status),
        )

    def look_at_challenges(self) -> Look:
        """Look at the challenges of scores and the requests of leaves alone, and read no more than the rounds that they are of.

        Raises: ChainError if the chain cannot be asked.
        """
        state, posted, challenges = self.record.state(), self.record.posted(), self._challenges()
        requests = self._requests(state)
        unread = self._take_in(_disputed(challenges, requests, posted))
        steps, undecided = self._next_steps(challenges, requests, posted)
        return Look(
            findings=tuple(steps),
            fine=(),
            unchecked={},
            unread=(*unread, *undecided),
            over=_over(state, challenges) and self.record.is_deep(state.status),
        )

    def _challenges(self) -> list[tuple[OpenedChallenge, bool, int]]:
        """Every challenge, whether it is open, and until when (s)."""
        found = []
        for opened in self.record.escrow.challenges(self.record.task_id, from_block=self.record.invite.block):
            open_, deadline, _ = self.record.escrow.standing_of(opened.id)
            found.append((opened, open_, deadline))
        own = [opened.challenge for opened, open_, _ in found if open_ and opened.challenge[3] == self._challenger]
        self._challenged = {(challenge[1], challenge[2]) for challenge in own}
        return found

    def _requests(self, state: TaskState) -> list[LeafRequest]:
        """The leaves that are asked for, of rounds that are not void."""
        if not state.open_challenges:
            return []
        return [request for request in self.record.leaf_requests() if not 0 < state.void_from <= request.round]

    def _next_steps(
        self,
        challenges: Sequence[tuple[OpenedChallenge, bool, int]],
        requests: Sequence[LeafRequest],
        posted: Mapping[int, PostedRound],
    ) -> tuple[list[Finding], list[str]]:
        """What to do about the challenges and requests now, and which open ones cannot be judged."""
        steps = [step for request in requests for step in self._answer_request(request, posted)]
        undecided: list[str] = []
        for challenge, open_, deadline in challenges:
            try:
                steps += self._judge(challenge, open_=open_, deadline=deadline, posted=posted)
            except _UNREADABLE as error:
                if open_:
                    undecided.append(f"the challenge of round {challenge.challenge[1]}: {_why(error)}")
        self._forget(set(_disputed(challenges, requests, posted)))
        return steps, undecided

    def _forget(self, disputed: set[int]) -> None:
        """Vectors are large: keep those of rounds that are not done with."""
        done = {number for number, _ in self._scored} - disputed
        self._blocks = {key: blocks for key, blocks in self._blocks.items() if key[0] not in done}

    def _forget_round(self, number: int) -> None:
        del self._read[number]
        self._scored = {key for key in self._scored if key[0] != number}
        self._withheld = {key: why for key, why in self._withheld.items() if key[0] != number}
        self._blocks = {key: blocks for key, blocks in self._blocks.items() if key[0] != number}

    # ---- one round ---------------------------------------------------------------------------------------------------

    def _take_in(self, rounds: Mapping[int, PostedRound]) -> list[str]:
        """Read the rounds that are not read whole yet; returns what cannot be read."""
        unread = []
        for number, round_ in rounds.items():
            known = self._read.get(number)
            if known and known.published.header != round_.header:
                self._forget_round(number)  # another one stands in its place after a reorganisation
                known = None
            if known and known.posted and not known.problems:
                continue
            try:
                read = self._read_round(round_.header)
            except _UNREADABLE as error:
                unread.append(f"round {number}: {_why(error)}")
                continue
            if read.posted or not (known and known.posted):  # what was the posted tree stays it, whatever is sent now
                self._read[number] = read
        return unread

    def _read_round(self, header: Header) -> _Read:
        """What everybody is given of a round. Raises: BrokenBundle where that has no leaves, ArchiveUnreachable."""
        files, problems = self.source.bundle(header.round), []
        text = files.read(ROUND)
        leaves = leaves_of(text, where=files.where)
        # Nothing else of a bundle keeps what its leaves prove from being proven.
        try:
            _check_manifest(files, text, header)
            for update in read_round(text, where=files.where).updates:
                signed = Signed(base_model=header.base_model, update_root=update.root, signature=update.signature)
                self.remember(SeenUpdate(round=header.round, client=update.account, signed=signed))
        except _UNREADABLE as error:
            problems.append(_why(error))
        return _Read(published=Published(header=header, leaves=leaves), problems=tuple(problems))

    def _look_at(
        self,
        number: int,
        posted: PostedRound,
        standing: Mapping[int, PostedRound],
        enrolments: Mapping[str, Enrolment],
        missed: list[str],
    ) -> Iterator[Finding]:
        """What can be proven of a round; what was not checked, and why, is put into `missed`."""

        def finding(what: str, call: Call | None) -> Iterator[Finding]:
            if call is not None:
                yield Finding(round=number, what=what, call=call)

        if before := standing.get(number - 1):
            earlier = Published(header=before.header, leaves=())
            yield from finding(
                "the header does not follow from the one before",
                proofs.prove_broken_chain(earlier, Published(header=posted.header, leaves=())),
            )
        read = self._read.get(number)
        if read is None:
            return
        current = read.published
        missed += read.problems
        if not read.posted:
            missed.append("anything but the header (the published leaves are not those of the posted tree)")
            yield from finding("the tree has more leaves than clients", proofs.prove_hidden_leaf(current))
            # No other proof opens from these leaves; what was shown of the real tree to those who asked is all there is.
            for shown in self.record.shown_leaves(number):
                call = proofs.prove_shown_sums(posted.header, leaves=current.leaves, shown=shown)
                yield from finding("the tree promises other sums than its leaves", call)
            return
        if not read.provable:
            call = proofs.prove_misstated_sum(current)
            yield from finding("the header states another sum than its tree", call)
            return
        yield from finding("two leaves of one account, or out of order", proofs.prove_disorder(current))
        yield from finding("an enrolled account has no leaf", proofs.prove_missing(current, enrolments=enrolments))
        previous = self._last_provable(number)
        if previous is not None and previous.header.round + 1 < number:
            what = f"a payout does not follow from round {previous.header.round}"
        else:
            what = "a total or payout does not follow from the round before"
        yield from finding(what, proofs.prove_transition(previous, current, enrolments=enrolments))
        if number > 1 and (previous is None or previous.header.round + 1 < number):
            missed.append(f"totals and payouts (the leaves of round {number - 1} are not here)")
        if receipt := self.receipts.get(number):
            yield from finding(
                f"the update of {self.account} has a receipt and was left out",
                proofs.prove_omission(
                    current, account=self.account, update_root=receipt.update_root, receipt=receipt.signature
                ),
            )
        yield from self._false_scores(number, current, missed)

    def _last_provable(self, number: int) -> Published | None:
        """The last round before this one whose leaves are here."""
        rounds = (self._read[earlier] for earlier in range(number - 1, 0, -1) if earlier in self._read)
        return next((read.published for read in rounds if read.provable), None)

    def _false_scores(self, number: int, current: Published, missed: list[str]) -> Iterator[Finding]:
        if self.record.terms.attested:
            return
        scored = [leaf for leaf in current.leaves if any(leaf.update_root)]
        due = [leaf.account for leaf in scored if (number, leaf.account) not in self._scored]
        problems = [self._withheld[number, account] for account in due if (number, account) in self._withheld]
        due = [account for account in due if (number, account) not in self._withheld]
        if due:
            # First: until it is revealed, nobody need be asked for any update.
            try:
                self._direction(number)
            except _UNREADABLE as error:
                missed.append(f"the scores ({_why(error)})")
                return
        for account in due:
            try:
                update, direction = self._vectors(number, account)
            except _UNREADABLE as error:
                problems.append(_why(error))
                if isinstance(error, Withheld):
                    self._withheld[number, account] = error.problem
                continue
            call = proofs.challenge_score(current, account=account, update=update, direction=direction)
            if call is None:
                self._scored.add((number, account))
            elif (number, account) in self._challenged:
                missed.append(f"the score of {account} (our challenge of it is open)")
            else:
                yield Finding(
                    round=number,
                    what=f"the score of {account} is wrong",
                    call=call,
                    bond=self.record.escrow.challenge_bond(self.record.task_id),
                )
        if problems:
            missed.append(f"{len(problems)} of {len(scored)} scores ({problems[0]})")

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

    # ---- leaves that are asked for ----------------------------------------------------------------------------------

    def _withheld_leaf(
        self, standing: Mapping[int, PostedRound], enrolments: Mapping[str, Enrolment], requests: Sequence[LeafRequest]
    ) -> Iterator[Finding]:
        """Ask on chain for the account's own leaf of a round that nobody hands out, once half of its window is over."""
        own = enrolments.get(self.account)
        for number, round_ in standing.items():
            if own is None or not own.counts_in(number) or (number in self._read and self._read[number].posted):
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

    def _answer_request(self, request: LeafRequest, posted: Mapping[int, PostedRound]) -> Iterator[Finding]:
        """Show a leaf that is asked for, which pays whoever does, or end a request that nobody answered."""
        round_, read = posted[request.round], self._read.get(request.round)
        place = None
        if read is not None and read.provable:
            places = (place for place, leaf in enumerate(read.published.leaves) if leaf.account == request.account)
            place = next(places, None)
        if read is not None and place is not None:
            yield Finding(
                round=request.round,
                what=f"the leaf of {request.account} is asked for",
                call=Call(function="showLeaf", arguments=(round_.header.as_tuple(), *read.published.proven(place))),
                fraud=False,
            )
        elif self.record.now() >= request.deadline:
            yield Finding(
                round=request.round,
                what=f"nobody showed the leaf of {request.account}",
                call=Call(function="upholdRequest", arguments=(round_.header.as_tuple(), request.account)),
            )

    # ---- challenges --------------------------------------------------------------------------------------------------

    def _judge(
        self, opened: OpenedChallenge, *, open_: bool, deadline: int, posted: Mapping[int, PostedRound]
    ) -> Iterator[Finding]:
        """What to do about a challenge now: refute it, break a sum down, or see it through."""
        challenge = opened.challenge
        number, account, challenger, blocks = challenge[1], challenge[2], challenge[3], challenge[6]
        span = span_of(blocks)
        steps = self.record.steps(opened.id) if span > 1 else {}
        waiting = [demand.sum for demand in steps.values() if demand.partials is None]

        def step(what: str, call: Call, *, bond: int = 0, by: str = "") -> Finding:
            return Finding(round=number, what=what, call=call, bond=bond, fraud=False, by=by)

        if not open_:
            for place in steps:  # each demand's bond goes to whoever was right
                call = Call(function="dismiss", arguments=(challenge, place))
                yield step(f"the challenge of {account} is over, and sum {place} was demanded", call)
            return
        for place in waiting:
            call = Call(function="dismiss", arguments=(challenge, place))
            if self.record.now() >= deadline:
                yield step(f"nobody broke down sum {place} of the challenge of {account}", call)
        update, direction = self._vectors(number, account)
        if len(update) != blocks:
            return  # of another update than the leaf's: the contract takes no such challenge
        wrong = proofs.wrong_sum(opened.sums, update=update, direction=direction)
        if wrong is None:
            for place in waiting:
                call = proofs.answer(challenge, place=place, sums=opened.sums, update=update, direction=direction)
                what = f"sum {place} of the right challenge of {account} is to be broken down"
                yield step(what, call, by=challenger)
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
            # A watcher's first demand of a challenge; `fl.audit.disputes.submit` counts those of the account that files it.
            yield step(what, proofs.demand(challenge, place=wrong), bond=self.record.terms.min_stake)
        elif (told := steps[wrong].partials) is not None:
            right = proofs.partials(update, direction)[wrong * span : (wrong + 1) * span]
            index = wrong * span + next(place for place, partial in enumerate(right) if told[place] != partial)
            call = proofs.refute(challenge, sums=list(told), index=index, update=update, direction=direction)
            yield step(what, call)

    # ---- vectors -----------------------------------------------------------------------------------------------------

    def _vectors(self, number: int, account: str) -> tuple[Blocks, Blocks]:
        """An account's update of a round, and its direction. Raises: BrokenBundle."""
        leaf = next((leaf for leaf in self._of(number).published.leaves if leaf.account == account), None)
        name = f"updates/{account}.blocks"
        update = self._vector(number, name, root=leaf.update_root if leaf else bytes(32))
        direction = self._direction(number)
        if len(update) != len(direction):
            problem = f"{name} has {len(update)} blocks and {_DIRECTION} {len(direction)}"
            raise BrokenBundle(folder=self.source.bundle(number).where, problem=problem)
        return update, direction

    def _direction(self, number: int) -> Blocks:
        return self._vector(number, _DIRECTION, root=self._of(number).published.header.direction_root)

    def _vector(self, number: int, name: str, *, root: bytes) -> Blocks:
        """A vector of a bundle; only one with the root on chain can prove anything. Raises: BrokenBundle."""
        if (number, name) not in self._blocks:
            files = self.source.bundle(number)
            data = files.read(name)
            try:
                # Whole blocks: the chain knows of no padding.
                blocks = Blocks.from_bytes(data, size=len(data) // BLOCK_BYTES * BLOCK_VALUES)
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


def _why(error: BrokenBundle | ArchiveUnreachable) -> str:
    return error.problem if isinstance(error, BrokenBundle) else str(error)


def _check_manifest(files: BundleFiles, text: bytes, header: Header) -> None:
    """Raises: BrokenBundle unless the posted header's manifest names this content of round.json."""
    manifest = files.read(MANIFEST)
    if hashlib.sha256(manifest).digest() != header.bundle:
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} is not the one that the posted header names")
    if hashlib.sha256(text).hexdigest() != read_manifest(manifest, files).get(ROUND):
        raise BrokenBundle(folder=files.where, problem=f"{ROUND} is not the one that the manifest names")


def _disputed(
    challenges: Iterable[tuple[OpenedChallenge, bool, int]],
    requests: Iterable[LeafRequest],
    posted: Mapping[int, PostedRound],
) -> dict[int, PostedRound]:
    """The rounds of open challenges and requests."""
    numbers = {opened.challenge[1] for opened, open_, _ in challenges if open_} | {
        request.round for request in requests
    }
    return {number: posted[number] for number in numbers if number in posted}


def _over(state: TaskState, challenges: Iterable[tuple[OpenedChallenge, bool, int]]) -> bool:
    open_ = any(is_open for _, is_open, _ in challenges)
    return state.status == Status.CLOSED or (state.status == Status.HALTED and not open_)
