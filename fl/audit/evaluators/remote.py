"""An evaluator on a machine of its own: fetches the round that waits, recomputes it, and answers with a signature or a reason.

What it believes comes from the chain and from its own arithmetic; the coordinator only hands it files. Before a signature is
sent, what was signed is on the disk: whatever a coordinator offers later, no second header of a round is signed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from fl.audit.difference import ChainView, RoundDiffers
from fl.audit.public_state import PublicState
from fl.audit.recompute import check_round
from fl.audit.strategy_state import StrategyMemory
from fl.bundle.files import MANIFEST, BrokenBundle, BundleFiles, most_bytes, read_manifest
from fl.bundle.format import Bundle
from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable, HttpBundles
from fl.bundle.round_record import header_from_json
from fl.bundle.store import BundleStore, CachedBundle, drop_objects
from fl.bundle.validation_set import VALIDATION, OtherValidation, read_validation, write_validation
from fl.chain.errors import ChainError
from fl.chain.json_file import read_sealed, write_sealed
from fl.chain.record import TaskRecord
from fl.chain.typed_data import Header, header_hash, sign
from fl.chain.whole_file import private_folder, set_aside
from fl.errors import FairshareError
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, object_of
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset
from fl.task.spec import TaskSpec, rows_of_dataset

log = logging.getLogger(__name__)

CACHE = "cache"  # in its folder: the files of the last round and, where it has a stake, of those that are not final


class NotEvaluator(FairshareError):
    """The key at hand is of none of the task's evaluators."""

    def __init__(self, account: str, evaluators: tuple[str, ...]) -> None:
        super().__init__(account, evaluators)
        self.account, self.evaluators = account, evaluators

    def __str__(self) -> str:
        return f"{self.account} is not an evaluator of the task, they are {', '.join(self.evaluators)}; use one of their keystores"


class SignedAnother(FairshareError):
    """A header of this round was signed before, and it was another one."""

    def __init__(self, round_number: int, seen: str, signed: str) -> None:
        super().__init__(round_number, seen, signed)
        self.round_number, self.seen, self.signed = round_number, seen, signed

    def __str__(self) -> str:
        return (
            f"round {self.round_number}: header 0x{self.seen} is offered and 0x{self.signed} was signed before; an evaluator signs one "
            "header a round, so ask the coordinator what happened to the other"
        )


class SignedUnknown(FairshareError):
    """What was signed is on the disk and cannot be read, so that nothing may be signed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be read ({self.problem}), and without it a second header of a round might be signed; restore it, "
            "or remove it once every round that was signed is on chain"
        )


@dataclass(frozen=True, kw_only=True)
class EvaluatedRound:
    """What became of one round."""

    round: int
    distance: float | None  # of the direction, relative L2; None if it was refused
    refusal: str  # "" if it was signed
    accepted: bool  # whether the coordinator took the answer; late ones it does not need
    seconds: float


class SignedHeaders:
    """Hashes of the headers that were signed, by round, in a file that is on the disk before `keep` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, number: int, header: bytes) -> None:
        """Remember a header. Raises: SignedAnother if another one was signed for this round before; SignedUnknown."""
        known = self.known()
        told = known.setdefault(str(number), header.hex())
        if told != header.hex():
            raise SignedAnother(round_number=number, seen=header.hex(), signed=told)
        write_sealed(self.path, {"signed": known})

    def known(self) -> dict[str, str]:
        """Round → header hash in hex. Raises: SignedUnknown."""
        try:
            return dict(object_of(read_sealed(self.path)["signed"]))
        except Absent:
            return {}
        except KeyError:
            raise SignedUnknown(path=str(self.path), problem="it lists no headers") from None
        except (Unreadable, BadJson) as error:
            raise SignedUnknown(path=str(self.path), problem=error.problem) from error


class RemoteEvaluator:
    """One evaluator of one task.

    Args:
        record: The task on chain.
        spec: Of its invite, with what this machine's owner allows it to name.
        client: The coordinator's archive, asked as the evaluator.
        account: Its key.
        folder: Keeps what it signed, the validation set, and the files of the last round.
        validation: Its own copy of the validation set; fetched from the coordinator by default. Either has the hash on chain.
        contract: The evaluator, if it is a contract that takes the key's signatures for its own.
    Raises: NotEvaluator; OtherValidation; SignedUnknown; ArchiveUnreachable or ArchiveRefused where the validation set has to be fetched.
    """

    def __init__(
        self,
        record: TaskRecord,
        client: ArchiveClient,
        *,
        spec: TaskSpec,
        account: LocalAccount,
        folder: Path,
        validation: Dataset | None = None,
        contract: str = "",
    ) -> None:
        if (contract or account.address) not in record.terms.evaluators:
            raise NotEvaluator(account=contract or account.address, evaluators=record.terms.evaluators)
        self.record, self.client, self.account, self.folder = record, client, account, folder
        self.spec = spec
        data = self._validation() if validation is None else validation
        self.game = ValidationGame(self.spec.build_model(), loss=self.spec.build_loss(), rows=rows_of_dataset(data))
        self._signed = SignedHeaders(private_folder(folder) / "signed.json")
        self._signed.known()  # damage is told before anybody waits for this evaluator
        self._cache = BundleStore.at(str(folder / CACHE))
        self._bundles = HttpBundles(client, "bundles", model_size=self.game.layout.size)
        self._memory = StrategyMemory(self.spec, self._bundles)
        self._public = PublicState(self.spec, self._bundles)

    def evaluate_waiting(self) -> EvaluatedRound | None:
        """Check the round that waits for this evaluator, if there is one, and answer.

        Raises: ArchiveUnreachable, ArchiveRefused, ChainError where coordinator or chain cannot be asked; nothing is signed then.
        """
        waiting = self.client.get_json("evaluations")
        if waiting is None:
            return None
        started = time.perf_counter()
        number, distance, refusal, answer = 0, None, "", {}
        try:
            header = _header(waiting)
            number = header.round
            distance, manifest = self._check(header)
            self._signed.keep(number, header_hash(header))
            # After that and not before: what another header of the round would bring takes nothing of this one's away.
            self._cache.put_manifest(number, manifest)
            answer = {"signature": sign(header, domain=self.record.domain, account=self.account).hex()}
        except (ArchiveUnreachable, ArchiveRefused, ChainError, SignedUnknown):
            raise  # says nothing about the round
        except (
            FairshareError
        ) as error:  # a difference, or what no round can be made of, such as scores that are not finite
            refusal, distance = str(error), None
            answer = {"refusal": refusal}
        return EvaluatedRound(
            round=number,
            distance=distance,
            refusal=refusal,
            accepted=self._answer(number, answer),
            seconds=time.perf_counter() - started,
        )

    def _check(self, header: Header) -> tuple[float | None, bytes]:
        """Recompute a round; returns how far its direction is off, and its manifest."""
        view = self._view(header)
        files, manifest = self._files(header)
        bundle, bundle_hash = Bundle.read(files)
        distance = check_round(
            bundle,
            header,
            bundle_hash=bundle_hash,
            view=view,
            spec=self.spec,
            game=self.game,
            strategy=self._memory.before(header.round, enrolments=view.enrolments, domain=view.domain),
            past=self._public.before(bundle.round, previous=view.previous_hash),
        )
        return distance, manifest

    def _view(self, header: Header) -> ChainView:
        posted = self.record.posted()
        if header.round != len(posted) + 1:
            raise RoundDiffers(header.round, "the round", str(header.round), f"{len(posted) + 1}: so many are on chain")
        before = posted[header.round - 1].header if header.round > 1 else None
        return ChainView(
            domain=self.record.domain,
            terms=self.record.terms,
            enrolments=self.record.enrolments(),
            schedule=self.record.schedule(),
            previous=before,
        )

    def _files(self, header: Header) -> tuple[BundleFiles, bytes]:
        files = self._bundles.bundle(header.round)
        manifest = files.read(MANIFEST)
        if (seen := hashlib.sha256(manifest).digest()) != header.bundle:
            raise RoundDiffers(header.round, "the manifest's hash", f"0x{seen.hex()}", f"0x{header.bundle.hex()}")
        sums = read_manifest(manifest, files)
        # The next round's base model is this one's next: what is not in the round at hand can go, unless it has to answer for it.
        drop_objects(self._cache, but=[*sums.values(), *self._answered_for()])
        return CachedBundle(files, self._cache, sums), manifest

    def _answered_for(self) -> list[str]:
        """Objects of signed rounds that a stake hangs on: without them nobody could refute a false challenge of a score."""
        if not self.record.terms.evaluator_stake:
            return []
        kept: list[str] = []
        for number in self._cache.rounds():
            if not self.record.escrow.is_final(self.record.task_id, number):
                files = self._cache.bundle(number)
                kept += read_manifest(files.read(MANIFEST), files).values()
        return kept

    def _answer(self, number: int, answer: dict[str, str]) -> bool:
        try:
            self.client.post(f"evaluations/{number}", answer)
        except ArchiveRefused as error:
            if error.status != 409:
                raise
            return False  # enough others were faster
        return True

    def _validation(self) -> Dataset:
        path, expected = self.folder / VALIDATION, self.record.terms.validation_hash
        private_folder(self.folder)
        if path.exists():
            try:
                return read_validation(read_file(path, most=most_bytes(VALIDATION)), where=str(path), expected=expected)
            except (OtherValidation, Unreadable) as error:
                log.warning("%s; it is now %s, and fetched again", error, set_aside(path))
        data = read_validation(self.client.get("validation"), where=self.client.url, expected=expected)
        write_validation(path, data)
        return data


def _header(waiting: Any) -> Header:
    try:
        return header_from_json(object_of(waiting)["header"])
    except (BadJson, KeyError) as error:
        raise BrokenBundle(folder="of the round that waits", problem=f"has no header ({error})") from error
