"""A whole task, audited from the chain and its bundles alone: for each round what differs, and what could not be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from fl.audit.budget import PrivacyBudget
from fl.audit.difference import ChainView, RoundDiffers, show
from fl.audit.own_update import check_own
from fl.audit.public_state import PublicState
from fl.audit.published import check_published
from fl.audit.recompute import check_round
from fl.audit.strategy_state import StrategyMemory, remembers
from fl.bundle.files import BASE, MANIFEST, NEXT, ROUND, BrokenBundle, read_manifest, update_file
from fl.bundle.format import Bundle, read_header, read_leaves
from fl.bundle.http_client import ArchiveUnreachable
from fl.bundle.round_record import RoundRecord, files_named_by, read_round
from fl.bundle.store import BundleSource, Withheld
from fl.chain.record import PostedRound, TaskRecord
from fl.chain.typed_data import Header, InvalidSignature, contract_of, evaluator_of
from fl.errors import FairshareError
from fl.foreign.arrays import read_arrays
from fl.plain_text import agreeing, plural, printable
from fl.rewards.tree import leaf_of
from fl.scoring.game import ValidationGame
from fl.scoring.public_vectors import PublicRound
from fl.task.spec import TaskSpec
from fl.task.strategy_facts import facts_of


@dataclass(frozen=True, kw_only=True)
class RoundVerdict:
    """What an audit found of one round."""

    number: int
    differences: tuple[str, ...]  # none: nothing wrong was found
    unchecked: tuple[str, ...] = ()  # what this auditor could not check, and why
    distance: float | None = None  # of the direction from the recomputed one, relative L2
    void: bool = False  # proven wrong on chain before
    interrupted: str = ""  # why the round could not be looked at to its end now
    epsilon: float | None = (
        None  # what noise had spent with this round; None in a task without, or if a round before is not here
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskAudit:
    """An auditor with what it has.

    Args:
        record: The task on chain.
        source: Where its bundles can be had.
        spec: Whose hash is on chain.
        game: The loss on the committed validation set, if the auditor has that.
        account: The client whose own part is checked, "" for none.
        receipts: Update roots by round for which the account has the coordinator's receipt.
        receipts_of_all: The same of others, by account, where an archive has them.
    """

    record: TaskRecord
    source: BundleSource
    spec: TaskSpec
    game: ValidationGame | None = None
    account: str = ""
    receipts: Mapping[int, bytes] = field(default_factory=dict)
    receipts_of_all: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)

    def rounds(self) -> Iterator[RoundVerdict]:
        """Every posted round, in order. Raises: ChainError if the chain cannot be read."""
        posted, enrolments, state = self.record.posted(), self.record.enrolments(), self.record.state()
        schedule = self.record.schedule()
        memory, public = StrategyMemory(self.spec, self.source), PublicState(self.spec, self.source)
        budget, counted = PrivacyBudget(self.spec), 0
        for number in sorted(posted):
            before = posted.get(number - 1)
            view = ChainView(
                domain=self.record.domain,
                terms=self.record.terms,
                enrolments=enrolments,
                schedule=schedule,
                previous=before.header if before else None,
            )
            round_audit = _RoundAudit(self, posted[number], view, memory, public)
            interrupted = ""
            try:
                round_audit.run()
            except ArchiveUnreachable as error:  # of a file, perhaps, that somebody would rather not send
                interrupted = str(error)
            epsilon = None
            if round_audit.whole is not None and counted == number - 1:
                epsilon = budget.after(round_audit.whole, enrolments=enrolments, domain=self.record.domain)
                counted = number
            yield RoundVerdict(
                number=number,
                differences=tuple(round_audit.differences),
                unchecked=tuple(round_audit.unchecked),
                distance=round_audit.distance,
                void=0 < state.void_from <= number,
                interrupted=interrupted,
                epsilon=epsilon,
            )

    def earned(self, account: str) -> tuple[int, int] | None:
        """The last round that counts and has a readable leaf of the account, and what it has earned until then, wei."""
        void_from = self.record.state().void_from
        for number in sorted(self.record.posted(), reverse=True):
            if 0 < void_from <= number:
                continue
            try:
                leaves = read_leaves(self.source.bundle(number))
            except (BrokenBundle, ArchiveUnreachable):
                continue
            if leaf := leaf_of(leaves, account):
                return number, leaf.cumulative
        return None


class _RoundAudit:
    def __init__(
        self, audit: TaskAudit, posted: PostedRound, view: ChainView, memory: StrategyMemory, public: PublicState
    ) -> None:
        self.audit, self.header, self.view = audit, posted.header, view
        self.memory, self.public = memory, public
        self.files = audit.source.bundle(posted.header.round)
        self.differences: list[str] = []
        self.unchecked: list[str] = []
        self.distance: float | None = None
        self.absent: dict[str, BrokenBundle] = {}
        self.whole: Bundle | None = None  # once everything in it was found right
        self.posted = True  # whether the manifest is the one that the posted header names

    def run(self) -> None:
        """Everything that what is at hand allows; a difference does not keep the rest from being looked at."""
        self._header()
        contents = self._contents()
        record = self._record(contents)
        if record is None:
            return
        whole = self._whole(contents, record)
        found = len(self.differences)
        self._try(lambda: check_published(record, self.header, view=self.view, spec=self.audit.spec))
        if len(self.differences) == found:
            if whole:
                self._recompute(contents)
            elif self.audit.account:
                self._own(contents, record)
        self._receipt(record)

    def _header(self) -> None:
        try:
            told, signatures = read_header(self.files)
        except BrokenBundle as error:
            self.differences.append(error.problem)
            return
        self.differences += _header_differences(told, self.header)
        self.differences += _signature_differences(signatures, self.header, self.view)
        for contract in filter(None, map(contract_of, signatures)):
            if not self.audit.record.escrow.is_approved(self.header, contract):
                self.differences.append(
                    f"{contract} did not approve the header on chain, and header.json says that it did"
                )

    def _contents(self) -> dict[str, bytes]:
        """What is at hand of the files that the manifest names, changed ones too: they show what was changed in them."""
        try:
            manifest = self.files.read(MANIFEST)
            sums = read_manifest(manifest, self.files)
        except BrokenBundle as error:
            self.differences.append(error.problem)
            return {}
        if (seen := hashlib.sha256(manifest).hexdigest()) != self.header.bundle.hex():
            self.differences.append(f"{MANIFEST} has sha256 {seen}, the posted header names {self.header.bundle.hex()}")
            self.posted = False
        contents: dict[str, bytes] = {}
        self._read(ROUND, sums, contents)
        named = self._named_in(contents)
        if not self.posted or named is None:
            # Nothing is read because somebody says so who did not post the round; round.json every round has, and it is small.
            return contents
        for name in sums:
            if name != ROUND and name in named:
                self._read(name, sums, contents)
        # A manifest may name any number of files; those of the round are known by now.
        if strange := [name for name in sums if name != ROUND and name not in named]:
            self.differences.append(
                f"{MANIFEST} names {printable(strange[0], most=100)}, which is not a file of the round"
                + (f", and {len(strange) - 1} more" if len(strange) > 1 else "")
            )
        return contents

    def _read(self, name: str, sums: Mapping[str, str], contents: dict[str, bytes]) -> None:
        if name not in sums:
            return
        try:
            contents[name] = self.files.read(name)
        except BrokenBundle as error:
            self.absent[name] = error
            return
        if (seen := hashlib.sha256(contents[name]).hexdigest()) != sums[name]:
            self.differences.append(
                f"{name} has sha256 {seen}, the manifest says {sums[name]}" + self._how_far(name, contents)
            )

    def _named_in(self, contents: Mapping[str, bytes]) -> frozenset[str] | None:
        try:
            return frozenset(files_named_by(read_round(contents[ROUND], where=self.files.where)))
        except (KeyError, BrokenBundle):
            return None  # which is told when the record is read

    def _record(self, contents: Mapping[str, bytes]) -> RoundRecord | None:
        if ROUND not in contents:
            self.differences.append(f"{ROUND} is missing")
            return None
        try:
            return read_round(contents[ROUND], where=self.files.where)
        except BrokenBundle as error:
            self.differences.append(error.problem)
            return None

    def _whole(self, contents: Mapping[str, bytes], record: RoundRecord) -> bool:
        """Whether everything is here. A client lacks the others' updates and a pruned store lacks all; one gap is a hole."""
        if not self.posted:
            self.unchecked.append(f"scores, direction and next model (the {MANIFEST} at hand is not the posted one)")
            return False
        names = [update_file(update.account) for update in record.updates]
        named = [name for name in names if name not in self.absent]
        heavy = files_named_by(record)
        for name in heavy:
            if name not in contents and name not in self.absent:
                self.differences.append(f"{name} is not in the manifest")
        partial = set(names) & set(contents) <= {update_file(self.audit.account)} and bool(names)
        for name, error in self.absent.items():
            if name != ROUND and not partial and not isinstance(error, Withheld):
                self.differences.append(f"{name} is missing, while others of the round are here")
        if partial or self.absent:
            others = len(names) - len([name for name in named if name in contents])
            if others:
                self.unchecked.append(f"the scores of {plural(others, 'client')} (their updates are not here)")
            self.unchecked.append("direction and next model (updates, or models, are not here)")
            return False
        return all(name in contents for name in heavy)

    def _recompute(self, contents: Mapping[str, bytes]) -> None:
        try:
            bundle = Bundle.parse(contents, where=self.files.where)
        except BrokenBundle as error:
            self.differences.append(error.problem)
            return
        strategy = None
        if remembers(self.audit.spec):
            try:
                strategy = self.memory.before(
                    self.header.round, enrolments=self.view.enrolments, domain=self.view.domain
                )
            except BrokenBundle as error:
                self.unchecked.append(f"the next model ({self.audit.spec.strategy} remembers, and {error.problem})")
        elif self.audit.spec.training == "app" and not facts_of(self.audit.spec.strategy).is_mean:
            self.unchecked.append(f"the next model (the app's own {self.audit.spec.strategy} is not in the spec)")
        past: tuple[PublicRound, ...] | None = None
        try:
            past = self.public.before(self.header.round, previous=self.view.previous_hash)
        except (BrokenBundle, ArchiveUnreachable) as error:
            self.unchecked.append(f"direction and public step (what was public before is not here: {error})")
        if self.audit.game is None:
            what = "direction and attested scores" if self.audit.spec.attested else "the direction"
            self.unchecked.append(f"{what} (the validation set is not here)")

        def check() -> None:
            self.distance = check_round(
                bundle,
                self.header,
                bundle_hash=self.header.bundle,  # what differs from it has been said
                view=self.view,
                spec=self.audit.spec,
                game=self.audit.game,
                strategy=strategy,
                past=past,
            )
            self.whole = bundle

        self._try(check)

    def _own(self, contents: Mapping[str, bytes], record: RoundRecord) -> None:
        def check() -> None:
            self.unchecked += check_own(
                record,
                self.header,
                account=self.audit.account,
                contents=contents,
                spec=self.audit.spec,
                attested=self.view.terms.attested,
            )

        self._try(check)

    def _receipt(self, record: RoundRecord) -> None:
        leaves = {leaf.account: leaf for leaf in record.leaves}
        for account, receipts in {**self.audit.receipts_of_all, self.audit.account: self.audit.receipts}.items():
            root, leaf = receipts.get(self.header.round), leaves.get(account)
            if root is not None and leaf is not None and leaf.update_root != root:
                self.differences.append(
                    f"the update of {account} with the receipt for 0x{root.hex()} was left out: its leaf has "
                    f"0x{leaf.update_root.hex()}"
                )

    def _try(self, check: Callable[[], object]) -> None:
        try:
            check()
        except RoundDiffers as error:
            self.differences.append(f"{error.what} is {error.seen}, recomputed {error.expected}")
        except FairshareError as error:  # what no round can be made of, such as updates without any stake
            self.differences.append(str(error))

    def _how_far(self, name: str, contents: Mapping[str, bytes]) -> str:
        """How far a changed model is from the same model in the neighbouring round, if that is here."""
        other, step = {BASE: (NEXT, -1), NEXT: (BASE, 1)}.get(name, ("", 0))
        if not other:
            return ""
        try:
            here = read_arrays(contents[name])
            there = read_arrays(self.audit.source.bundle(self.header.round + step).read(other))
            gaps = np.concatenate([np.abs(here[key] - there[key]).ravel() for key in there])
            widest = f"{gaps.max():.3g}"
        except (BrokenBundle, ArchiveUnreachable, KeyError, ValueError, TypeError):
            return ""
        changed = int(np.count_nonzero(gaps))
        return (
            f" ({changed} of {plural(len(gaps), 'value')} {agreeing(changed, 'differs', 'differ')} from the neighbouring round's, by up "
            f"to {widest})"
        )


def _header_differences(told: Header, posted: Header) -> Iterator[str]:
    for entry in fields(Header):
        seen, expected = getattr(told, entry.name), getattr(posted, entry.name)
        if seen != expected:
            yield f"header.json's {entry.name.replace('_', ' ')} is {show(seen)}, posted {show(expected)}"


def _signature_differences(signatures: list[bytes], posted: Header, view: ChainView) -> Iterator[str]:
    signers = set()
    for place, signature in enumerate(signatures, start=1):
        try:
            signer = evaluator_of(posted, domain=view.domain, signature=signature)
        except InvalidSignature as error:
            yield f"signature {place} of header.json cannot be read ({error})"
            continue
        if signer not in view.terms.evaluators:
            yield f"signature {place} of header.json is by {signer}, who is not an evaluator of the task, or signed another header"
        signers.add(signer)
    if len(known := signers & set(view.terms.evaluators)) < view.terms.quorum:
        yield f"header.json has signatures of {plural(len(known), 'evaluator')}, the quorum is {view.terms.quorum}"
