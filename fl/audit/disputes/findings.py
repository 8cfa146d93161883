"""What a look at a task comes to: findings, each with the call that tells the chain, and what could not be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fl.audit.disputes.proofs import Call


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
class Judged:
    """What was found of a round, or of a challenge, and what of it was not checked, and why."""

    findings: tuple[Finding, ...] = ()
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a task came to."""

    findings: tuple[Finding, ...]
    fine: tuple[int, ...]  # rounds of which all that the chain can prove was checked, nothing found, for the first time
    unchecked: Mapping[int, tuple[str, ...]]  # of the other rounds with nothing found: what was not checked, and why
    unread: tuple[str, ...]  # what it could not read and will look at again
    over: bool  # the task is closed, or halted without an open challenge, and has been for some blocks
