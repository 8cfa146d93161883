"""The records that coordinator and client put into Flower messages, beside the model.

A train message carries a `fairshare` ConfigRecord with what to sign for; its reply carries one with the signed blocks.
This module is the one place where both ends agree on the keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, RecordDict
from flwr.app.message.configrecord import ConfigRecordValues

from fl.codec import Wire, whole
from fl.spool import Spool, Spooled

RECORD = "fairshare"
MASKED = "fairshare-masked"
MODEL, METRICS = "arrays", "metrics"  # what Flower calls the records of an answer
SIMULATED_FROM = 10  # account of Anvil's that partition 0 of a simulation signs with; the next has the next
_MOST_SECONDS = 1e9  # that a client may say it took; sums of them stay finite


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What a train message asks of a client, beside training."""

    task_id: bytes
    round: int
    receipt: bytes = b""  # the coordinator's signature over the client's last accepted update, 65 bytes or none
    receipt_round: int = 0
    receipt_root: bytes = b""
    names: tuple[str, ...] = ()  # of the arrays that the update is of, in order; none: of all floats
    record: str = ""  # of the message, that holds the model; none: the first with arrays
    simulated: str = ""  # the invite in one line, in a simulation whose nodes sign with Anvil's published keys

    def to_record(self) -> ConfigRecord:
        """As it travels."""
        return _record_of(
            {
                "task-id": self.task_id,
                "round": self.round,
                "receipt": self.receipt,
                "receipt-round": self.receipt_round,
                "receipt-root": self.receipt_root,
                "names": list(self.names),
                "record": self.record,
                "simulated": self.simulated,
            }
        )

    @classmethod
    def from_record(cls, record: ConfigRecord) -> TrainRequest:
        """As it arrives. Raises: KeyError or TypeError for anything else than a request."""
        return cls(
            task_id=_typed(record, "task-id", bytes),
            round=_typed(record, "round", int),
            receipt=_typed(record, "receipt", bytes),
            receipt_round=_typed(record, "receipt-round", int),
            receipt_root=_typed(record, "receipt-root", bytes),
            names=tuple(map(str, _typed(record, "names", list))),
            record=_typed(record, "record", str),
            simulated=_typed(record, "simulated", str),
        )


@dataclass(frozen=True, kw_only=True)
class SignedUpdate:
    """What a client answers: its update as blocks, and its signature over them."""

    account: str
    round: int
    base_model: bytes  # hash of the model that it trained from
    blocks: Wire
    signature: bytes
    seconds_training: float = 0.0  # told by the client, for the report only
    seconds_signing: float = 0.0

    def to_record(self) -> ConfigRecord:
        """As it travels."""
        return _record_of(
            {
                "account": self.account,
                "round": self.round,
                "base-model": self.base_model,
                "blocks": whole(self.blocks),
                "signature": self.signature,
                "seconds-training": self.seconds_training,
                "seconds-signing": self.seconds_signing,
            }
        )

    @classmethod
    def from_record(cls, record: ConfigRecord) -> SignedUpdate:
        """As it arrives. Raises: KeyError, TypeError or ValueError for anything else than a signed update."""
        return cls(
            account=_typed(record, "account", str),
            round=_typed(record, "round", int),
            base_model=_typed(record, "base-model", bytes),
            blocks=_typed(record, "blocks", (bytes, Spooled)),
            signature=_typed(record, "signature", bytes),
            seconds_training=_seconds(record, "seconds-training"),
            seconds_signing=_seconds(record, "seconds-signing"),
        )


@dataclass(frozen=True, kw_only=True)
class MaskedMessage:
    """One message of a masked round, either way: which step it is of, its JSON, and bytes that are too many for JSON."""

    step: str
    round: int
    task_id: bytes = b""  # of a question
    account: str = ""  # of an answer
    body: bytes = b"{}"
    blob: bytes = b""

    @classmethod
    def of(
        cls,
        step: str,
        round_number: int,
        *,
        body: dict[str, Any],
        task_id: bytes = b"",
        account: str = "",
        blob: bytes = b"",
    ) -> MaskedMessage:
        """With a body that is made JSON here.

        Args:
            step: Its name.
            round_number: The round.
            body: Plain values.
            task_id: 32 bytes.
            account: Whom it is for.
            blob: Bytes that go along.
        """
        text = json.dumps(body, separators=(",", ":")).encode()
        return cls(step=step, round=round_number, task_id=task_id, account=account, body=text, blob=blob)

    def to_record(self) -> ConfigRecord:
        """As it travels."""
        return ConfigRecord(
            {
                "step": self.step,
                "round": self.round,
                "task-id": self.task_id,
                "account": self.account,
                "body": self.body,
                "blob": self.blob,
            }
        )

    @classmethod
    def from_record(cls, record: ConfigRecord) -> MaskedMessage:
        """As it arrives. Raises: KeyError or TypeError for anything else."""
        return cls(
            step=_typed(record, "step", str),
            round=_typed(record, "round", int),
            task_id=_typed(record, "task-id", bytes),
            account=_typed(record, "account", str),
            body=_typed(record, "body", bytes),
            blob=_typed(record, "blob", bytes),
        )


def _record_of(values: dict[str, ConfigRecordValues]) -> ConfigRecord:
    """Past Flower's checks of each key and value, which for values whose types are known here take longer than all else."""
    record = ConfigRecord()
    record.__dict__["_data"].update(values)
    return record


def keep_blocks(content: RecordDict, spool: Spool) -> None:
    """Have a spool take the blocks of an answer as it comes: those of a round of a large model are gigabytes.

    Args:
        content: Of the answer, whatever it is; changed in place.
        spool: Of the round.
    """
    record = content.get(RECORD)
    if isinstance(record, ConfigRecord) and isinstance(blocks := record.get("blocks"), bytes):
        record.__dict__["_data"]["blocks"] = spool.keep_bytes(blocks)


def _typed(record: ConfigRecord, key: str, kind: type | tuple[type, ...]) -> Any:
    value = record[key]
    if not isinstance(value, kind):
        expected = kind if isinstance(kind, type) else kind[0]
        raise TypeError(f"{key} is a {type(value).__name__}, {expected.__name__} is expected")
    return value


def _seconds(record: ConfigRecord, key: str) -> float:
    value = _typed(record, key, float)
    if not 0 <= value <= _MOST_SECONDS:  # nor if it is not a number
        raise ValueError(f"{key} is {value}, a time of 0 to {_MOST_SECONDS:.0f} s is expected")
    return value
