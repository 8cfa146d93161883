"""A task on chain, as its coordinator holds it: opened or found again, enrolled, started, posted to."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.clock import keep_up, pass_time
from fl.chain.deployment import Deployment
from fl.chain.enrolment import Enrolments
from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, Refused, TokenTooLow
from fl.chain.escrow import Escrow
from fl.chain.evaluator_stake import release_stakes, stake_evaluator
from fl.chain.invite import Invite
from fl.chain.payment import pay
from fl.chain.schedule import Schedule
from fl.chain.sender import Sent
from fl.chain.task_state import Posting, Status, TaskState, Terms
from fl.chain.tokens import in_tokens, tokens
from fl.chain.typed_data import Domain, Header, Receipt, contract_of, evaluator_of, header_hash, sign
from fl.plain_text import agreeing, plural

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # between two looks at a round that is not final


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


class TooFewEvaluators(ChainError):
    """Fewer evaluators have staked than the task's quorum."""

    def __init__(self, seen: int, quorum: int, stake: int) -> None:
        super().__init__(seen, quorum, stake)
        self.seen, self.quorum, self.stake = seen, quorum, stake

    def __str__(self) -> str:
        return (
            f"{plural(self.seen, 'evaluator')} {agreeing(self.seen, 'has', 'have')} staked {in_tokens(self.stake)} each, and {self.quorum} {agreeing(self.quorum, 'has', 'have')} to sign a round; let "
            "the others run `fl evaluator`, which stakes"
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
    leaps: bool = False  # whether a devnet's clock is moved on rather than waited for
    _posted: dict[int, tuple[Header, tuple[bytes, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _approvals: dict[tuple[bytes, str], bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.coordinator.address != self.terms.coordinator:
            raise NotCoordinator(seen=self.coordinator.address, expected=self.terms.coordinator)

    @classmethod
    def open(
        cls,
        deployment: Deployment,
        *,
        terms: Terms,
        sponsor: LocalAccount,
        coordinator: LocalAccount,
        leaps: bool = False,
    ) -> tuple[PaidTask, dict[str, Sent]]:
        """Escrow the budget and open the task.

        A task that an earlier start opened with the same terms, and did not live to see in a block, is found again.

        Args:
            deployment: Contract and token.
            terms: Of the task.
            sponsor: Escrows the budget.
            coordinator: Escrows the bond.
            leaps: Whether the chain's clock may be moved, on a devnet of one's own.
        Returns: the task and the transactions by name.
        Raises: TokenTooLow if the sponsor does not hold the budget; Refused with the contract's reason.
        """
        _, escrow, token = deployment.connect()
        task_id, sent = escrow.task_id(sponsor.address, terms.salt), {}
        try:
            approved, sent["open"] = pay(
                escrow,
                token,
                function="open",
                arguments=[terms.as_tuple()],
                amount=terms.budget,
                purpose="task's budget",
                account=sponsor,
            )
            if approved:
                sent["approve"] = approved
        except (Refused, TokenTooLow):
            if not escrow.has_task(task_id) or escrow.task(task_id)[0] != terms:
                raise
            log.info("task 0x%s was opened by the transaction that was sent before", task_id.hex())
        return cls.attach(deployment, task_id=task_id, coordinator=coordinator, leaps=leaps), sent

    @classmethod
    def attach(
        cls, deployment: Deployment, *, task_id: bytes, coordinator: LocalAccount, leaps: bool = False
    ) -> PaidTask:
        """Find an opened task again.

        Args:
            deployment: Contract and token.
            task_id: 32 bytes.
            coordinator: Of the task.
            leaps: Whether the chain's clock may be moved, on a devnet of one's own.
        Raises: NoTask if there is none; NotCoordinator for another key.
        """
        _, escrow, token = deployment.connect()
        terms, _ = escrow.task(task_id)
        return cls(
            escrow=escrow,
            token=token,
            task_id=task_id,
            terms=terms,
            coordinator=coordinator,
            block=deployment.block,
            leaps=leaps,
        )

    @property
    def domain(self) -> Domain:
        """What signatures of this task are bound to."""
        return self.escrow.domain

    def state(self) -> TaskState:
        """Where the task stands on chain."""
        return self.escrow.task(self.task_id)[1]

    def enrolments(self) -> Enrolments:
        """Everybody with a place in the task, by account."""
        return self.escrow.enrolments(self.task_id, from_block=self.block)

    def schedule(self) -> Schedule:
        """What the rounds may pay by and by."""
        return self.escrow.schedule(self.task_id, from_block=self.block)

    def wait_for_clients(self, count: int, *, deadline_s: float) -> Enrolments:
        """Wait until `count` clients joined. Raises: TooFewClients after `deadline_s` seconds."""
        until = time.monotonic() + deadline_s
        while len(joined := self.enrolments()) < count:
            if time.monotonic() > until:
                raise TooFewClients(seen=len(joined), expected=count, deadline_s=deadline_s)
            time.sleep(0.2)
        return joined

    def stakes_due(self, evaluators: Sequence[LocalAccount]) -> int:
        """Wei that `stake_for` escrows."""
        if not self.terms.evaluator_stake:
            return 0
        backers = self.escrow.backers(self.task_id, [evaluator.address for evaluator in evaluators])
        return self.terms.evaluator_stake * sum(not int(backer.payer, 16) for backer in backers.values())

    def stake_for(self, evaluators: Sequence[LocalAccount]) -> list[Sent]:
        """Stake for evaluators whose keys are here, out of the coordinator's tokens and back to it; skips those that have.

        Raises: TokenTooLow if the coordinator does not hold the stakes.
        """
        sent = [
            stake_evaluator(
                self.escrow,
                self.token,
                task_id=self.task_id,
                evaluator=evaluator.address,
                payer=self.coordinator,
                key=evaluator,
            )
            for evaluator in (evaluators if self.terms.evaluator_stake else ())
        ]
        return [each for each in sent if each is not None]

    def release_stakes(self, *, account: LocalAccount, payers: Sequence[str] = ()) -> list[Sent]:
        """Credit evaluators' stakes to who paid them, as far as they can go home.

        Args:
            account: Signs and pays the gas.
            payers: Whose stakes; everybody's if none is named.
        """
        return release_stakes(self.escrow, self.task_id, account=account, payers=payers)

    def speakers(self) -> dict[str, str]:
        """Who speaks for an evaluator that is a contract: account → contract."""
        return self.escrow.speakers(self.task_id, from_block=self.block)

    def approve(self, header: Header, evaluator: str, signature: bytes) -> Sent | None:
        """Have an evaluator that is a contract take a signature for its own, on chain; None if it did before.

        Args:
            header: Of the next round.
            evaluator: The contract's address.
            signature: As the contract takes it.
        Raises: Refused if it does not.
        """
        if self.escrow.is_approved(header, evaluator):
            return None
        sent = self.escrow.approve_header(header, evaluator=evaluator, signature=signature, account=self.coordinator)
        self._approvals[header_hash(header), evaluator] = signature
        return sent

    def wait_for_evaluators(self, *, deadline_s: float) -> None:
        """Wait until a quorum has staked, where the terms ask for it. Raises: TooFewEvaluators after `deadline_s` seconds."""
        until = time.monotonic() + deadline_s
        while self.terms.evaluator_stake and self.state().status == Status.OPEN:
            try:
                self._check_seats()
                return
            except TooFewEvaluators:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _check_seats(self) -> None:
        seated = self.escrow.seated(self.task_id)
        if len(seated) < self.terms.quorum:
            raise TooFewEvaluators(seen=len(seated), quorum=self.terms.quorum, stake=self.terms.evaluator_stake)

    def start(self) -> Sent | None:
        """Escrow the coordinator's bond and close the enrolment for round 1; None if that was done before.

        Raises: TooFewEvaluators, and TokenTooLow if the coordinator does not hold the bond, before anything is sent.
        """
        if self.state().status != Status.OPEN:
            return None
        self._check_seats()
        bond = self.terms.bond
        try:
            _, sent = pay(
                self.escrow,
                self.token,
                function="start",
                arguments=[self.task_id],
                amount=bond,
                purpose="coordinator's bond",
                account=self.coordinator,
            )
            return sent
        except (Refused, TokenTooLow):
            if self.state().status == Status.OPEN:
                raise
            return None  # by a transaction that an earlier life sent

    def receipt(self, *, round_number: int, client: str, update_root: bytes) -> bytes:
        """The coordinator's signature that it took an update, 65 bytes.

        Args:
            round_number: The round.
            client: Whose update it is.
            update_root: Of the update, 32 bytes.
        """
        receipt = Receipt(task_id=self.task_id, round=round_number, client=client, update_root=update_root)
        return sign(receipt, domain=self.domain, account=self.coordinator)

    def post(self, header: Header, *, signatures: Sequence[bytes]) -> Sent:
        """Post a round with its evaluators' signatures, 65 bytes each in any order.

        Where the bond does not cover the pay that is not final yet, it waits until the rounds before are.

        Raises: TooFewSignatures before anything is sent; Refused with the contract's reason.
        """
        self.keep_posted()
        sent = self._post(header, signatures)
        self._posted[header.round] = (header, tuple(signatures))
        return sent

    def keep_posted(self) -> None:
        """Post again what a reorganisation of the chain took back of the rounds that this process posted.

        Raises: as `post`.
        """
        posted = self.state().posted
        for number in sorted(number for number in self._posted if number > posted):
            log.warning("round %d is no longer on chain, which was reorganised; it is posted again", number)
            try:
                self._post(*self._posted[number])
            except Refused:
                if self.state().posted < number:  # else it was there: a node that is a block behind had been asked
                    raise

    def _post(self, header: Header, signatures: Sequence[bytes]) -> Sent:
        for contract in filter(None, map(contract_of, signatures)):
            # What a reorganisation took back with the post.
            if approval := self._approvals.get((header_hash(header), contract)):
                self.approve(header, contract, approval)
        known = self.check_quorum(header, signatures)
        # The contract wants ascending signers, so that it sees a duplicate in one pass.
        ordered = [known[account] for account in sorted(known, key=lambda account: int(account, 16))]
        last = header.round - 1
        # A header out of order is the contract's to refuse.
        cover = self.posting(last).cover if 0 < last <= self.state().posted else bytes(32)
        while True:
            try:
                return self.escrow.post(header, signatures=ordered, cover=cover, account=self.coordinator)
            except Refused as error:
                if error.name != "NotCovered" or self.escrow.is_final(self.task_id, last):
                    raise
                log.warning(
                    "round %d: %s tokens of pay would not be final, and the bond covers %s; waiting until round %d is final",
                    header.round, tokens(error.number("pay")), tokens(error.number("bond")), last,
                )  # fmt: skip
                self._wait_until_final(last)

    def _wait_until_final(self, round_number: int) -> None:
        w3 = self.escrow.w3
        until = self.escrow.posted_at(self.task_id, round_number) + self.terms.challenge_window
        if self.leaps:
            pass_time(w3, until=until)
        while not self.escrow.is_final(self.task_id, round_number):  # a challenge may hold it for longer
            keep_up(w3)
            self.keep_posted()
            time.sleep(_LOOK_S)

    def check_quorum(self, header: Header, signatures: Sequence[bytes]) -> dict[str, bytes]:
        """The signatures of the task's evaluators that count, by account. Raises: TooFewSignatures."""
        by_signer = {evaluator_of(header, domain=self.domain, signature=each): each for each in signatures}
        seated = self.escrow.seated(self.task_id) if self.terms.evaluator_stake else self.terms.evaluators
        known = {
            signer: signature
            for signer, signature in by_signer.items()
            if signer in seated and (not contract_of(signature) or self.escrow.is_approved(header, signer))
        }
        if len(known) < self.terms.quorum:
            raise TooFewSignatures(round_number=header.round, seen=len(known), quorum=self.terms.quorum)
        return known

    def posting(self, round_number: int) -> Posting:
        """How a posted round came onto the chain. Raises: NotPosted."""
        return self.escrow.posting(self.task_id, round_number, from_block=self.block)

    def posted_signatures(self, posting: Posting) -> list[bytes]:
        """The evaluators' signatures with which a round was posted, 65 bytes each; none where its transaction is not kept."""
        return self.escrow.signatures_in(posting.sent.hash)

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
