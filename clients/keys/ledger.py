"""What a node signed last, and its receipts: kept so that it never signs two updates for one round.

Two signed updates for a round cost a client its stake, so what was signed is written down before it is sent. A node with a
folder of its own keeps it there, through any crash; without one (a plain SuperNode) it lives in Flower's context and
ends with the process.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from flwr.app import ConfigRecord, Context
from numpy.typing import NDArray

from clients.errors import BrokenLedger
from fl.chain.json_file import seal, unseal, write_json
from fl.chain.whole_file import private_folder, set_aside, write_whole
from fl.codec import whole
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, hex_of, number_of, object_of, read_json, text_of, whole_of
from fl.protocol import SignedUpdate
from fl.task.held_arrays import of_kind

log = logging.getLogger(__name__)

LAST = "fairshare-last-update"  # in the context's state
REMAINDER = "fairshare-remainder"  # in the context's state: what rounding took from the last update
RECEIPTS = "fairshare-receipts"  # in the context's state: round -> update root and the coordinator's signature
_MOST_BYTES = 2 << 30  # of the file of an update: its blocks, and a line
_MOST_HEAD = 1 << 16  # of that line
_MOST_RECEIPTS = 64 << 20  # of a file of receipts: 200 bytes a round
# The node answers in one thread and follows its pay in another, and both learn of receipts.
_RECEIPTS_LOCK = threading.Lock()


class Ledger(Protocol):
    """Remembers for one task."""

    def last(self) -> SignedUpdate | None:
        """The update of the last round that was signed for."""

    def keep(self, update: SignedUpdate) -> None:
        """Remember an update; when this returns, it may be sent."""

    def remainder(self, *, size: int) -> NDArray[np.float32] | None:
        """What rounding took from the last update, shape (size,); None if that is not known."""

    def keep_remainder(self, values: NDArray[np.float32], *, round_number: int) -> None:
        """Remember what rounding takes from a round's update, shape (P,), before the update itself is kept."""

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """Remember the coordinator's signature that it took the update.

        Args:
            round_number: The round.
            update_root: Of the update, 32 bytes.
            receipt: The signature, 65 bytes.
        """


class ContextLedger:
    """In the context's state, which Flower keeps as long as the SuperNode lives."""

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def last(self) -> SignedUpdate | None:
        """See `Ledger`."""
        record = of_kind(self._records, ConfigRecord).get(LAST)
        return None if record is None else SignedUpdate.from_record(record)

    def keep(self, update: SignedUpdate) -> None:
        """See `Ledger`."""
        self._records[LAST] = update.to_record()

    def remainder(self, *, size: int) -> NDArray[np.float32] | None:
        """See `Ledger`."""
        record, last = of_kind(self._records, ConfigRecord).get(REMAINDER), self.last()
        if record is None or last is None or record["round"] != last.round:
            return None
        values = record["values"]
        return _remainder(values, size=size) if isinstance(values, bytes) else None

    def keep_remainder(self, values: NDArray[np.float32], *, round_number: int) -> None:
        """See `Ledger`."""
        self._records[REMAINDER] = ConfigRecord({"round": round_number, "values": values.astype("<f4").tobytes()})

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """See `Ledger`."""
        receipts = of_kind(self._records, ConfigRecord).get(RECEIPTS) or ConfigRecord()
        receipts[str(round_number)] = update_root + receipt
        self._records[RECEIPTS] = receipts


class FolderLedger:
    """In `signed/<task id>` of a node's folder: `last-update` (a line of JSON, then the blocks as signed), `receipts.json`, and of a task
    with blocks of 8 bits `remainder` (a line of JSON, then float32, little-endian).

    All are replaced whole and are on the disk before a method returns.
    """

    def __init__(self, folder: Path, *, task_id: bytes) -> None:
        own = folder / "signed" / task_id.hex()
        self._last, self._receipts, self._remainder = own / "last-update", own / "receipts.json", own / "remainder"

    def last(self) -> SignedUpdate | None:
        """See `Ledger`. Raises: BrokenLedger if the file is there and cannot be read."""
        try:
            content = read_file(self._last, most=_MOST_BYTES)
        except Absent:
            return None
        except Unreadable as error:
            raise BrokenLedger(path=str(self._last), problem=error.problem) from error
        head, _, blocks = content.partition(b"\n")
        try:
            raw = unseal(read_json(head, most=_MOST_HEAD), over=blocks)
            return SignedUpdate(
                account=text_of(raw["account"], most=42),
                round=whole_of(raw["round"], least=1, most=2**32 - 1),
                base_model=hex_of(raw["base_model"], size=32),
                blocks=blocks,
                signature=hex_of(raw["signature"], size=65),
                seconds_training=number_of(raw["seconds_training"]),
                seconds_signing=number_of(raw["seconds_signing"]),
            )
        except KeyError as error:
            raise BrokenLedger(path=str(self._last), problem=f"it has no {error}") from error
        except BadJson as error:
            raise BrokenLedger(path=str(self._last), problem=error.problem) from error

    def keep(self, update: SignedUpdate) -> None:
        """See `Ledger`."""
        head = {
            "account": update.account,
            "round": update.round,
            "base_model": update.base_model.hex(),
            "signature": update.signature.hex(),
            "seconds_training": update.seconds_training,
            "seconds_signing": update.seconds_signing,
        }
        private_folder(self._last.parent)
        line = json.dumps(seal(head, over=whole(update.blocks))).encode()
        write_whole(self._last, line + b"\n" + whole(update.blocks), mode=0o600)

    def remainder(self, *, size: int) -> NDArray[np.float32] | None:
        """See `Ledger`. What cannot be read is left out: it is a rounding, and the next update does without it."""
        last = self.last()
        try:
            head, _, values = read_file(self._remainder, most=_MOST_BYTES).partition(b"\n")
            round_number = unseal(read_json(head, most=_MOST_HEAD), over=values)["round"]
        except Absent:
            return None
        except (Unreadable, BadJson, KeyError) as error:
            log.warning("%s is left out (%s)", self._remainder, error)
            return None
        return _remainder(values, size=size) if last is not None and round_number == last.round else None

    def keep_remainder(self, values: NDArray[np.float32], *, round_number: int) -> None:
        """See `Ledger`."""
        private_folder(self._remainder.parent)
        written = values.astype("<f4").tobytes()
        line = json.dumps(seal({"round": round_number}, over=written)).encode()
        write_whole(self._remainder, line + b"\n" + written, mode=0o600)

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """See `Ledger`."""
        entry = {"update_root": update_root.hex(), "receipt": receipt.hex()}
        with _RECEIPTS_LOCK:
            known = self._raw_receipts()
            if known.get(str(round_number)) != entry:
                private_folder(self._receipts.parent)
                write_json(self._receipts, {**known, str(round_number): entry}, mode=0o600)

    def receipts(self) -> dict[int, tuple[bytes, bytes]]:
        """Round → update root and the coordinator's signature: what `fl.audit.disputes.proofs.prove_omission` takes."""
        return {
            int(number): (hex_of(entry["update_root"], size=32), hex_of(entry["receipt"], size=65))
            for number, entry in self._raw_receipts().items()
        }

    def _raw_receipts(self) -> dict[str, dict[str, str]]:
        """What is kept, checked by its form. Damaged, it is set aside: the coordinator gives every receipt out again."""
        try:
            found = dict(object_of(read_json(read_file(self._receipts, most=_MOST_RECEIPTS), most=_MOST_RECEIPTS)))
            for number, entry in found.items():
                whole_of(int(number) if number.isdecimal() else number, least=1, most=2**32 - 1)
                hex_of(object_of(entry)["update_root"], size=32)
                hex_of(entry["receipt"], size=65)
        except Absent:
            return {}
        except Unreadable as error:
            raise BrokenLedger(path=str(self._receipts), problem=error.problem) from error
        except (BadJson, KeyError) as error:
            log.warning(
                "%s is damaged (%s); it is now %s, and its receipts are fetched again",
                self._receipts,
                error,
                set_aside(self._receipts),
            )
            return {}
        return found


def _remainder(values: bytes, *, size: int) -> NDArray[np.float32] | None:
    return np.frombuffer(values, dtype="<f4") if len(values) == 4 * size else None


def ledger_of(context: Context, *, task_id: bytes) -> Ledger:
    """The ledger in the `folder` that the node configuration names, or the context itself."""
    folder = str(context.node_config.get("folder", ""))
    return FolderLedger(Path(folder), task_id=task_id) if folder else ContextLedger(context)
