"""What a node signed last, and its receipts: kept so that it never signs two updates for one round.

Two signed updates for a round cost a client its stake, so what was signed is written down before it is sent. A node with a
folder of its own keeps it there, through any crash; without one (a plain SuperNode) it lives in Flower's context and
ends with the process.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Protocol

from flwr.app import ConfigRecord, Context

from clients.errors import BrokenLedger
from fl.protocol import SignedUpdate

LAST = "fairshare-last-update"  # in the context's state
RECEIPTS = "fairshare-receipts"  # in the context's state: round -> update root and the coordinator's signature
# The node answers in one thread and follows its pay in another, and both learn of receipts.
_RECEIPTS_LOCK = threading.Lock()


class Ledger(Protocol):
    """Remembers for one task."""

    def last(self) -> SignedUpdate | None:
        """The update of the last round that was signed for."""

    def keep(self, update: SignedUpdate) -> None:
        """Remember an update; when this returns, it may be sent."""

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """Remember the coordinator's signature that it took the update."""


class ContextLedger:
    """In the context's state, which Flower keeps as long as the SuperNode lives."""

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def last(self) -> SignedUpdate | None:
        """See `Ledger`."""
        record = self._records.config_records.get(LAST)
        return None if record is None else SignedUpdate.from_record(record)

    def keep(self, update: SignedUpdate) -> None:
        """See `Ledger`."""
        self._records[LAST] = update.to_record()

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """See `Ledger`."""
        receipts = self._records.config_records.get(RECEIPTS) or ConfigRecord()
        receipts[str(round_number)] = update_root + receipt
        self._records[RECEIPTS] = receipts


class FolderLedger:
    """In `signed/<task id>` of a node's folder: `last-update` (a line of JSON, then the blocks as sent) and `receipts.json`.

    Both are replaced whole and are on the disk before a method returns.
    """

    def __init__(self, folder: Path, *, task_id: bytes) -> None:
        own = folder / "signed" / task_id.hex()
        self._last, self._receipts = own / "last-update", own / "receipts.json"

    def last(self) -> SignedUpdate | None:
        """See `Ledger`. Raises: BrokenLedger if the file is there and cannot be read."""
        try:
            content = self._last.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BrokenLedger(path=str(self._last), problem=type(error).__name__) from error
        head, _, blocks = content.partition(b"\n")
        try:
            raw = json.loads(head)
            if len(blocks) != raw["bytes"]:
                raise ValueError(f"{len(blocks)} bytes of blocks, {raw['bytes']} were written")
            return SignedUpdate(
                account=str(raw["account"]),
                round=int(raw["round"]),
                base_model=bytes.fromhex(raw["base_model"]),
                blocks=blocks,
                signature=bytes.fromhex(raw["signature"]),
                seconds_training=float(raw["seconds_training"]),
                seconds_signing=float(raw["seconds_signing"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenLedger(path=str(self._last), problem=str(error)) from error

    def keep(self, update: SignedUpdate) -> None:
        """See `Ledger`."""
        head = {
            "account": update.account,
            "round": update.round,
            "base_model": update.base_model.hex(),
            "signature": update.signature.hex(),
            "seconds_training": update.seconds_training,
            "seconds_signing": update.seconds_signing,
            "bytes": len(update.blocks),
        }
        _write(self._last, json.dumps(head).encode() + b"\n" + update.blocks)

    def keep_receipt(self, *, round_number: int, update_root: bytes, receipt: bytes) -> None:
        """See `Ledger`."""
        entry = {"update_root": update_root.hex(), "receipt": receipt.hex()}
        with _RECEIPTS_LOCK:
            known = self._raw_receipts()
            if known.get(str(round_number)) != entry:
                _write(self._receipts, json.dumps({**known, str(round_number): entry}, indent=1).encode() + b"\n")

    def receipts(self) -> dict[int, tuple[bytes, bytes]]:
        """Round → update root and the coordinator's signature: what `fl.audit.disputes.proofs.prove_omission` takes."""
        return {
            int(number): (bytes.fromhex(one["update_root"]), bytes.fromhex(one["receipt"]))
            for number, one in self._raw_receipts().items()
        }

    def _raw_receipts(self) -> dict[str, dict[str, str]]:
        try:
            return json.loads(self._receipts.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BrokenLedger(path=str(self._receipts), problem=str(error)) from error


def ledger_of(context: Context, *, task_id: bytes) -> Ledger:
    """The ledger in the `folder` that the node configuration names, or the context itself."""
    folder = str(context.node_config.get("folder", ""))
    return FolderLedger(Path(folder), task_id=task_id) if folder else ContextLedger(context)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or the new name may be gone after a power cut
    finally:
        os.close(folder)
