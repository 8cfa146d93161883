"""What an app's clients answer beside model and metrics: control variates, statistics, settings of the app's own.

It reaches the app's strategy as it came. It is not signed and not scored, which only the coordinator of a whole app of its own accepts
(`training: app`); in any other task nobody reads it.
"""

from __future__ import annotations

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto
from google.protobuf.message import DecodeError

from fl.protocol import METRICS, MODEL, RECORD
from fl.task.held_arrays import of_kind


def side_of(reply: Message) -> RecordDict:
    """All records of an answer but the signed update and the first metrics; empty ones stand where model and metrics were."""
    content, side = reply.content, RecordDict()
    first = next(iter(of_kind(content, MetricRecord)), METRICS)
    for name, record in content.items():
        if name not in (RECORD, first):
            side[name] = record
    if first in content and (side or first != METRICS):
        side[first] = MetricRecord()
    return side


def joined(content: RecordDict, side: RecordDict) -> RecordDict:
    """A reply of model and metrics, called as the app calls them, and what came beside them."""
    if not side:
        return content
    names = {
        MODEL: next((name for name, record in of_kind(side, ArrayRecord).items() if not record), MODEL),
        METRICS: next((name for name, record in of_kind(side, MetricRecord).items() if not record), METRICS),
    }
    own = RecordDict({names[name]: record for name, record in content.items()})
    for name, record in side.items():
        if name not in own:
            own[name] = record
    return own


def to_bytes(side: RecordDict) -> bytes:
    """As Flower sends it."""
    return recorddict_to_proto(side).SerializeToString()


def from_bytes(data: bytes) -> RecordDict:
    """What `to_bytes` wrote. Raises: ValueError for anything else."""
    try:
        return recorddict_from_proto(Proto.FromString(data))
    except DecodeError as error:
        raise ValueError(f"no records of Flower's: {error}") from error
