"""What a node earned: follows the posted rounds, tells each, and brings pay and stake home at the end.

The coordinator says what is in a round; the chain says which round that is. What does not fit is refused and told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from eth_account.signers.local import LocalAccount
from web3.exceptions import Web3Exception

from clients.errors import GatewayUnreachable
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from clients.payments.book import NoLeaf, PayBook, RoundPay
from clients.payments.homecoming import GRACE_S, Homecoming
from clients.payments.receipt import receipt
from clients.privacy.spent import over_limit, spent_line
from fl.bundle.files import BrokenBundle
from fl.bundle.http_client import ArchiveRefused, ArchiveUnreachable
from fl.chain.errors import ChainError, ChainUnreachable
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.rpc_url import shown
from fl.chain.sender import connect
from fl.chain.task_state import Client, Status, TaskState, Terms
from fl.errors import FairshareError
from fl.privacy.budget import Sampling
from fl.privacy.terms import PrivacyTerms
from fl.task.bounds import read_spec

log = logging.getLogger(__name__)

_POLL_S = 3
_LOOKS = 3  # after which an account that the contract does not know has left before the start
_PROBE_S = 30  # of the gateway, when no round needs it
_GATEWAY_LAG_S = 20  # in which a gateway may not know yet that a round is posted
_NOT_YET = (404, 503)  # the round is not there yet; the gateway has not seen the chain yet


@dataclass(frozen=True, kw_only=True)
class Payee:
    """Who is paid, and what it wants."""

    account: LocalAccount  # pays the gas of its claim
    claims: bool  # whether to claim and to fetch the stake at the end
    wallet: str = ""  # how the receipt names the file of the account's key
    rows: int = 0  # of its shard, which decide what noise on rows spends; 0 for as few as the task allows
    limit: float | None = None  # the ε of a task with noise beyond which it leaves, with what it earned


class PayFollower:
    """A thread that tells the owner of each posted round and brings the money home at the end.

    Args:
        payee: The client.
        gateway: None where the task has none; then only the chain is told of.
        say: Takes one line for the owner.
        grace_s: How long others have to end the task before this client does.
    """

    def __init__(
        self,
        invite: Invite,
        payee: Payee,
        *,
        folder: NodeFolder,
        gateway: Gateway | None,
        say: Callable[[str], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._invite, self._payee, self._folder, self._gateway = invite, payee, folder, gateway
        self._say, self._grace_s = say, grace_s
        spec = read_spec(invite.spec)
        self._privacy, self._sampling = PrivacyTerms.of(spec.get("privacy")), Sampling.of(spec, rows=payee.rows)
        self._told = 0  # rounds
        self._rounds: dict[int, RoundPay] = {}
        self._troubles: dict[str, str] = {}  # what is wrong now, by who it is about; each is said once
        self._late: dict[int, float] = {}  # when a round's files were first asked for in vain, monotonic
        self._lacks_receipts = False
        self._home: Homecoming | None = None
        self._unknown = 0  # looks in a row at which the contract did not know the account
        self._probed = time.monotonic()
        self._stop, self._over, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pay", daemon=True)

    @property
    def over(self) -> bool:
        """Whether the task has ended and nothing is left to do."""
        return self._over.is_set()

    @property
    def idle(self) -> bool:
        """Whether there is no round any more that the node has a part in: all are posted, or the account left."""
        return self._idle.is_set()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; a claim that was sent is waited for as long as it takes to be in a block."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        book = escrow = None
        while not self._stop.wait(0 if escrow is None else _POLL_S) and not self.over:
            try:
                escrow = escrow or Escrow(
                    connect(self._invite.url, chain_id=self._invite.chain_id), self._invite.contract
                )
                book = book or PayBook(
                    self._invite, folder=self._folder, escrow=escrow, account=self._payee.account.address
                )
                self._step(escrow, book)
                self._settle("chain", "the chain answers again")
                self._troubles.pop("contract", None)
            except (ChainUnreachable, Web3Exception) as error:
                self._trouble(
                    "chain", f"the chain at {shown(self._invite.url)} does not answer ({_short(error)}); trying on"
                )
                self._stop.wait(2 * _POLL_S)
            except ChainError as error:  # it answers, and says no: no gas for the claim, or a contract that is gone
                self._trouble("contract", f"{error}; trying on")
                self._stop.wait(10 * _POLL_S)
            except Exception:  # the thread is the only one that claims: it may not end of a surprise
                log.exception("following the rounds")
                self._trouble("pay", "following the rounds failed; node.log says why; trying on")
                self._stop.wait(10 * _POLL_S)

    def _step(self, escrow: Escrow, book: PayBook) -> None:
        terms, state = escrow.task(self._invite.id_bytes)
        self._follow_coordinator(terms)
        client = escrow.client(self._invite.id_bytes, self._payee.account.address)
        known = all(self._tell(book, client, number) for number in range(self._told + 1, state.posted + 1))
        complete = state.posted >= state.rounds or state.status in (Status.HALTED, Status.CLOSED)
        taken = state.posted + 1 - max(1, client.first_round)
        if (
            client.first_round
            and not client.left_round
            and not complete
            and over_limit(self._privacy, self._payee.limit, rounds=taken, sampling=self._sampling)
        ):
            self._say(
                f"the next round would spend more of this client's privacy than ε {self._payee.limit:g}, its limit; it leaves the task "
                "with what it earned"
            )
            escrow.leave(self._invite.id_bytes, account=self._payee.account)
            client = escrow.client(self._invite.id_bytes, self._payee.account.address)
        # A node of the chain that is behind the others may not know the account for a moment.
        self._unknown = 0 if client.first_round else self._unknown + 1
        left = bool(client.left_round) or self._unknown >= _LOOKS
        if (complete or (left and state.posted >= client.left_round - 1)) and not self.idle:
            self._idle.set()
            if left and not complete:
                self._say("this account left the task; the node no longer takes part and waits for its stake")
        if not self.idle:
            self._probe()
        if known and self._finish(escrow, terms, state, client, complete=complete):
            self._over.set()
        elif self._lacks_receipts and self._keep_receipts(book) and (pay := book.round(self._told)).omitted:
            self._say(str(pay))

    def _follow_coordinator(self, terms: Terms) -> None:
        """Whose receipts count is written into the folder, from where the node reads it with the next round."""
        if terms.coordinator == self._invite.coordinator:
            return
        self._say(f"the task was handed over by {self._invite.coordinator}; its coordinator is {terms.coordinator} now")
        self._invite = replace(self._invite, coordinator=terms.coordinator)
        self._folder.bind(invite=self._invite, account=self._payee.account.address)

    def _tell(self, book: PayBook, client: Client, number: int) -> bool:
        try:
            book.round(number)  # which has its files fetched
            self._keep_receipts(book)
            self._rounds[number] = book.round(number)
            taken = number + 1 - max(1, client.first_round)
            self._say(str(self._rounds[number]) + spent_line(self._privacy, rounds=taken, sampling=self._sampling))
        except (ArchiveUnreachable, ArchiveRefused) as error:
            first = self._late.setdefault(number, time.monotonic())
            if error.status in _NOT_YET and time.monotonic() - first < _GATEWAY_LAG_S:
                return False  # the gateway looks at the chain every few seconds, as this does
            self._trouble("gateway", f"round {number} is posted, but what it paid is not known yet: {error}")
            return False
        except NoLeaf as error:
            if 0 < client.first_round <= number:
                self._say(str(error))
        except BrokenBundle as error:
            self._trouble("gateway", f"round {number}: {error}")
            return False
        self._settle("gateway", "the coordinator's gateway answers again")
        self._told = number
        return True

    def _keep_receipts(self, book: PayBook) -> bool:
        """Fetch receipts; returns whether they came. They prove that an update was left out, and the pay does not wait for them."""
        try:
            book.keep_receipts()
        except FairshareError as error:
            log.info("no receipts from the coordinator: %s", error)
            self._lacks_receipts = isinstance(error, ArchiveUnreachable)
            return False
        self._lacks_receipts = False
        return True

    def _probe(self) -> None:
        if self._gateway is None or time.monotonic() - self._probed < _PROBE_S:
            return
        self._probed = time.monotonic()
        try:
            self._gateway.clock_offset_s()
            self._settle("gateway", "the coordinator's gateway answers again")
        except GatewayUnreachable as error:
            self._trouble("gateway", f"{error}; trying on")

    def _finish(self, escrow: Escrow, terms: Terms, state: TaskState, client: Client, *, complete: bool) -> bool:
        """Bring home what can come; returns whether nothing is left to wait for."""
        silent = time.time() > escrow.overdue_at(self._invite.id_bytes, terms=terms, state=state)
        if not (complete or self.idle or silent):
            return False  # rounds go on: one claim at their end is cheaper than many
        if not self._payee.claims:
            if complete:
                self._say(f"the task is over; pay and stake wait in the contract for `fl finish {self._folder.path}`")
            return complete
        if self._home is None:
            self._home = Homecoming(
                invite=self._invite, escrow=escrow, account=self._payee.account, say=self._say, grace_s=self._grace_s
            )
        pay = self._rounds.get(state.posted)
        if not complete and self.idle:
            if not self._home.leave(terms, state, pay=pay):
                return False
            self._say(
                f"what later rounds add to the pay comes with `fl finish {self._folder.path}` when the task is over"
            )
        elif not self._home.step(terms, state, pay=pay):
            return False
        for line in receipt(
            list(self._rounds.values()),
            invite=self._invite,
            account=self._payee.account.address,
            paid=self._home.paid(),
            returned=self._home.returned,
            slashed=client.first_round > 0 and client.stake == 0 and not self._home.returned,
            wallet=self._payee.wallet,
            payee=client.payee(self._payee.account.address),
        ):
            self._say(line)
        return True

    def _trouble(self, who: str, line: str) -> None:
        if who not in self._troubles:
            self._say(line)
        self._troubles[who] = line

    def _settle(self, who: str, line: str) -> None:
        if self._troubles.pop(who, None):
            self._say(line)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
