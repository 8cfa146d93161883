"""Evaluators on machines of their own: each fetches the round that waits and hands in what it found; k of n have to sign."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl.audit.difference import ChainView
from fl.audit.evaluators.local import Evaluator
from fl.bundle.round_record import header_to_json
from fl.chain.errors import ChainError
from fl.chain.json_file import write_json
from fl.chain.typed_data import Domain, Header, InvalidSignature, contract_signature, signer_of
from fl.errors import FairshareError
from fl.plain_text import printable

log = logging.getLogger(__name__)

REFUSALS = "refusals.json"  # in the bundle's folder, beside what the manifest names
_LONGEST_REASON = 1000  # characters of somebody else's text that are kept and logged
_LONGEST_SIGNATURE = 4096  # bytes of what a contract may take for one
Approve = Callable[[Header, str, bytes], object]  # header, contract and signature → onto the chain; raises ChainError


class NotWaiting(FairshareError):
    """An evaluator answers for a round that is not open, or not any more."""

    def __init__(self, seen: int, waiting: int | None) -> None:
        super().__init__(seen, waiting)
        self.seen, self.waiting = seen, waiting

    def __str__(self) -> str:
        now = f"round {self.waiting} waits" if self.waiting else "no round waits"
        return f"an answer for round {self.seen} came, {now}; it was late, or is not needed"


class WrongAnswer(FairshareError):
    """An evaluator's signature is not its own over the header that waits."""

    def __init__(self, account: str, problem: str) -> None:
        super().__init__(account, problem)
        self.account, self.problem = account, problem

    def __str__(self) -> str:
        return f"the signature of {self.account} {self.problem}; sign the header that waits with the account's own key"


class RoundRefused(FairshareError):
    """So many evaluators refused a round that the quorum cannot be reached."""

    def __init__(self, round_number: int, signed: int, quorum: int, reasons: Sequence[str]) -> None:
        super().__init__(round_number, signed, quorum, reasons)
        self.round_number, self.signed, self.quorum, self.reasons = round_number, signed, quorum, tuple(reasons)

    def __str__(self) -> str:
        return (
            f"round {self.round_number} has {self.signed} of {self.quorum} signatures, and these evaluators refuse it: "
            f"{'; '.join(self.reasons)}"
        )


@dataclass(kw_only=True)
class _Waiting:
    header: Header
    folder: Path
    until: float  # of time.monotonic()
    signatures: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    by_contracts: dict[str, bytes] = field(default_factory=dict)  # signatures that a contract has to take yet


class RemoteQuorum:
    """Offers each round to the task's evaluators, some of whom may be in this process, and waits for the quorum.

    Slow, absent and wrong evaluators do not hold a round up while as many as the quorum are well.

    Args:
        evaluators: Accounts of all evaluators of the task.
        domain: What their signatures are bound to.
        here: Those of them that run in this process.
        deadline_s: How long a round waits, seconds.
        approve: Has an evaluator that is a contract say on chain whether it takes a signature; without it none of theirs counts.
    """

    def __init__(
        self,
        evaluators: Sequence[str],
        *,
        domain: Domain,
        here: Sequence[Evaluator] = (),
        deadline_s: float = 600.0,
        approve: Approve | None = None,
    ) -> None:
        self.evaluators, self.domain, self.here, self.deadline_s = (
            frozenset(evaluators),
            domain,
            tuple(here),
            deadline_s,
        )
        self._approve = approve
        self._changed = threading.Condition()
        self._waiting: _Waiting | None = None

    @property
    def addresses(self) -> frozenset[str]:
        """All of the task's evaluators: any of them may answer."""
        return self.evaluators

    def sign(self, folder: Path, header: Header, *, view: ChainView) -> list[bytes]:
        """Offer a round and wait; returns the signatures that came, the quorum or fewer.

        Args:
            folder: Of the bundle.
            header: To sign.
            view: What the chain says before the round is posted.
        Raises: RoundRefused if refusals are why the quorum was not reached.
        """
        quorum = view.terms.quorum
        round_ = _Waiting(header=header, folder=folder, until=time.monotonic() + self.deadline_s)
        with self._changed:
            self._waiting = round_
        log.info("round %d waits for %d of %d evaluators", header.round, quorum, len(self.evaluators))
        try:
            for evaluator in self.here:  # others fetch the round meanwhile
                self._evaluate_here(evaluator, round_, view)
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._settled(round_, quorum), timeout=max(0.0, round_.until - time.monotonic())
                    )
                if not self._ask_contracts(round_, quorum):
                    break
        finally:
            with self._changed:
                self._waiting = None
        signed, refused = round_.signatures, round_.refusals
        if refused:
            write_json(folder / REFUSALS, refused)
        if absent := sorted(self.evaluators - signed.keys() - refused.keys()):
            log.info("round %d: not heard from %s", header.round, ", ".join(absent))
        if len(signed) < quorum and len(self.evaluators) - len(refused) < quorum:
            reasons = [f"{account}: {reason}" for account, reason in refused.items()]
            raise RoundRefused(round_number=header.round, signed=len(signed), quorum=quorum, reasons=reasons)
        return list(signed.values())

    def waiting(self, account: str) -> dict[str, object] | None:
        """What an evaluator is asked to check now, as JSON; None if nothing, or if it has answered."""
        with self._changed:
            round_ = self._waiting
            if round_ is None or account in {*round_.signatures, *round_.refusals, *round_.by_contracts}:
                return None
            return {
                "round": round_.header.round,
                "header": header_to_json(round_.header),
                "seconds_left": max(0.0, round_.until - time.monotonic()),
            }

    def accept(self, account: str, *, round_number: int, signature: bytes) -> None:
        """Take an evaluator's signature.

        Args:
            account: Of the evaluator.
            round_number: That it signed.
            signature: Of the header, 65 bytes.
        Raises: NotWaiting; WrongAnswer if it is not the account's over this header.
        """
        with self._changed:
            round_ = self._expect(account, round_number)
            try:
                signer = signer_of(round_.header, domain=self.domain, signature=signature)
            except InvalidSignature as error:
                raise self._wrong(account, f"cannot be read ({error})") from error
            if signer != account:
                raise self._wrong(account, f"is by {signer}, or over another header")
            round_.signatures[account] = signature
            round_.refusals.pop(account, None)
            log.info("round %d: evaluator %s signs", round_number, account)
            self._changed.notify_all()

    def accept_of_contract(self, contract: str, *, round_number: int, signature: bytes) -> None:
        """Take what who speaks for an evaluator that is a contract signed; the contract is asked on chain if it is needed.

        Args:
            contract: The evaluator's address.
            round_number: That was signed.
            signature: Of the header, as the contract takes it.
        Raises: NotWaiting; WrongAnswer.
        """
        with self._changed:
            round_ = self._expect(contract, round_number)
            if self._approve is None or not 0 < len(signature) <= _LONGEST_SIGNATURE:
                raise self._wrong(
                    contract, f"has {len(signature)} bytes, 1 to {_LONGEST_SIGNATURE} are taken of a contract"
                )
            round_.by_contracts[contract] = signature
            round_.refusals.pop(contract, None)
            log.info("round %d: who speaks for evaluator %s signs", round_number, contract)
            self._changed.notify_all()

    def refuse(self, account: str, *, round_number: int, reason: str) -> None:
        """Take an evaluator's refusal, which is logged and kept with the bundle.

        Args:
            account: Of the evaluator.
            round_number: That it refuses.
            reason: In its words.
        Raises: NotWaiting; WrongAnswer.
        """
        with self._changed:
            round_ = self._expect(account, round_number)
            self._refused(round_, account, reason)
            self._changed.notify_all()

    def _ask_contracts(self, round_: _Waiting, quorum: int) -> bool:
        """Ask contracts whether they take what was signed for them, as many as the quorum lacks; returns whether to wait on.

        Each costs a transaction, so those are asked last; one that does not take it loses its own signature alone.
        """
        while len(round_.signatures) < quorum:
            with self._changed:
                if not round_.by_contracts:
                    break
                contract, signature = next(iter(round_.by_contracts.items()))
            refusal = ""
            try:
                if self._approve is not None:
                    self._approve(round_.header, contract, signature)
            except ChainError as error:
                refusal = f"the contract did not take its signature: {error}"
            with self._changed:
                round_.by_contracts.pop(contract, None)
                if refusal:
                    self._refused(round_, contract, refusal)
                else:
                    round_.signatures[contract] = contract_signature(contract)
        with self._changed:
            return not self._settled(round_, quorum) and time.monotonic() < round_.until

    def _evaluate_here(self, evaluator: Evaluator, round_: _Waiting, view: ChainView) -> None:
        account = evaluator.account.address
        try:
            signature = evaluator.evaluate(round_.folder, round_.header, view=view)
        except FairshareError as error:
            with self._changed:
                self._refused(round_, account, str(error))
            return
        with self._changed:
            round_.signatures[account] = signature

    def _expect(self, account: str, round_number: int) -> _Waiting:
        if account not in self.evaluators:
            raise self._wrong(account, "is not wanted: it is not an evaluator of the task")
        if self._waiting is None or self._waiting.header.round != round_number:
            raise NotWaiting(seen=round_number, waiting=self._waiting.header.round if self._waiting else None)
        return self._waiting

    @staticmethod
    def _refused(round_: _Waiting, account: str, reason: str) -> None:
        # Somebody else's text goes into our log: one line, and no longer than a reason has to be.
        told = printable(reason, most=_LONGEST_REASON)
        round_.signatures.pop(account, None)
        round_.by_contracts.pop(account, None)
        round_.refusals[account] = told
        log.warning("round %d: evaluator %s does not sign: %s", round_.header.round, account, told)

    @staticmethod
    def _wrong(account: str, problem: str) -> WrongAnswer:
        error = WrongAnswer(account=account, problem=problem)
        log.warning("%s", error)
        return error

    def _settled(self, round_: _Waiting, quorum: int) -> bool:
        signed, refused = len(round_.signatures) + len(round_.by_contracts), len(round_.refusals)
        return signed >= quorum or signed + refused >= len(self.evaluators) or len(self.evaluators) - refused < quorum
