"""Flower arrays that stay numpy arrays within a process, and become bytes only for whoever asks for bytes.

Flower keeps an array as the bytes of an npy file, and makes them anew for every reader. Where sender and reader share a process that
is most of a short round. A `HeldArray` is a Flower `Array` in every other way: it is pickled, sent, and found by its object id as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message.recorddict import _SyncedDict
from flwr.app.message.typeddict import TypedDict
from flwr.app.metadata import Metadata
from numpy.typing import NDArray

from fl.codec import Layout, LayoutMismatch, model_hash

_NPY = "numpy.ndarray"  # Flower's name of the npy format


class HeldArray(Array):
    """A Flower array that holds, or makes when it is read, a numpy array.

    Args:
        read: Makes the array, fresh each time, as Flower's own does; what is read may be written to.
        dtype: Of the array.
        shape: Likewise.
    """

    def __init__(self, read: Callable[[], NDArray[Any]], *, dtype: str, shape: tuple[int, ...]) -> None:
        # Not through Flower's own, which wants bytes.
        self.__dict__.update(dtype=dtype, shape=tuple(shape), stype=_NPY, _read=read, _is_dirty=True)

    @classmethod
    def own(cls, array: NDArray[Any]) -> HeldArray:
        """An array for one reader, who gets it as it is."""
        held = cls(lambda: array, dtype=_name_of(array.dtype), shape=array.shape)
        held.__dict__["_held"] = array
        return held

    @classmethod
    def shared(cls, array: NDArray[Any]) -> HeldArray:
        """An array for many readers: each gets a copy to write to; `view` is for those who only look."""
        seen = array.view()
        seen.flags.writeable = False
        held = cls(seen.copy, dtype=_name_of(array.dtype), shape=array.shape)
        held.__dict__["_held"] = held.__dict__["_view"] = seen
        return held

    @property
    def view(self) -> NDArray[Any] | None:
        """The array of a shared one, read-only; None for any other."""
        return self.__dict__.get("_view")

    def numpy(self) -> NDArray[Any]:
        """See `Array`."""
        return self.__dict__["_read"]()

    @property
    def data(self) -> bytes:
        """The array as an npy file."""
        if "_data" not in self.__dict__:
            buffer = BytesIO()
            np.save(buffer, self.numpy(), allow_pickle=False)
            return buffer.getvalue()
        return self.__dict__["_data"]

    @data.setter
    def data(self, value: bytes) -> None:
        # Somebody puts other bytes in: from here on it is what they say.
        plain = Array(dtype=self.dtype, shape=self.shape, stype=self.stype, data=value)
        for name in ("_held", "_view"):
            self.__dict__.pop(name, None)
        self.__dict__.update(_data=value, _read=plain.numpy)

    def deflate(self) -> bytes:
        """See `Array`, whose name the bytes carry."""
        return Array(dtype=self.dtype, shape=self.shape, stype=self.stype, data=self.data).deflate()

    def __reduce__(self) -> tuple[Any, ...]:
        return (HeldArray.shared, (self.view,)) if self.view is not None else (HeldArray.own, (self.numpy(),))


def record_of(arrays: Mapping[str, NDArray[Any]], *, shared: bool = False) -> ArrayRecord:
    """A Flower record of named arrays, none of which is copied or written as bytes.

    Args:
        arrays: Not to be written to afterwards by whoever made them.
        shared: Whether the record goes to more than one reader.
    """
    record, make = ArrayRecord(), HeldArray.shared if shared else HeldArray.own
    # Past Flower's checks of each key and value, which take longer than all else: these are strings and arrays.
    record.__dict__["_data"].update((str(name), make(array)) for name, array in arrays.items())
    return record


class Records(RecordDict):
    """A Flower record dict whose three views cost what they hold.

    Flower's own are made anew each time that they are read, and check and set every record twice; a FedAvg reads eight of them a reply.
    Here they are made once, and again after a record was put in or taken out.
    """

    def __init__(self, records: Mapping[str, ArrayRecord | MetricRecord | ConfigRecord]) -> None:
        super().__init__()
        self.__dict__["_data"].update(records)

    def __setitem__(self, key: str, value: ArrayRecord | MetricRecord | ConfigRecord) -> None:
        super().__setitem__(key, value)
        self.__dict__.pop(_VIEWS, None)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.__dict__.pop(_VIEWS, None)

    def __getstate__(self) -> dict[str, object]:
        """Without the views, which hold the records themselves."""
        return {name: value for name, value in self.__dict__.items() if name != _VIEWS}

    @property
    def array_records(self) -> TypedDict[str, ArrayRecord]:
        """See `RecordDict`."""
        return _view(self, ArrayRecord)

    @property
    def metric_records(self) -> TypedDict[str, MetricRecord]:
        """See `RecordDict`."""
        return _view(self, MetricRecord)

    @property
    def config_records(self) -> TypedDict[str, ConfigRecord]:
        """See `RecordDict`."""
        return _view(self, ConfigRecord)

    def deflate(self) -> bytes:
        """See `RecordDict`, whose name the bytes carry."""
        return RecordDict(dict(self.items())).deflate()


Kind = TypeVar("Kind", ArrayRecord, MetricRecord, ConfigRecord)


_VIEWS = "_views"


def _view(records: RecordDict, kind: type[Kind]) -> TypedDict[str, Kind]:
    made = records.__dict__.setdefault(_VIEWS, {})
    if kind not in made:
        found: TypedDict[str, Kind] = _SyncedDict(records, kind)
        found.__dict__["_data"].update(of_kind(records, kind))
        made[kind] = found
    return made[kind]


def metrics_of(values: Mapping[str, int | float]) -> MetricRecord:
    """A Flower record of single numbers, past its checks of each key and value as in `record_of`."""
    record = MetricRecord()
    record.__dict__["_data"].update(values)
    return record


def of_kind(records: RecordDict, kind: type[Kind]) -> dict[str, Kind]:
    """The records of a kind by name, to read: what `RecordDict.array_records` and the like have, without the cost."""
    return {name: record for name, record in records.__dict__["_data"].items() if isinstance(record, kind)}


def reply(content: RecordDict, asked: Message) -> Message:
    """What `Message(content, reply_to=asked)` makes, without its checks of arguments that are known to be right."""
    told, now = asked.metadata.__dict__, time.time()
    metadata = Metadata.__new__(Metadata)
    metadata.__dict__.update(
        told,
        _message_id="",
        _src_node_id=told["_dst_node_id"],
        _dst_node_id=told["_src_node_id"],
        _src_task_id=told["_dst_task_id"],
        _dst_task_id=told["_src_task_id"],
        _reply_to_message_id=told["_message_id"],
        _created_at=now,
        _ttl=told["_ttl"] - (now - told["_created_at"]),
        _delivered_at="",
    )
    made = Message.__new__(Message)
    made.__dict__.update(_metadata=metadata, _content=content, _error=None)
    return made


@cache
def _name_of(dtype: np.dtype) -> str:
    return str(dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReceivedModel:
    """A model as a message carries it."""

    arrays: dict[str, NDArray[Any]]  # all that came, by name; not to be written to
    layout: Layout
    vector: NDArray[np.float32]  # shape (P,), read-only

    @cached_property
    def hash(self) -> bytes:
        """`model_hash` of the vector."""
        return model_hash(self.vector)


_last: tuple[list[tuple[str, object]], ReceivedModel] | None = None


def received_model(record: ArrayRecord, *, names: tuple[str, ...] = ()) -> ReceivedModel:
    """The model in a record; one that all clients of a round are sent is decoded, and hashed, once in a process.

    Args:
        record: Whatever a message carries.
        names: Of the arrays that make up the vector, in order; none: all floats.
    Raises: LayoutMismatch if one of them is absent.
    """
    global _last  # noqa: PLW0603 - one slot, replaced whole: a cache of more would keep models of rounds that are over
    sources: list[tuple[str, object]] = [(name, _source(array)) for name, array in record.items()]
    last = _last
    if last is not None and (not names or names == last[1].layout.names) and _same(last[0], sources):
        return last[1]
    arrays = {name: seen(array) for name, array in record.items()}
    layout = _layout(arrays, names)
    vector = layout.flatten(arrays)
    vector.flags.writeable = False
    model = ReceivedModel(arrays=arrays, layout=layout, vector=vector)
    if all(source is not None for _, source in sources):
        _last = sources, model
    return model


def _layout(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> Layout:
    if not names:
        return Layout.of(arrays)
    if absent := [name for name in names if name not in arrays]:
        raise LayoutMismatch(name=absent[0], seen="named and absent", expected="every array that is named")
    return Layout(names=names, shapes=tuple(tuple(arrays[name].shape) for name in names))


def _source(array: Array) -> object:
    """What never changes as long as it is the same object: bytes, or a read-only array."""
    return array.view if isinstance(array, HeldArray) else array.data


def seen(array: Array) -> NDArray[Any]:
    """The array to look at: not a copy where many readers share it, so nobody may write to it."""
    view = array.view if isinstance(array, HeldArray) else None
    return array.numpy() if view is None else view


def _same(known: list[tuple[str, object]], sources: list[tuple[str, object]]) -> bool:
    return len(known) == len(sources) and all(
        name == other and source is another and source is not None
        for (name, source), (other, another) in zip(known, sources, strict=True)
    )
