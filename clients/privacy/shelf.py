"""Where a node keeps its part of a masked round between two messages: on its disk if it has a folder, or in Flower's context.

Kept before anything that follows from it is sent. Only the round at hand is kept: secrets of a round that is over are gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.app import ConfigRecord, Context

from clients.errors import BrokenLedger
from clients.privacy.member import Member
from fl.chain.whole_file import private_folder, write_whole
from fl.foreign.files import Absent, Unreadable, read_file

_NAME = "masked-round"
_RECORD = "fairshare-masked-round"
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What is kept of the round at hand."""

    round: int
    base_model: bytes
    size: int  # P
    member: Member
    seconds_training: float

    def to_bytes(self) -> bytes:
        """A line of JSON, then the member."""
        head = {
            "round": self.round,
            "base_model": self.base_model.hex(),
            "size": self.size,
            "seconds_training": self.seconds_training,
        }
        return json.dumps(head).encode() + b"\n" + self.member.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Kept:
        """Raises: KeyError, TypeError or ValueError for what `to_bytes` never wrote."""
        head, _, member = data.partition(b"\n")
        told = json.loads(head)
        return cls(
            round=int(told["round"]),
            base_model=bytes.fromhex(told["base_model"]),
            size=int(told["size"]),
            member=Member.from_bytes(member),
            seconds_training=float(told["seconds_training"]),
        )


class Shelf(Protocol):
    """Keeps one round of one task."""

    def read(self) -> Kept | None:
        """What was kept last. Raises: BrokenLedger."""

    def keep(self, kept: Kept) -> None:
        """Replace it; when this returns, what follows from it may be sent."""


class ContextShelf:
    """In the context's state, which Flower keeps as long as the SuperNode lives."""

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def read(self) -> Kept | None:
        """See `Shelf`."""
        record = self._records.config_records.get(_RECORD)
        return None if record is None else _read(record["kept"], where="the node's state")

    def keep(self, kept: Kept) -> None:
        """See `Shelf`."""
        self._records[_RECORD] = ConfigRecord({"kept": kept.to_bytes()})


class FolderShelf:
    """In `signed/<task id>/masked-round` of a node's folder, for its owner only."""

    def __init__(self, folder: Path, *, task_id: bytes) -> None:
        self._path = folder / "signed" / task_id.hex() / _NAME

    def read(self) -> Kept | None:
        """See `Shelf`."""
        try:
            return _read(read_file(self._path, most=_MOST_BYTES), where=str(self._path))
        except Absent:
            return None
        except Unreadable as error:
            raise BrokenLedger(path=str(self._path), problem=error.problem) from error

    def keep(self, kept: Kept) -> None:
        """See `Shelf`."""
        private_folder(self._path.parent)
        write_whole(self._path, kept.to_bytes(), mode=0o600)


def _read(data: object, *, where: str) -> Kept:
    try:
        if not isinstance(data, bytes):
            raise TypeError("it has no bytes")
        return Kept.from_bytes(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLedger(path=where, problem=f"it has no masked round ({error})") from error


def shelf_of(context: Context, *, task_id: bytes) -> Shelf:
    """The shelf in the `folder` that the node configuration names, or the context itself."""
    folder = str(context.node_config.get("folder", ""))
    return FolderShelf(Path(folder), task_id=task_id) if folder else ContextShelf(context)
