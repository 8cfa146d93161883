"""A coordinator's answer to false challenges of its scores and to requests of leaves, for as long as its task is open.

A false challenge is refuted with one block of the update and of the direction, and until the end of a task nobody has both but the
coordinator and the evaluators. One that nobody refutes costs the coordinator its bond, as if it were right.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.disputes.findings import Finding
from fl.audit.disputes.submit import Filings, take_reward
from fl.audit.disputes.watch import Watch
from fl.bundle.files import BrokenBundle, BundleFiles
from fl.bundle.store import BundleSource, BundleStore
from fl.chain.errors import ChainError, ChainUnreachable, Refused
from fl.chain.invite import Invite
from fl.chain.record import TaskRecord
from fl.chain.task_state import Status
from fl.chain.tokens import tokens
from fl.plain_text import printable

log = logging.getLogger(__name__)

_LOOK_S = 5.0
_LOOKS = 20  # at least so many in a response window
_JOIN_S = 10.0
_DEFENCE = (
    "refute",
    "demand",
    "dismiss",
    "showLeaf",
)  # what a coordinator does about what it holds for false, or is asked for


@dataclass(frozen=True)
class _Bundles:
    """A coordinator's folder of bundles and, for what was dropped from it, its archive."""

    folder: BundleStore
    archive: BundleStore | None

    @property
    def where(self) -> str:
        """The folder."""
        return self.folder.where

    def bundle(self, number: int) -> BundleFiles:
        """The files of a round."""
        return _BundleOf(self, number)


@dataclass(frozen=True)
class _BundleOf:
    source: _Bundles
    number: int

    @property
    def where(self) -> str:
        """The round's folder."""
        return self.source.folder.bundle(self.number).where

    def read(self, name: str) -> bytes:
        """One file. Raises: BrokenBundle where neither has it."""
        try:
            return self.source.folder.bundle(self.number).read(name)
        except BrokenBundle:
            if self.source.archive is None:
                raise
            return self.source.archive.bundle(self.number).read(name)


class ChallengeRefuter:
    """Refutes false challenges of one task.

    Args:
        record: The task on chain.
        bundles: Where its updates and directions are.
        account: Pays the gas and, for a demand, the bond; gets half of what a false challenge forfeits.
    """

    def __init__(self, record: TaskRecord, bundles: BundleSource, *, account: LocalAccount) -> None:
        self.record, self.account = record, account
        self._watch = Watch(record, bundles)
        self._settled = False  # whether no bond of ours can lie in a challenge that is over
        self._filings = Filings(record, account=account, look_s=min(_LOOK_S, record.terms.response_window / _LOOKS))
        self._told: set[str] = set()

    def look(self) -> bool:
        """Answer what can be answered now; returns whether there is nothing left to refute.

        Raises: ChainError where the chain cannot be asked.
        """
        state = self.record.state()
        if self._settled and not state.open_challenges:
            return state.status in (Status.HALTED, Status.CLOSED) and self.record.is_deep(state.status)
        look = self._watch.look_at_challenges()
        for problem in look.unread:
            self.tell(f"{problem}; it cannot be refuted from here, and unrefuted it costs the bond")
        for finding in filter(self._filings.is_due, look.findings):
            if finding.call.function in _DEFENCE:
                self._file(finding)
            else:
                self.tell(f"round {finding.round}: {finding.what}; what was posted is wrong")
        self._settled = not state.open_challenges and all(map(self._filings.is_settled, look.findings))
        return self._settled and look.over

    def _file(self, finding: Finding) -> None:
        name = finding.call.function
        try:
            sent = self._filings.file(finding)
        except Refused as error:
            log.info("round %d: %s; not filed yet: %s", finding.round, finding.what, error)
            return
        except ChainUnreachable:
            raise
        except ChainError as error:  # no gas, too few tokens for the bond: somebody can still help
            self.tell(f"round {finding.round}: {finding.what}, and {name} is not filed yet: {error}")
            return
        came = take_reward(self.record, account=self.account)
        log.warning(
            "round %d: %s; filed %s in %s, %s tokens came in",
            finding.round,
            finding.what,
            name,
            sent.hash,
            tokens(came),
        )

    def tell(self, problem: str) -> None:
        """Log what somebody has to see to, once."""
        if problem not in self._told:
            self._told.add(problem)
            log.error("%s", printable(problem))


@contextmanager
def refuting_challenges(
    invite: Invite, *, bundles: Path, archive: str | None = None, account: LocalAccount
) -> Iterator[None]:
    """ChallengeRefuter a task in a thread of its own, until the task is over or the block ends.

    Args:
        invite: Where the task is; its URL has to be one that answers here.
        bundles: The coordinator's folder of bundles.
        archive: URL of the store that has what is dropped from the folder, None for none.
        account: As for `ChallengeRefuter`.
    Raises: ConfigError for a URL that no installed file system takes.
    """
    source = _Bundles(BundleStore.at(str(bundles)), BundleStore.at(archive) if archive else None)
    ended = threading.Event()

    def refute() -> None:
        refuter, pause, told = None, _LOOK_S, ""
        while True:
            try:
                refuter = refuter or ChallengeRefuter(TaskRecord(invite), source, account=account)
                pause = min(_LOOK_S, refuter.record.terms.response_window / _LOOKS)
                if refuter.look():
                    return
                told = ""
            except Exception as error:  # whatever it is, the next challenge has to find a refuter
                if str(error) != told:
                    told = str(error)
                    log.warning("cannot look for challenges: %s; tried again every %g s", printable(error), pause)
            if ended.wait(pause):
                return

    thread = threading.Thread(target=refute, name="refuter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=_JOIN_S)
