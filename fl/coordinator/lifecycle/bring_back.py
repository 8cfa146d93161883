"""What a contract still holds for sponsor and coordinator comes back: a task is cancelled, ended or swept, if its time has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fl.bundle.files import round_folder
from fl.bundle.format import read_header
from fl.chain.errors import Refused
from fl.chain.paid_task import PaidTask
from fl.chain.task_state import Status, TaskState
from fl.chain.tokens import in_tokens
from fl.chain.typed_data import no_round
from fl.coordinator.lifecycle.close import fetch_credits
from fl.plain_text import agreeing, plural


@dataclass(frozen=True, kw_only=True)
class BringBack:
    """A task whose owner wants back what is the owner's.

    Args:
        bundles: The coordinator's folder of bundles; a halted task is closed with the header of its last valid round.
    """

    task: PaidTask
    bundles: Path

    def lines(self) -> Iterator[str]:
        """Do what can be done now; yields what was done, and what has to wait and until when."""
        state = self.task.state()
        yield from self._end(state)
        state = self.task.state()
        yield from self._sweep(state)
        came = fetch_credits(self.task, account=self.task.coordinator)
        for owner, amount in came.items():
            yield f"{owner} got {in_tokens(amount)} back"
        if not came:
            yield "the contract owes sponsor and coordinator nothing right now"
        yield from self._held(state)

    def _end(self, state: TaskState) -> Iterator[str]:
        task, terms = self.task, self.task.terms
        if state.status == Status.CLOSED:
            return
        if state.status == Status.OPEN:
            end, earliest, done = task.escrow.expire, state.since + terms.round_timeout, "cancelled: it never started"
        elif state.status == Status.HALTED:
            yield from self._attempt(self._close_halted, "closed after the fraud that was proven", None)
            return
        elif state.posted >= state.rounds:
            earliest = task.escrow.posted_at(task.task_id, state.posted) + terms.challenge_window
            end, done = task.escrow.close, "closed: all its rounds are final"
        else:
            overdue = task.escrow.overdue_at(task.task_id, terms=terms, state=state)
            yield (
                f"the task is under way, {state.posted} of {plural(state.rounds, 'round')} {agreeing(state.posted, 'is', 'are')} posted; `fl coordinator` goes on with it. "
                f"If nobody does, anybody may end it from {_when(overdue)} on, and the bond goes "
                "to the clients"
            )
            return
        yield from self._attempt(lambda: end(task.task_id, account=task.coordinator), done, earliest)

    def _attempt(self, end: Callable[[], object], done: str, earliest: int | None) -> Iterator[str]:
        try:
            end()
        except Refused as error:
            when = error.values.get("earliest", earliest)
            until = (
                f" before {_when(int(when))}"
                if isinstance(when, int)
                else " yet: a challenge is open or a window is running"
            )
            yield f"the task cannot be ended{until}; run `fl finish` again then"
        else:
            yield f"the task is {done}"

    def _close_halted(self) -> None:
        posted = self.task.state().posted
        if posted:
            header, _ = read_header(self.bundles / round_folder(posted))
            self.task.escrow.close_halted(header, account=self.task.coordinator)
        else:
            self.task.escrow.close_halted(no_round(self.task.task_id), account=self.task.coordinator)

    def _sweep(self, state: TaskState) -> Iterator[str]:
        rest = state.cumulative + state.pool - state.paid
        if state.status != Status.CLOSED or state.swept or not rest:
            return
        try:
            self.task.escrow.sweep(self.task.task_id, account=self.task.coordinator)
        except Refused as error:
            last = state.since + self.task.terms.claim_period
            until = _when(error.number("earliest") if "earliest" in error.values else last)
            yield (
                f"{in_tokens(rest)} are for clients who have not claimed yet; what is left comes to the sponsor by "
                f"`fl finish` from {until} on"
            )
        else:
            yield f"{in_tokens(rest)} that nobody claimed in time are the sponsor's"

    def _held(self, state: TaskState) -> Iterator[str]:
        if state.status in (Status.OPEN, Status.STARTED) and state.bond:
            yield f"the bond of {in_tokens(state.bond)} comes back when the task is closed"


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
