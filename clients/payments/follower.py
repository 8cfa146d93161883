"""What a node earned: follows the posted rounds, checks its own leaf against the chain, and claims at the end.

The coordinator says what is in a round; the chain says which round that is. What does not fit is refused and told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount
from web3.exceptions import Web3Exception

from clients.errors import GatewayUnreachable
from clients.keys.ledger import FolderLedger
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from fl.audit.disputes.evidence import read_receipts
from fl.bundle.format import HEADER, MANIFEST, ROUND, BrokenBundle, read_header, read_leaves
from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable
from fl.chain.errors import ChainError, ChainUnreachable, Refused
from fl.chain.escrow import Escrow, Status, TaskState, Terms
from fl.chain.invite import Invite
from fl.chain.rpc_url import shown
from fl.chain.sender import connect
from fl.chain.typed_data import Domain, Header, header_hash
from fl.errors import FairshareError
from fl.rewards import HIGHEST_PRICE, Leaf, RoundTree, price_of

log = logging.getLogger(__name__)

TOKEN = 10**18  # wei
SCORE = 2**40  # units of one of loss
WEIGHT = 2**32  # units of a weight of one
_POLL_S = 3
_PROBE_S = 30  # of the gateway, when no round needs it
_HASH_BYTES = 27  # of a header's hash, as many as the contract keeps


class NoLeaf(FairshareError):
    """A posted round has no leaf for an account that it should have one for."""

    def __init__(self, account: str, round_number: int) -> None:
        super().__init__(account, round_number)
        self.account, self.round_number = account, round_number

    def __str__(self) -> str:
        return (
            f"round {self.round_number} as posted has no leaf for {self.account}; if it had joined by then, that is "
            "provable on chain (fl.audit.disputes.proofs.prove_missing)"
        )


@dataclass(frozen=True, kw_only=True)
class RoundPay:
    """One round as it went for one account."""

    header: Header
    leaves: tuple[Leaf, ...]
    index: int  # of the account's leaf
    earned: int  # wei, in this round
    omitted: bool  # the coordinator's receipt is for another update than the leaf's: provable on chain

    @property
    def leaf(self) -> Leaf:
        """The account's own."""
        return self.leaves[self.index]

    def __str__(self) -> str:
        leaf = self.leaf
        if leaf.weight == 0:
            part = "took no part"
        else:
            part = f"score {leaf.score / SCORE:+.4f} at a weight of {leaf.weight / WEIGHT:.1%}"
        text = f"round {self.header.round}: {part}, {leaf.total / SCORE:+.4f} in all; "
        if self.header.price < HIGHEST_PRICE:
            text += f"the price is {price_of(self.header.price):,.2f} tokens for 1.0; "
        text += f"earned {self.earned / TOKEN:,.2f} tokens, {leaf.cumulative / TOKEN:,.2f} in all"
        if self.omitted:
            text += (
                "; the coordinator's receipt is for another update than this round holds, which is provable on chain"
            )
        return text


class PayBook:
    """The posted rounds as one account is concerned, kept in a node's folder and held against the chain.

    Args:
        folder: Takes each round's header, manifest and leaves.
        account: Whose leaves.
    """

    def __init__(self, invite: Invite, *, folder: NodeFolder, escrow: Escrow, account: str) -> None:
        self._task_id, self._folder, self._escrow, self.account = invite.id_bytes, folder, escrow, account
        self._domain = Domain(chain_id=invite.chain_id, contract=invite.contract)
        # As nobody in particular: what a client needs is public, and a token dated by a wrong clock would be refused.
        self._archive = ArchiveClient.of_gateway(invite) if invite.gateway else None
        self._receipts = FolderLedger(folder.path, task_id=invite.id_bytes)
        self._coordinator = invite.coordinator

    def round(self, number: int) -> RoundPay:
        """One round, fetched if it is not there yet.

        Raises: ArchiveUnreachable, ArchiveRefused; BrokenBundle if its files, its tree and the posted header do not fit
        together (they are fetched again next time); NoLeaf.
        """
        path = self._folder.round_path(number)
        if not (path / HEADER).exists():
            self._fetch(number, path)
        try:
            return self._read(number, path)
        except BrokenBundle:
            (path / HEADER).unlink(missing_ok=True)
            raise

    def keep_receipts(self) -> None:
        """Fetch the receipts that no message brought, such as the last round's.

        Raises: ArchiveUnreachable, ArchiveRefused; BadEvidence if what the coordinator gives out is not signed by it.
        """
        if self._archive is None:
            return
        path = self._folder.path / "rounds" / "receipts.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._archive.get(f"receipts/{self.account}"))
        told = read_receipts(
            path, account=self.account, task_id=self._task_id, domain=self._domain, coordinator=self._coordinator
        )
        known = self._receipts.receipts()
        for number, one in told.items():
            if number not in known:
                self._receipts.keep_receipt(round_number=number, update_root=one.update_root, receipt=one.signature)

    def _fetch(self, number: int, path: Path) -> None:
        if self._archive is None:
            raise ArchiveUnreachable(url="the gateway", reason="the invite names none")
        path.mkdir(parents=True, exist_ok=True)
        for name in (MANIFEST, ROUND, HEADER):  # the header last: a folder that has one is whole
            (path / name).write_bytes(self._archive.get(f"bundles/{path.name}/{name}"))

    def _read(self, number: int, path: Path) -> RoundPay:
        header, _ = read_header(path)
        posted, _ = self._escrow.posted(self._task_id, number)
        if header.round != number or header_hash(header)[:_HASH_BYTES] != posted:
            raise BrokenBundle(folder=str(path), problem="its header is not the one that was posted on chain")
        leaves = read_leaves(path)
        if RoundTree(leaves, published=True).root != header.tree_root:
            raise BrokenBundle(folder=str(path), problem="its leaves are not those of the posted tree")
        index = next((place for place, leaf in enumerate(leaves) if leaf.account == self.account), None)
        if index is None:
            raise NoLeaf(account=self.account, round_number=number)
        receipt = self._receipts.receipts().get(number)
        return RoundPay(
            header=header,
            leaves=leaves,
            index=index,
            earned=leaves[index].cumulative - self._before(number),
            omitted=receipt is not None and receipt[0] != leaves[index].update_root,
        )

    def _before(self, number: int) -> int:
        earlier = self._folder.round_path(number - 1)
        if number == 1 or not (earlier / HEADER).exists():
            return 0
        try:
            leaves = read_leaves(earlier)
        except BrokenBundle:  # damaged since it was read: it is fetched again
            self._fetch(number - 1, earlier)
            leaves = read_leaves(earlier)
        return next((leaf.cumulative for leaf in leaves if leaf.account == self.account), 0)


class PayFollower:
    """A thread that tells the owner of each posted round and claims at the end.

    Args:
        gateway: None where the task has none; then only the chain is told of.
        account: The client's; it pays the gas of its claim.
        claims: Whether to claim at the end.
        say: Takes one line for the owner.
    """

    def __init__(
        self,
        invite: Invite,
        *,
        folder: NodeFolder,
        gateway: Gateway | None,
        account: LocalAccount,
        claims: bool,
        say: Callable[[str], None],
    ) -> None:
        self._invite, self._folder, self._gateway = invite, folder, gateway
        self._account, self._claims, self._say = account, claims, say
        self._told = 0  # rounds
        self._troubles: dict[str, str] = {}  # what is wrong now, by who it is about; each is said once
        self._said_window = False
        self._lacks_receipts = False
        self._probed = time.monotonic()
        self._stop, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pay", daemon=True)

    @property
    def over(self) -> bool:
        """Whether the task has ended and nothing is left to do."""
        return self._over.is_set()

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
                book = book or PayBook(self._invite, folder=self._folder, escrow=escrow, account=self._account.address)
                self._step(escrow, book)
                self._settle("chain", "the chain answers again")
                self._troubles.pop("contract", None)
            except (ChainUnreachable, Web3Exception) as error:
                self._trouble(
                    "chain", f"the chain at {shown(self._invite.url)} gives no answer ({_short(error)}); trying on"
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
        known = all(self._tell(escrow, book, number) for number in range(self._told + 1, state.posted + 1))
        self._probe()
        complete = state.posted >= state.rounds or state.status in (Status.HALTED, Status.CLOSED)
        if complete and known and self._finish(escrow, book, terms, state):
            self._over.set()
        elif self._lacks_receipts and self._keep_receipts(book) and (pay := book.round(self._told)).omitted:
            self._say(str(pay))

    def _tell(self, escrow: Escrow, book: PayBook, number: int) -> bool:
        try:
            book.round(number)  # which has its files fetched
            self._keep_receipts(book)
            self._say(str(book.round(number)))
        except (ArchiveUnreachable, ArchiveRefused) as error:
            self._trouble("gateway", f"round {number} is posted, but what it paid is not known yet: {error}")
            return False
        except NoLeaf as error:
            if escrow.client(self._invite.id_bytes, self._account.address).first_round <= number:
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

    def _finish(self, escrow: Escrow, book: PayBook, terms: Terms, state: TaskState) -> bool:
        """Claim what is due; returns whether nothing is left to wait for."""
        task_id, address = self._invite.id_bytes, self._account.address
        if not self._claims or state.posted == 0:
            self._say("the task is over" + (", no round was posted" if state.posted == 0 else ""))
            return True
        try:
            pay = book.round(state.posted)
        except NoLeaf:
            self._say("the task is over; this account took part in no round")
            return True
        if (paid := escrow.claimed(task_id, address)) >= state.due(pay.leaf.cumulative):
            if state.status == Status.HALTED:
                # Its share of what the coordinator forfeits comes when the task is closed, which anybody may do.
                return self._close_halted(escrow, pay.header)
            self._say(f"the task is over; {address} was paid {paid / TOKEN:,.2f} tokens")
            return True
        if not escrow.is_final(task_id, state.posted):
            if not self._said_window:
                _, posted_at = escrow.posted(task_id, state.posted)
                until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(posted_at + terms.challenge_window))
                self._say(
                    f"the last round is posted; it is final after {until} if nobody proves it wrong, then this node claims"
                )
                self._said_window = True
            return False
        sent = escrow.claim(
            pay.header,
            leaf=pay.leaf,
            index=pay.index,
            proof=RoundTree(pay.leaves, published=True).proof(pay.index),
            account=self._account,
        )
        self._say(
            f"claimed: {address} was paid {escrow.claimed(task_id, address) / TOKEN:,.2f} tokens in all, {sent.gas} gas"
        )
        return state.status != Status.HALTED

    def _close_halted(self, escrow: Escrow, last: Header) -> bool:
        """Close a halted task once nothing can be proven any more; returns False: what it shares out is still to be claimed."""
        try:
            escrow.close_halted(last, account=self._account)
        except Refused as error:  # a window is running or a challenge is open, or somebody else was faster
            log.info("not closed yet: %s", error)
            self._stop.wait(10 * _POLL_S)
        return False

    def _trouble(self, who: str, line: str) -> None:
        if who not in self._troubles:
            self._say(line)
        self._troubles[who] = line

    def _settle(self, who: str, line: str) -> None:
        if self._troubles.pop(who, None):
            self._say(line)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
