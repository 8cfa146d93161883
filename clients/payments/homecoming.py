"""What the contract holds for one client is brought home: its pay, its stake, and what it is credited with.

Anybody may end a task that is complete, silent or proven wrong, so a client waits for nobody: what its coordinator does not
do in time, it does itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from clients.payments.book import RoundPay
from fl.chain.errors import Refused
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.task_state import Status, TaskState, Terms
from fl.chain.tokens import in_tokens, two_places
from fl.chain.typed_data import no_round
from fl.rewards import RoundTree

log = logging.getLogger(__name__)

GRACE_S = 30.0  # that a coordinator has to end its task itself
_AGAIN_S = 15.0  # before a refused ending is tried again


@dataclass(kw_only=True)
class Homecoming:
    """One client's money on its way home.

    Args:
        account: The client's; it pays the gas.
        say: Takes one line for the owner.
        grace_s: How long others have to end the task before this client does.
    """

    invite: Invite
    escrow: Escrow
    account: LocalAccount
    say: Callable[[str], None]
    grace_s: float = GRACE_S
    returned: int = 0  # wei of stake that came back
    _said_window: bool = False
    _due_since: float | None = None  # since when the task could be ended
    _tried: float = float("-inf")

    def step(self, terms: Terms, state: TaskState, *, pay: RoundPay | None) -> bool:
        """Do what can be done now; returns whether nothing is left in the contract.

        Args:
            pay: Of the last posted round; None where the account has no leaf.
        Raises: ChainError.
        """
        claimed = self._claim(terms, state, pay)
        if state.status != Status.CLOSED and not self._end(terms, state, pay):
            return False
        return self._fetch_stake() and claimed and state.status == Status.CLOSED

    def leave(self, terms: Terms, state: TaskState, *, pay: RoundPay | None) -> bool:
        """The same for a client that left: its stake comes home before the task ends; what it earned, as far as it is final.

        Args:
            terms: Of the task.
            state: Where it stands.
            pay: Of the last round that it was in.
        """
        claimed = self._claim(terms, state, pay)
        return claimed and self._fetch_stake()

    def paid(self) -> int:
        """Wei that the account was paid so far."""
        return self.escrow.claimed(self.invite.id_bytes, self.account.address)

    def _claim(self, terms: Terms, state: TaskState, pay: RoundPay | None) -> bool:
        if pay is None or self.paid() >= state.due(pay.leaf.cumulative):
            return True
        task_id, number = self.invite.id_bytes, pay.header.round
        if not self.escrow.is_final(task_id, number):
            if not self._said_window:
                until = self.escrow.posted_at(task_id, number) + terms.challenge_window
                told = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(until))
                which = "the last round" if number >= state.rounds else f"round {number}"
                self.say(
                    f"{which} is posted; it is final after {told} if nobody proves it wrong, then this node claims"
                )
                self._said_window = True
            return False
        sent = self.escrow.claim(
            pay.header,
            leaf=pay.leaf,
            index=pay.index,
            proof=RoundTree(pay.leaves, published=True).proof(pay.index),
            account=self.account,
        )
        self.say(
            f"claimed: {self.account.address} was paid {two_places(self.paid())} tokens in all{self._to()}, {sent.gas} gas"
        )
        return True

    def _end(self, terms: Terms, state: TaskState, pay: RoundPay | None) -> bool:
        """End the task if its time has come and nobody else did; returns whether this client did."""
        if not self._may_end(terms, state):
            return False
        self._due_since = self._due_since if self._due_since is not None else time.monotonic()
        if state.status != Status.HALTED and time.monotonic() - self._due_since < self.grace_s:
            return False
        if time.monotonic() - self._tried < _AGAIN_S:
            return False
        self._tried = time.monotonic()
        try:
            if state.status == Status.HALTED:
                self.escrow.close_halted(pay.header if pay else no_round(self.invite.id_bytes), account=self.account)
            elif state.posted >= state.rounds:
                self.escrow.close(self.invite.id_bytes, account=self.account)
            else:
                self.escrow.expire(self.invite.id_bytes, account=self.account)
                self.say("the coordinator was silent for too long; this node ended the task")
        except Refused as error:  # a window is running or a challenge is open, or somebody else was faster
            log.info("not ended yet: %s", error)
        return False  # what the ending shares out is in the next state

    def _may_end(self, terms: Terms, state: TaskState) -> bool:
        if state.status == Status.HALTED:
            return True
        if state.posted >= state.rounds:
            return self.escrow.is_final(self.invite.id_bytes, state.posted)
        return time.time() > self.escrow.overdue_at(self.invite.id_bytes, terms=terms, state=state)

    def _fetch_stake(self) -> bool:
        address, to = self.account.address, self._to()
        if stake := self.escrow.client(self.invite.id_bytes, address).stake:
            try:
                self.escrow.release_range(self.invite.id_bytes, [address], account=self.account)
            except Refused as error:
                if error.name != "StillAtStake":
                    raise
                return False
            self.returned += stake
            self.say(f"the stake is back: {in_tokens(stake)}{to}")
        if credit := self.escrow.credit(self.invite.token, address):
            self.escrow.withdraw_for(self.invite.token, address, account=self.account)
            self.say(f"withdrew {two_places(credit)} tokens that the contract held for {address}")
        return True

    def _to(self) -> str:
        """Where the money goes, if not to the account itself."""
        address = self.account.address
        payee = self.escrow.client(self.invite.id_bytes, address).payee(address)
        return "" if payee == address else f", to its payee {payee}"
