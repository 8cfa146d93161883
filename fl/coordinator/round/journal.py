"""What a coordinator has in hand of a round that is not on chain yet, so that a killed one goes on where it was.

A round passes four points, each reached by one rename or one transaction:

    collected   journal/round-NNNN/   the accepted updates and the refusals
    scored      round-NNNN/           the bundle
    signed      round-NNNN/header.json
    posted      the chain, which is the truth

Nothing is asked of a client twice that was collected, and no second bundle is made of a round that evaluators may have signed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from fl.bundle.format import Bundle
from fl.chain.json_file import write_json
from fl.chain.whole_file import sync_folder, sync_tree
from fl.codec import Blocks
from fl.coordinator.round.collect import AcceptedUpdate, Refusal
from fl.errors import FairshareError

_INDEX = "collected.json"
_FORGOTTEN = ".forgotten"  # suffix of a folder that is being removed


class BrokenJournal(FairshareError):
    """The journal holds something else than what was written."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder, self.problem = folder, problem

    def __str__(self) -> str:
        return (
            f"the journal {self.folder} cannot be read ({self.problem}); if the round is not on chain, remove the folder and "
            "the clients are asked again"
        )


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
def _written(number: int, folder: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all. Raises: NotKept for a full disk and the like."""
    partial = folder.with_suffix(".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        sync_tree(partial)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise NotKept(round_number=number, folder=str(folder), reason=error.strerror or str(error)) from error


class Journal:
    """The rounds in hand of one task.

    Args:
        bundles: The folder of the task's bundles; the journal lies in it.
    """

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles

    def bundle(self, number: int) -> Path:
        """Where a round's bundle lies, or will."""
        return self._bundles / f"round-{number:04d}"

    def keep_collected(self, number: int, updates: Sequence[AcceptedUpdate], refusals: Sequence[Refusal]) -> None:
        """Write down what was collected, whole or not at all. Raises: NotKept."""
        with _written(number, self._collected(number)) as partial:
            index = []
            for one in updates:
                (partial / f"{one.account}.blocks").write_bytes(one.wire)
                values = {
                    "account": one.account,
                    "node_id": str(one.node_id),
                    "stake": str(one.stake),
                    "root": one.root.hex(),
                    "signature": one.signature.hex(),
                    "size": one.blocks.size,
                    "metrics": one.metrics,
                    "seconds_training": one.seconds_training,
                    "seconds_signing": one.seconds_signing,
                }
                index.append(values)
            refused = [{**asdict(one), "node_id": str(one.node_id)} for one in refusals]
            write_json(partial / _INDEX, {"updates": index, "refusals": refused})

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Write a round's bundle, whole or not at all; returns its folder. Raises: NotKept."""
        folder = self.bundle(bundle.round)
        with _written(bundle.round, folder) as partial:
            bundle.write(partial)
        return folder

    def collected(self, number: int) -> tuple[list[AcceptedUpdate], list[Refusal]] | None:
        """What was collected for a round; None if it was not, or the round is done. Raises: BrokenJournal."""
        folder = self._collected(number)
        if not folder.exists():
            return None
        try:
            raw = json.loads((folder / _INDEX).read_text())
            return [_update(folder, one) for one in raw["updates"]], [
                Refusal(node_id=int(one["node_id"]), account=one["account"], reason=one["reason"])
                for one in raw["refusals"]
            ]
        except (OSError, ValueError, KeyError, TypeError, FairshareError) as error:
            raise BrokenJournal(folder=str(folder), problem=f"{type(error).__name__}: {error}") from error

    def forget(self, number: int) -> None:
        """The round is on chain and reported: its bundle holds all that is needed of it."""
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
        return self._bundles / "journal" / f"round-{number:04d}"


def _update(folder: Path, raw: dict) -> AcceptedUpdate:
    wire = (folder / f"{raw['account']}.blocks").read_bytes()
    return AcceptedUpdate(
        account=raw["account"],
        node_id=int(raw["node_id"]),
        stake=int(raw["stake"]),
        blocks=Blocks.from_bytes(wire, size=raw["size"]),
        wire=wire,
        root=bytes.fromhex(raw["root"]),
        signature=bytes.fromhex(raw["signature"]),
        metrics=raw["metrics"],
        seconds_training=raw["seconds_training"],
        seconds_signing=raw["seconds_signing"],
    )
