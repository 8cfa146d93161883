"""Two sides of a round held against each other, what it says and what it should: the first difference is an error with both.

Shared by those who recompute a round (`fl.audit.recompute`) and those who hold what was published against the chain
(`fl.audit.published`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl.bundle.round_record import ListedUpdate
from fl.chain.enrolment import Enrolments
from fl.chain.schedule import Schedule
from fl.chain.task_state import Terms
from fl.chain.typed_data import ZERO_HASH, Domain, Header, header_hash
from fl.errors import FairshareError
from fl.rewards import Account, Leaf


class RoundDiffers(FairshareError):
    """A round says something other than its own inputs come to."""

    def __init__(self, round_number: int, what: str, seen: str, expected: str) -> None:
        super().__init__(round_number, what, seen, expected)
        self.round_number, self.what, self.seen, self.expected = round_number, what, seen, expected

    def __str__(self) -> str:
        return f"round {self.round_number}: {self.what} is {self.seen}, recomputed {self.expected}; do not sign it"


@dataclass(frozen=True, kw_only=True, eq=False)
class ChainView:
    """What the chain says before the round is posted."""

    domain: Domain
    terms: Terms
    enrolments: Enrolments
    schedule: Schedule
    previous: Header | None  # of the round before; None in round 1

    @property
    def previous_hash(self) -> bytes:
        """What the header of this round names, zeros in round 1."""
        return header_hash(self.previous) if self.previous else ZERO_HASH

    @property
    def base_model(self) -> bytes:
        """Hash of the model that this round begins with."""
        return self.previous.next_model if self.previous else self.terms.base_model

    def accounts_before(self, previous: Sequence[Leaf], *, number: int) -> dict[str, Account]:
        """What each account that counts in a round stood at before it, from the leaves of the round before."""
        before = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in previous}
        return {
            account: before.get(account, Account())
            for account, enrolment in self.enrolments.items()
            if enrolment.counts_in(number)
        }


def show(value: object) -> str:
    """A value as messages show it: bytes in hex."""
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Comparison:
    """Of one round, by number."""

    round_number: int

    def equal(self, what: str, seen: object, expected: object) -> None:
        """Two values that should be one.

        Args:
            what: They are, for the message.
            seen: In the round.
            expected: By chain and computation.
        Raises: RoundDiffers where they are not the same.
        """
        if seen != expected:
            raise RoundDiffers(self.round_number, what, show(seen), show(expected))

    def enrolled(self, update: ListedUpdate, view: ChainView) -> None:
        """That the account of an update weighs in the round, with this stake. Raises: RoundDiffers."""
        enrolment = view.enrolments.get(update.account)
        if enrolment is None or not enrolment.weighs_in(self.round_number):
            raise RoundDiffers(
                self.round_number, f"an update of {update.account}", "in the round", "not enrolled for it"
            )
        self.equal(f"the stake of {update.account}", update.stake, enrolment.stake)
