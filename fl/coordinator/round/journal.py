"""What a coordinator has in hand of a round that is not on chain yet, so that a killed one goes on where it was.

A round passes four points, each reached by one rename or one transaction:

    collected   journal/round-NNNN/   the accepted updates and the refusals
    scored      round-NNNN/           the bundle
    signed      round-NNNN/header.json
    posted      the chain, which is the truth

Nothing is asked of a client twice that was collected, and no second bundle is made of a round that evaluators may have signed.
What is read back is checked as when it came: an update that is damaged on the disk is not in a bundle that evaluators refuse, it
is set aside, and its node is asked again, which answers with what it signed.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fl.bundle.files import BrokenBundle, most_bytes, round_folder
from fl.bundle.format import Bundle
from fl.chain.json_file import unseal, write_sealed
from fl.chain.whole_file import private_folder, set_aside, sync_folder, sync_tree
from fl.codec import parts_of
from fl.codec.address import is_checksummed
from fl.coordinator.round.collect import AcceptedUpdate, NotAccepted, Question, Refusal, check_update
from fl.coordinator.round.side_records import from_bytes, to_bytes
from fl.errors import FairshareError
from fl.foreign.files import Absent, GivenFolder, Unreadable
from fl.foreign.json_text import (
    BadJson,
    decimal_of,
    hex_of,
    list_of,
    number_of,
    object_of,
    read_json,
    shown,
    text_of,
    whole_of,
)
from fl.plain_text import printable
from fl.protocol import SignedUpdate
from fl.spool import Spool

log = logging.getLogger(__name__)

_MOST_RECORDS = 1 << 31  # bytes of what an answer held beside model and metrics
_MOST_INDEX = 256 << 20  # bytes: 700 an update, and the metrics that came with it
_LONGEST_TEXT = 2000  # of a refusal's words
_INDEX = "collected.json"
_FORGOTTEN = ".forgotten"  # suffix of a folder that is being removed


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """What the journal has of a round, checked as when it came."""

    updates: tuple[AcceptedUpdate, ...]  # ascending by account
    refusals: tuple[Refusal, ...]
    lost: frozenset[int] = frozenset()  # nodes whose updates were there, and are damaged now


class NotKept(FairshareError):
    """A round cannot be written down."""

    def __init__(self, round_number: int, folder: str, reason: str) -> None:
        super().__init__(round_number, folder, reason)
        self.round_number, self.folder, self.reason = round_number, folder, reason

    def __str__(self) -> str:
        return (
            f"round {self.round_number} cannot be written to {self.folder} ({self.reason}); make room there and start again, "
            "nothing that was written before is lost"
        )


@contextmanager
def _written(number: int, folder: Path, *, durable: bool) -> Iterator[Path]:
    """A folder that is there whole or not at all. Raises: NotKept for a full disk and the like."""
    partial = folder.with_suffix(".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        private_folder(partial)
        yield partial
        if durable:
            sync_tree(partial)
        partial.rename(folder)
        if durable:
            sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise NotKept(round_number=number, folder=str(folder), reason=error.strerror or str(error)) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """What the index says of an update; its blocks are in a file of their own."""

    account: str
    node_id: int
    stake: int  # wei
    root: bytes
    signature: bytes
    metrics: dict[str, float | int]
    seconds_training: float
    seconds_signing: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Index:
    updates: tuple[_Entry, ...]
    refusals: tuple[Refusal, ...]


class Journal:
    """The rounds in hand of one task.

    Args:
        bundles: The folder of the task's bundles; the journal lies in it.
        resumable: Whether a killed coordinator goes on from here. Where the chain ends with the process, as in a simulation, there is
            nothing to go on with: bundles are written, whole or not at all, and what they will hold is not written before.
    """

    def __init__(self, bundles: Path, *, resumable: bool = True) -> None:
        self._bundles, self._resumable = bundles, resumable

    def bundle(self, number: int) -> Path:
        """Where a round's bundle lies, or will."""
        return self._bundles / round_folder(number)

    def keep_collected(self, number: int, updates: Sequence[AcceptedUpdate], refusals: Sequence[Refusal]) -> None:
        """Write down what was collected, whole or not at all.

        Args:
            number: Of the round.
            updates: That were taken.
            refusals: Of the others.
        Raises: NotKept.
        """
        if not self._resumable:
            return
        with _written(number, self._collected(number), durable=True) as partial:
            index = []
            for update in updates:
                with (partial / f"{update.account}.blocks").open("wb") as file:
                    file.writelines(parts_of(update.wire))
                if update.side:
                    (partial / f"{update.account}.records").write_bytes(to_bytes(update.side))
                values = {
                    "account": update.account,
                    "node_id": str(update.node_id),
                    "stake": str(update.stake),
                    "root": update.root.hex(),
                    "signature": update.signature.hex(),
                    "metrics": update.metrics,
                    "seconds_training": update.seconds_training,
                    "seconds_signing": update.seconds_signing,
                }
                index.append(values)
            refused = [{**asdict(refusal), "node_id": str(refusal.node_id)} for refusal in refusals]
            write_sealed(partial / _INDEX, {"round": number, "updates": index, "refusals": refused})

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Write a round's bundle, whole or not at all; returns its folder. Raises: NotKept."""
        folder = self.bundle(bundle.round)
        with _written(bundle.round, folder, durable=self._resumable) as partial:
            bundle.write(partial)
        return folder

    def is_collected(self, number: int) -> bool:
        """Whether a round was collected and is not done; what cannot be read at all is set aside first."""
        return self._index(number) is not None

    def collected(self, number: int, question: Question) -> Collected | None:
        """What was collected for a round, each update checked as when it came; None if nothing was, or it is done.

        What is damaged is set aside under another name and is not in what is returned: its nodes are asked again.
        """
        if (index := self._index(number)) is None:
            return None
        folder, updates, lost, spool = self._collected(number), {}, set(), Spool()
        for entry in index.updates:
            account, name = entry.account, f"{entry.account}.blocks"
            try:
                update = _update(GivenFolder(folder), entry, question=question, spool=spool)
                if account in updates:
                    raise NotAccepted(f"{account} stands there twice")
                updates[account] = update
            except (Unreadable, NotAccepted) as error:
                lost.add(entry.node_id)
                problem = error.problem if isinstance(error, Unreadable) else str(error)
                away = set_aside(folder / name) if (folder / name).exists() else folder / name
                log.warning(
                    "round %d: the update of %s in the journal is damaged (%s); it is now %s, and its node is asked again",
                    number, account, printable(problem), away,
                )  # fmt: skip
        ordered = sorted(updates.values(), key=lambda update: int(update.account, 16))
        return Collected(updates=tuple(ordered), refusals=index.refusals, lost=frozenset(lost))

    def whole_bundle(self, number: int) -> Bundle | None:
        """The bundle of a round that was scored; None if there is none. A damaged one is set aside and made again."""
        folder = self.bundle(number)
        if not folder.exists():
            return None
        try:
            return Bundle.read(folder)[0]
        except BrokenBundle as error:
            log.warning("round %d: %s; it is now %s, and made again", number, error.problem, set_aside(folder))
            return None

    def _index(self, number: int) -> _Index | None:
        folder = self._collected(number)
        if not folder.exists():
            return None
        try:
            raw = unseal(read_json(GivenFolder(folder).read(_INDEX, most=_MOST_INDEX), most=_MOST_INDEX))
            whole_of(raw["round"], least=number, most=number, what="round")
            return _Index(
                updates=tuple(map(_entry, list_of(raw["updates"]))),
                refusals=tuple(map(_refusal, list_of(raw["refusals"]))),
            )
        except (Unreadable, BadJson, KeyError) as error:
            log.warning(
                "round %d: the journal is damaged (%s); it is now %s, and the clients are asked again",
                number, getattr(error, "problem", error), set_aside(folder),
            )  # fmt: skip
            return None

    def forget(self, number: int) -> None:
        """The round is on chain and reported: its bundle holds all that is needed of it."""
        if not self._resumable:
            return
        folder = self._collected(number)
        self._sweep()
        # In one step first: a kill half-way would leave a journal that cannot be read.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(folder.with_suffix(_FORGOTTEN))
        self._sweep()
        with contextlib.suppress(OSError):  # not there, or not empty
            folder.parent.rmdir()

    def _sweep(self) -> None:
        for old in (self._bundles / "journal").glob(f"*{_FORGOTTEN}"):
            shutil.rmtree(old, ignore_errors=True)

    def _collected(self, number: int) -> Path:
        return self._bundles / "journal" / round_folder(number)


def _entry(raw: object) -> _Entry:
    told = object_of(raw)
    account = text_of(told["account"], most=42)
    if not is_checksummed(account):
        raise BadJson(problem=f"{shown(account)} is not a checksum address")
    return _Entry(
        account=account,
        node_id=decimal_of(told["node_id"], bits=64),
        stake=decimal_of(told["stake"], bits=128),
        root=hex_of(told["root"], size=32),
        signature=hex_of(told["signature"], size=65),
        metrics={name: value for name, value in object_of(told["metrics"]).items() if type(value) in (int, float)},
        seconds_training=number_of(told["seconds_training"]),
        seconds_signing=number_of(told["seconds_signing"]),
    )


def _refusal(raw: object) -> Refusal:
    told = object_of(raw)
    return Refusal(
        node_id=decimal_of(told["node_id"], bits=64),
        account=text_of(told["account"], most=_LONGEST_TEXT),
        reason=text_of(told["reason"], most=_LONGEST_TEXT),
    )


def _update(folder: GivenFolder, entry: _Entry, *, question: Question, spool: Spool) -> AcceptedUpdate:
    """Raises: Unreadable; NotAccepted."""
    answer = SignedUpdate(
        account=entry.account,
        round=question.round,
        base_model=question.base_model,
        blocks=spool.keep_bytes(
            folder.read(f"{entry.account}.blocks", most=most_bytes(".blocks", model_size=question.size))
        ),
        signature=entry.signature,
        seconds_training=entry.seconds_training,
        seconds_signing=entry.seconds_signing,
    )
    update = check_update(answer, question, node_id=entry.node_id, metrics=entry.metrics)
    if (update.root, update.stake) != (entry.root, entry.stake):
        raise NotAccepted(f"its root or stake is not what was written down: {update.root.hex()}, {update.stake}")
    try:
        return replace(update, side=from_bytes(folder.read(f"{entry.account}.records", most=_MOST_RECORDS)))
    except Absent:
        return update
    except ValueError as error:
        raise NotAccepted(str(error)) from error
