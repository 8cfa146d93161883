"""A task on chain, as its coordinator holds it: opened or found again, enrolled, started, posted to."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.deployment import Deployment
from fl.chain.errors import ChainError, Refused, TokenTooLow
from fl.chain.escrow import Enrolment, Escrow, Posting, Status, TaskState, Terms, Token
from fl.chain.invite import Invite
from fl.chain.sender import Sent
from fl.chain.typed_data import Domain, Header, Receipt, digest, sign, signer_of

log = logging.getLogger(__name__)


class NotCoordinator(ChainError):
    """The key at hand is not the one that the task's terms name."""

    def __init__(self, seen: str, expected: str) -> None:
        super().__init__(seen, expected)
        self.seen, self.expected = seen, expected

    def __str__(self) -> str:
        return (
            f"the task's coordinator is {self.expected} and the key is of {self.seen}; use the coordinator's keystore"
        )


class TooFewSignatures(ChainError):
    """Fewer evaluators signed a header than the task's quorum."""

    def __init__(self, round_number: int, seen: int, quorum: int) -> None:
        super().__init__(round_number, seen, quorum)
        self.round_number, self.seen, self.quorum = round_number, seen, quorum

    def __str__(self) -> str:
        return (
            f"round {self.round_number} has {self.seen} evaluator signatures, the quorum is {self.quorum}; start more "
            "evaluators or see why they refused"
        )


class TooFewClients(ChainError):
    """Not enough clients joined before the deadline."""

    def __init__(self, seen: int, expected: int, deadline_s: float) -> None:
        super().__init__(seen, expected, deadline_s)
        self.seen, self.expected, self.deadline_s = seen, expected, deadline_s

    def __str__(self) -> str:
        return (
            f"{self.seen} of {self.expected} clients joined within {self.deadline_s:g} s; let them run `fl join` or lower "
            "the number"
        )


@dataclass(frozen=True, kw_only=True)
class PaidTask:
    """A task of a contract, with the coordinator's key."""

    escrow: Escrow
    token: Token
    task_id: bytes
    terms: Terms
    coordinator: LocalAccount
    block: int = 0  # events are searched from here

    def __post_init__(self) -> None:
        if self.coordinator.address != self.terms.coordinator:
            raise NotCoordinator(seen=self.coordinator.address, expected=self.terms.coordinator)

    @classmethod
    def open(
        cls, deployment: Deployment, *, terms: Terms, sponsor: LocalAccount, coordinator: LocalAccount
    ) -> tuple[PaidTask, dict[str, Sent]]:
        """Escrow the budget and the bond and open the task.

        A task that an earlier start opened with the same terms, and did not live to see in a block, is found again.

        Returns: the task and the transactions by name.
        Raises: TokenTooLow if the sponsor does not hold budget and bond; Refused with the contract's reason.
        """
        _, escrow, token = deployment.connect()
        escrowed = terms.budget + terms.bond
        task_id, sent = escrow.task_id(sponsor.address, terms.salt), {}
        try:
            sent["approve"] = token.approve(escrow.address, escrowed, purpose="task's budget and bond", account=sponsor)
            _, sent["open"] = escrow.open(terms, account=sponsor)
        except (Refused, TokenTooLow):
            if not escrow.has_task(task_id) or escrow.task(task_id)[0] != terms:
                raise
            log.info("task 0x%s was opened by the transaction that was sent before", task_id.hex())
        return cls.attach(deployment, task_id=task_id, coordinator=coordinator), sent

    @classmethod
    def attach(cls, deployment: Deployment, *, task_id: bytes, coordinator: LocalAccount) -> PaidTask:
        """Find an opened task again. Raises: NoTask if there is none; NotCoordinator for another key."""
        _, escrow, token = deployment.connect()
        terms, _ = escrow.task(task_id)
        return cls(
            escrow=escrow,
            token=token,
            task_id=task_id,
            terms=terms,
            coordinator=coordinator,
            block=deployment.block,
        )

    @property
    def domain(self) -> Domain:
        """What signatures of this task are bound to."""
        return self.escrow.domain

    def state(self) -> TaskState:
        """Where the task stands on chain."""
        return self.escrow.task(self.task_id)[1]

    def enrolments(self) -> dict[str, Enrolment]:
        """Everybody who joined, by account."""
        return {one.account: one for one in self.escrow.enrolments(self.task_id, from_block=self.block)}

    def wait_for_clients(self, count: int, *, deadline_s: float) -> dict[str, Enrolment]:
        """Wait until `count` clients joined. Raises: TooFewClients after `deadline_s` seconds."""
        until = time.monotonic() + deadline_s
        while len(joined := self.enrolments()) < count:
            if time.monotonic() > until:
                raise TooFewClients(seen=len(joined), expected=count, deadline_s=deadline_s)
            time.sleep(0.2)
        return joined

    def start(self) -> Sent | None:
        """Close the enrolment for round 1; None if that was done before."""
        if self.state().status != Status.OPEN:
            return None
        try:
            return self.escrow.start(self.task_id, account=self.coordinator)
        except Refused:
            if self.state().status == Status.OPEN:
                raise
            return None  # by a transaction that an earlier life sent

    def receipt(self, *, round_number: int, client: str, update_root: bytes) -> bytes:
        """The coordinator's signature that it took an update, 65 bytes."""
        receipt = Receipt(task_id=self.task_id, round=round_number, client=client, update_root=update_root)
        return sign(receipt, domain=self.domain, account=self.coordinator)

    def post(self, header: Header, *, signatures: Sequence[bytes]) -> Sent:
        """Post a round with its evaluators' signatures, 65 bytes each in any order.

        Raises: TooFewSignatures before anything is sent; Refused with the contract's reason.
        """
        known = self.check_quorum(header, signatures)
        # The contract wants ascending signers, so that it sees a duplicate in one pass.
        ordered = [known[one] for one in sorted(known, key=lambda one: int(one, 16))]
        return self.escrow.post(header, signatures=ordered, account=self.coordinator)

    def check_quorum(self, header: Header, signatures: Sequence[bytes]) -> dict[str, bytes]:
        """The signatures of the task's evaluators, by account. Raises: TooFewSignatures."""
        by_signer = {signer_of(header, domain=self.domain, signature=one): one for one in signatures}
        known = {one: signature for one, signature in by_signer.items() if one in self.terms.evaluators}
        if len(known) < self.terms.quorum:
            raise TooFewSignatures(round_number=header.round, seen=len(known), quorum=self.terms.quorum)
        return known

    def posting(self, round_number: int) -> Posting:
        """How a posted round came onto the chain. Raises: NotPosted."""
        return self.escrow.posting(self.task_id, round_number, from_block=self.block)

    def digest(self, header: Header) -> bytes:
        """The header's hash, which the next header names as its previous one."""
        return digest(header, domain=self.domain)

    def invite(self, *, url: str, spec: str) -> Invite:
        """What a client needs to join."""
        return Invite(
            chain_id=self.escrow.chain_id,
            url=url,
            contract=self.escrow.address,
            token=self.token.address,
            block=self.block,
            task_id="0x" + self.task_id.hex(),
            coordinator=self.terms.coordinator,
            spec=spec,
        )

    @classmethod
    def from_invite(cls, path: Path, *, coordinator: LocalAccount) -> PaidTask:
        """The task that an invite file names, for its coordinator."""
        invite = Invite.read(path)
        fields = {key: value for key, value in asdict(invite).items() if key in Deployment.__dataclass_fields__}
        return cls.attach(Deployment(**fields), task_id=invite.id_bytes, coordinator=coordinator)
