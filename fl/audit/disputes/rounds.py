"""What can be proven of one posted round, its scores included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fl.audit.disputes import proofs
from fl.audit.disputes.evidence import KeptReceipt
from fl.audit.disputes.findings import Finding, Judged
from fl.audit.disputes.proofs import Call, Published
from fl.audit.disputes.reader import UNREADABLE, ReadRound, RoundReader, why
from fl.bundle.store import Withheld
from fl.chain.enrolment import Enrolment
from fl.chain.record import PostedRound, TaskRecord


@dataclass(frozen=True, kw_only=True)
class RoundToJudge:
    """A posted round with what it is held against."""

    posted: PostedRound
    before: PostedRound | None  # the round before it, if that stands
    read: ReadRound | None  # what everybody is given of it, None if that cannot be had
    previous: Published | None  # the last round before it whose leaves are here
    enrolments: Mapping[str, Enrolment]
    account: str  # whose receipt it is
    receipt: KeptReceipt | None


def judge_round(round_: RoundToJudge, *, record: TaskRecord) -> Judged:
    """What can be proven of a round, but for its scores.

    Args:
        round_: The round.
        record: The task on chain.
    """
    header, before = round_.posted.header, round_.before
    number = header.round
    found: list[tuple[str, Call | None]] = []
    if before:
        chained = [Published(header=posted.header, leaves=()) for posted in (before, round_.posted)]
        found.append(("the header does not follow from the one before", proofs.prove_broken_chain(*chained)))
    if round_.read is None:
        return _judged(number, found)
    current = round_.read.published
    problems = round_.read.problems
    if not round_.read.posted:
        found.append(("the tree has more leaves than clients", proofs.prove_hidden_leaf(current)))
        # No other proof opens from these leaves; what was shown of the real tree to those who asked is all there is.
        for shown in record.shown_leaves(number):
            call = proofs.prove_shown_sums(header, leaves=current.leaves, shown=shown)
            found.append(("the tree promises other sums than its leaves", call))
        other = "anything but the header (the published leaves are not those of the posted tree)"
        return _judged(number, found, *problems, other)
    if not round_.read.provable:
        found.append(("the header states another sum than its tree", proofs.prove_misstated_sum(current)))
        return _judged(number, found, *problems)
    previous, enrolments = round_.previous, round_.enrolments
    what = "a total or payout does not follow from the round before"
    if has_gap := previous is not None and previous.header.round + 1 < number:
        what = f"a payout does not follow from round {previous.header.round}"
    found += [
        ("two leaves of one account, or out of order", proofs.prove_disorder(current)),
        ("an enrolled account has no leaf", proofs.prove_missing(current, enrolments=enrolments)),
        (what, proofs.prove_transition(previous, current, enrolments=enrolments)),
    ]
    if number > 1 and (previous is None or has_gap):
        problems = (*problems, f"totals and payouts (the leaves of round {number - 1} are not here)")
    if receipt := round_.receipt:
        call = proofs.prove_omission(
            current, account=round_.account, update_root=receipt.update_root, receipt=receipt.signature
        )
        found.append((f"the update of {round_.account} has a receipt and was left out", call))
    return _judged(number, found, *problems)


def _judged(number: int, found: list[tuple[str, Call | None]], *unchecked: str) -> Judged:
    findings = (Finding(round=number, what=what, call=call) for what, call in found if call is not None)
    return Judged(findings=tuple(findings), unchecked=unchecked)


class ScoreChecks:
    """Holds the scores of rounds against updates and directions, each once.

    Args:
        record: The task on chain.
        reader: Reads the rounds and their vectors.
    """

    def __init__(self, record: TaskRecord, reader: RoundReader) -> None:
        self.record, self.reader = record, reader
        self._right: set[tuple[int, str]] = set()  # rounds and accounts whose score is right
        self._withheld: dict[tuple[int, str], str] = {}  # updates that this watcher is not given, and why

    @property
    def rounds(self) -> set[int]:
        """Rounds of which a score was checked."""
        return {number for number, _ in self._right}

    def forget(self, number: int) -> None:
        """Check a round anew: another one stands in its place."""
        self._right = {key for key in self._right if key[0] != number}
        self._withheld = {key: problem for key, problem in self._withheld.items() if key[0] != number}

    def check(self, current: Published, *, challenged: set[tuple[int, str]]) -> Judged:
        """The scores of a round that are not known to be right.

        Args:
            current: The round.
            challenged: Rounds and accounts whose score the watcher itself has challenged.
        """
        number = current.header.round
        scored = [leaf.account for leaf in current.leaves if any(leaf.update_root)]
        due = [account for account in scored if (number, account) not in self._right]
        problems = [self._withheld[number, account] for account in due if (number, account) in self._withheld]
        due = [account for account in due if (number, account) not in self._withheld]
        if due:
            # First: until it is revealed, nobody need be asked for any update.
            try:
                self.reader.direction(number)
            except UNREADABLE as error:
                return Judged(unchecked=(f"the scores ({why(error)})",))
        findings, unchecked = [], []
        for account in due:
            try:
                update, direction = self.reader.vectors(number, account)
            except UNREADABLE as error:
                problems.append(why(error))
                if isinstance(error, Withheld):
                    self._withheld[number, account] = error.problem
                continue
            call = proofs.challenge_score(current, account=account, update=update, direction=direction)
            if call is None:
                self._right.add((number, account))
            elif (number, account) in challenged:
                unchecked.append(f"the score of {account} (our challenge of it is open)")
            else:
                bond = self.record.escrow.challenge_bond(self.record.task_id)
                findings.append(Finding(round=number, what=f"the score of {account} is wrong", call=call, bond=bond))
        if problems:
            unchecked.append(f"{len(problems)} of {len(scored)} scores ({problems[0]})")
        return Judged(findings=tuple(findings), unchecked=tuple(unchecked))
