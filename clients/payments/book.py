"""The posted rounds as one account is concerned: its leaf of each, held against the chain, and why it took no part."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from clients.errors import BrokenLedger
from clients.keys.ledger import FolderLedger
from clients.node.folder import NodeFolder
from clients.privacy.own_score import OwnScores
from fl.audit.disputes.evidence import read_receipts
from fl.bundle.files import HEADER, MANIFEST, ROUND, BrokenBundle
from fl.bundle.format import read_header, read_leaves
from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable
from fl.bundle.round_record import read_round
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.tokens import two_places
from fl.chain.typed_data import Domain, Header, header_hash
from fl.errors import FairshareError
from fl.foreign.json_text import BadJson, read_json
from fl.plain_text import printable
from fl.rewards import HIGHEST_PRICE, Leaf, RoundTree, price_of

log = logging.getLogger(__name__)

SCORE = 2**40  # units of one of loss
WEIGHT = 2**32  # units of a weight of one
_HASH_BYTES = 27  # of a header's hash, as many as the contract keeps
_MOST_OF_A_SUMMARY = 64 << 20  # bytes
_SILENT = "no answer of this node's came in time"
_NOT_THIS = (BadJson, KeyError, TypeError, AttributeError, StopIteration)  # of a text that is not a summary


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
    factor: float | None = None  # what the round's length left of the update, 0 to 1; None where it took no part
    absence: str = ""  # why it took no part, in the coordinator's words
    own_score: int | None = (
        None  # of a masked round: what this client's own update comes to; None where it does not know
    )

    @property
    def leaf(self) -> Leaf:
        """The account's own."""
        return self.leaves[self.index]

    def __str__(self) -> str:
        leaf = self.leaf
        if leaf.weight == 0:
            part = "took no part" + (f" ({self.absence})" if self.absence else "")
        else:
            part = f"score {leaf.score / SCORE:+.4f} at a weight of {leaf.weight / WEIGHT:.1%}"
        text = f"round {self.header.round}: {part}, {leaf.total / SCORE:+.4f} in all; "
        if self.header.price < HIGHEST_PRICE:
            text += f"the price is {price_of(self.header.price):,.2f} tokens for 1.0; "
        text += f"earned {two_places(self.earned)} tokens, {two_places(leaf.cumulative)} in all"
        if self.own_score is not None and leaf.weight and self.own_score != leaf.score:
            text += (
                f"; this client's own update comes to a score of {self.own_score / SCORE:+.4f}, and evaluators signed another one: "
                "ask the coordinator why"
            )
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
        self._own_scores = OwnScores(folder.path, task_id=invite.id_bytes)
        self._block = invite.block

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
            path,
            account=self.account,
            task_id=self._task_id,
            domain=self._domain,
            coordinators=self._escrow.coordinators(self._task_id, from_block=self._block),
        )
        known = self._receipts.receipts()
        for number, entry in told.items():
            if number not in known:
                self._receipts.keep_receipt(round_number=number, update_root=entry.update_root, receipt=entry.signature)

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
            factor=self._factor(path, leaves[index]),
            absence="" if leaves[index].weight else self._absence(number, path),
            own_score=self._own_score(header),
        )

    def _own_score(self, header: Header) -> int | None:
        try:
            own = self._own_scores.of(header.round)
        except BrokenLedger as error:
            log.warning("%s", error)
            return None
        return own.score if own is not None and own.direction_root == header.direction_root else None

    def _factor(self, path: Path, leaf: Leaf) -> float | None:
        try:
            updates = read_round((path / ROUND).read_bytes(), where=str(path)).updates
        except BrokenBundle:  # what pay needs of it was read
            return None
        own = next((update.stake for update in updates if update.account == self.account), 0)
        if not own or not leaf.weight:
            return None
        return min(1.0, leaf.weight * sum(update.stake for update in updates if update.selected) / (own * WEIGHT))

    def _absence(self, number: int, path: Path) -> str:
        """Why the account took no part in a round, as the coordinator says it; "" where it says nothing now."""
        note = path / "absence.txt"
        if not note.exists() and self._archive is not None:
            try:
                summary = read_json(self._archive.get("summary", most=_MOST_OF_A_SUMMARY), most=_MOST_OF_A_SUMMARY)
                told = next(round_ for round_ in summary["rounds"] if round_["round"] == number)["refusals"]
                reasons = [str(entry["reason"]) for entry in told if entry["account"] == self.account]
            except (ArchiveUnreachable, ArchiveRefused, *_NOT_THIS):
                return ""
            note.write_text(printable(reasons[0] if reasons else _SILENT, most=300))
        return note.read_text() if note.exists() else ""

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
