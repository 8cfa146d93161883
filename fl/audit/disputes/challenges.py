"""What is to be done about one challenge of a score, or one request of a leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fl.audit.disputes import proofs
from fl.audit.disputes.findings import Finding, Judged
from fl.audit.disputes.proofs import Call
from fl.audit.disputes.reader import UNREADABLE, ReadRound, RoundReader, why
from fl.chain.record import LeafRequest, PostedRound, SumStep, TaskRecord
from fl.chain.task_state import OpenedChallenge
from fl.codec import Blocks
from fl.rewards.sums import span_of


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """A challenge of a score, and how it stands."""

    opened: OpenedChallenge
    is_open: bool
    deadline: int  # s


def answer_request(
    request: LeafRequest, posted: PostedRound, *, read: ReadRound | None, record: TaskRecord
) -> list[Finding]:
    """Show a leaf that is asked for, which pays whoever does, or end a request that nobody answered.

    Args:
        request: Whose leaf.
        posted: The round.
        read: What everybody is given of it.
        record: The task on chain.
    """
    header, account = posted.header.as_tuple(), request.account
    if read is not None and read.provable:
        for place, leaf in enumerate(read.published.leaves):
            if leaf.account == account:
                call = Call(function="showLeaf", arguments=(header, *read.published.proven(place)))
                what = f"the leaf of {account} is asked for"
                return [Finding(round=request.round, what=what, call=call, fraud=False)]
    if record.now() < request.deadline:
        return []
    call = Call(function="upholdRequest", arguments=(header, account))
    return [Finding(round=request.round, what=f"nobody showed the leaf of {account}", call=call)]


def judge_challenge(dispute: Dispute, *, posted: PostedRound | None, reader: RoundReader, record: TaskRecord) -> Judged:
    """What to do about a challenge now: refute it, break a sum down, or see it through.

    Args:
        dispute: The challenge.
        posted: The round that it is of.
        reader: Reads the round's vectors.
        record: The task on chain.
    """
    challenge = dispute.opened.challenge
    steps = record.steps(dispute.opened.id) if span_of(challenge.blocks) > 1 else {}
    if not dispute.is_open:  # each demand's bond goes to whoever was right
        over = f"the challenge of {challenge.account} is over"
        return Judged(
            findings=tuple(_dismissal(dispute, place, f"{over}, and sum {place} was demanded") for place in steps)
        )
    is_late = record.now() >= dispute.deadline
    waiting = [step.sum for step in steps.values() if step.partials is None]
    findings = [
        _dismissal(dispute, place, f"nobody broke down sum {place} of the challenge of {challenge.account}")
        for place in (waiting if is_late else [])
    ]
    try:
        update, direction = reader.vectors(challenge.round, challenge.account)
    except UNREADABLE as error:
        return Judged(findings=tuple(findings), unchecked=(f"the challenge of round {challenge.round}: {why(error)}",))
    if len(update) != challenge.blocks:  # of another update than the leaf's: the contract takes no such challenge
        return Judged(findings=tuple(findings))
    wrong = proofs.wrong_sum(dispute.opened.sums, update=update, direction=direction)
    if wrong is None:
        for place in waiting:
            call = proofs.answer(challenge, place=place, sums=dispute.opened.sums, update=update, direction=direction)
            what = f"sum {place} of the right challenge of {challenge.account} is to be broken down"
            findings.append(_step(dispute, what, call, by=challenge.challenger))
        if is_late and not waiting and posted is not None:
            call = Call(function="uphold", arguments=(challenge.as_tuple(), posted.header.as_tuple()))
            findings.append(_step(dispute, f"nobody refuted the challenge of {challenge.account}", call))
    elif not is_late:
        findings += _refutation(dispute, wrong, steps, update=update, direction=direction, record=record)
    return Judged(findings=tuple(findings))


def _refutation(
    dispute: Dispute,
    wrong: int,
    steps: Mapping[int, SumStep],
    *,
    update: Blocks,
    direction: Blocks,
    record: TaskRecord,
) -> Iterator[Finding]:
    """The next step against a challenge whose sum `wrong` is false."""
    challenge, span = dispute.opened.challenge, span_of(dispute.opened.challenge.blocks)
    what = f"the challenge of {challenge.account} is false"
    if span == 1:
        sums = dispute.opened.sums
        yield _step(dispute, what, proofs.refute(challenge, sums=sums, index=wrong, update=update, direction=direction))
    elif wrong not in steps:
        # A watcher's first demand of a challenge; `fl.audit.disputes.submit` counts those of the account that files it.
        yield _step(dispute, what, proofs.demand(challenge, place=wrong), bond=record.terms.min_stake)
    elif (told := steps[wrong].partials) is not None:
        right = proofs.partials(update, direction)[wrong * span : (wrong + 1) * span]
        index = wrong * span + next(place for place, partial in enumerate(right) if told[place] != partial)
        call = proofs.refute(challenge, sums=list(told), index=index, update=update, direction=direction)
        yield _step(dispute, what, call)


def _dismissal(dispute: Dispute, place: int, what: str) -> Finding:
    call = Call(function="dismiss", arguments=(dispute.opened.challenge.as_tuple(), place))
    return _step(dispute, what, call)


def _step(dispute: Dispute, what: str, call: Call, *, bond: int = 0, by: str = "") -> Finding:
    return Finding(round=dispute.opened.challenge.round, what=what, call=call, bond=bond, fraud=False, by=by)
