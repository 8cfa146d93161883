"""The rows that a loss is measured on, in whatever form a model takes them: inputs and targets, more inputs, or named ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl.errors import ConfigError
from fl.task.objectives import Batch

PAIR, TUPLE, NAMED = "pair", "tuple", "named"
_FEATURES, _LABELS = "features", "labels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """N rows as arrays by name, each of shape (N, ...), and how a batch of them is put together.

    Raises: ValueError if there are none, or not as many of each.
    """

    arrays: dict[str, Tensor]
    form: str = PAIR  # pair: (features, labels); tuple: in the order of the arrays, the target last; named: a dict

    def __post_init__(self) -> None:
        counts = [len(array) for array in self.arrays.values()]
        if self.form == PAIR and (counts[0] == 0 or counts[0] != counts[1]):
            raise ValueError(
                f"the validation set has {counts[0]} inputs and {counts[1]} labels; it needs as many of both, and at least one"
            )
        if not counts or min(counts) == 0 or len(set(counts)) > 1:
            told = ", ".join(f"{len(array)} of {name}" for name, array in self.arrays.items())
            raise ValueError(
                f"the validation set has {told or 'nothing'}; it needs as many of each, and at least one: what all rows share, such as a "
                "graph's edges, goes into a function loss(model, batch)"
            )

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def features(self) -> Tensor:
        """The first input."""
        return next(iter(self.arrays.values()))

    @property
    def labels(self) -> Tensor:
        """The targets: the last of a tuple, what is called labels otherwise; the first input where there are none."""
        if self.form == NAMED:
            return self.arrays.get(_LABELS, self.features)
        return list(self.arrays.values())[-1]

    def take(self, chosen: Tensor | slice) -> Rows:
        """Some of the rows, by flags, numbers or a slice."""
        return Rows(arrays={name: array[chosen] for name, array in self.arrays.items()}, form=self.form)

    def spread(self, count: int) -> Rows:
        """So many rows from all over the set, in their order, and those with the highest id and class, which a model may not know."""
        places = np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64).tolist()
        for array in self.arrays.values():
            if array.dtype is torch.int64 and array.numel():
                places.append(int(array.reshape(len(self), -1).amax(1).argmax()))
        return self.take(torch.from_numpy(np.unique(places)))

    def batch(self, device: torch.device | str = "cpu") -> Batch:
        """All rows as one batch, copied: a model that standardises in place would write into the set."""
        moved = {name: array.to(device, copy=True) for name, array in self.arrays.items()}
        return moved if self.form == NAMED else tuple(moved.values())

    def batches(self, size: int, *, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """Batches of at most so many rows."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size)).batch(device)

    def described(self) -> str:
        """Names, types and shapes, for messages."""
        return ", ".join(
            f"{name} {str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}"
            for name, array in self.arrays.items()
        )

    def hash(self) -> bytes:
        """Hash of the set, 32 bytes: as `fl.task.spec.dataset_hash` where it is a table's, over names and types otherwise."""
        digest = hashlib.sha256()
        features, labels = self.features.cpu().numpy(), self.labels.cpu().numpy()
        if self.form == PAIR and features.dtype.kind == "f":
            classes = labels.dtype.kind in "iub"
            digest.update(b"\x04" + (b"i" if classes else b"f"))
            for shape in (features.shape, labels.shape):
                digest.update(np.array([len(shape), *shape], dtype="<u8").tobytes())
            digest.update(np.ascontiguousarray(features.astype("<f4")).tobytes())
            digest.update(np.ascontiguousarray(labels.astype("<i8" if classes else "<f4")).tobytes())
            return digest.digest()
        digest.update(b"\x05" + self.form.encode())
        for name, tensor in self.arrays.items():
            array = tensor.cpu().numpy()
            array = array.astype("<f4" if array.dtype.kind == "f" else "<i8")
            digest.update(len(name.encode()).to_bytes(8, "big") + name.encode() + array.dtype.kind.encode())
            digest.update(np.array([array.ndim, *array.shape], dtype="<u8").tobytes())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()


def rows_of(validation: Any) -> Rows:
    """Validation rows from what people have.

    Args:
        validation: (inputs, targets), where inputs may be a tuple of several; a dict of arrays; or batches of either (a list, a
            DataLoader), which are joined. Floats become float32, whole numbers int64.
    Raises: ConfigError with what is wrong.
    """
    try:
        return _read(validation)
    except ConfigError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"validation cannot be read: {error}") from error


def _read(validation: Any) -> Rows:
    if isinstance(validation, Mapping):
        return Rows(
            arrays={str(name): _tensor(values, name=str(name)) for name, values in validation.items()}, form=NAMED
        )
    if isinstance(validation, tuple) and validation:
        return _of_tuple(validation)
    if not isinstance(validation, Iterable) or isinstance(validation, Tensor | str) or hasattr(validation, "__array__"):
        wrapped = ": of a Dataset, a DataLoader" if hasattr(validation, "__getitem__") else ""
        raise ConfigError(
            f"validation is a {type(validation).__name__}; give (inputs, targets), a dict of arrays, or batches of either{wrapped}; "
            "inputs without targets are (inputs,)"
        )
    if isinstance(validation, list) and any(hasattr(batch, "__array__") for batch in validation):
        raise ConfigError(
            f"validation is a list with a {type(validation[0]).__name__} in it; give a tuple (inputs, targets), or a list of such batches, in "
            "which inputs without targets are (inputs,)"
        )
    parts = [_read(_batch(given)) for given in validation]
    if not parts:
        raise ConfigError(
            "validation has no batch; an iterator that was read before is empty, so give a list or a loader"
        )
    return _joined(parts)


def _of_tuple(given: tuple[Any, ...]) -> Rows:
    if len(given) == 1:
        return Rows(arrays={"input 0": _tensor(given[0], name="input 0")}, form=TUPLE)
    if len(given) > 2:
        return _in_order(list(given))
    inputs, targets = given
    if isinstance(inputs, Mapping):
        arrays = {str(name): _tensor(values, name=str(name)) for name, values in inputs.items()}
        return Rows(arrays={**arrays, _LABELS: _tensor(targets, name=_LABELS)}, form=NAMED)
    if isinstance(inputs, tuple):
        return _in_order([*inputs, targets])
    return Rows(
        arrays={_FEATURES: _tensor(inputs, name="inputs"), _LABELS: _tensor(targets, name="targets")}, form=PAIR
    )


def _batch(given: Any) -> Any:
    """As a loader gives it: a list for a tuple, and the inputs alone where a data set has no more."""
    if hasattr(given, "__array__") and not isinstance(given, Mapping):
        return (given,)
    return tuple(given) if isinstance(given, list) else given


def _joined(parts: Sequence[Rows]) -> Rows:
    first = parts[0]
    for part in parts:
        if part.form != first.form or list(part.arrays) != list(first.arrays):
            raise ConfigError(
                f"the batches of validation differ: {', '.join(first.arrays)} and {', '.join(part.arrays)}; give all the same"
            )
        for name, array in part.arrays.items():
            if array.shape[1:] != first.arrays[name].shape[1:]:
                raise ConfigError(
                    f"the batches of validation have {name} of shapes {tuple(first.arrays[name].shape)} and {tuple(array.shape)}; pad "
                    "all to one length"
                )
    return Rows(
        arrays={name: torch.cat([part.arrays[name] for part in parts]) for name in first.arrays}, form=first.form
    )


def _in_order(arrays: Sequence[Any]) -> Rows:
    names = [f"input {place}" for place in range(len(arrays) - 1)]
    return Rows(
        arrays={name: _tensor(array, name=name) for name, array in zip([*names, _LABELS], arrays, strict=True)},
        form=TUPLE,
    )


def _tensor(values: Any, *, name: str) -> Tensor:
    if isinstance(values, Tensor) and (values.is_nested or values.layout is not torch.strided):
        raise ConfigError(f"validation's {name} is sparse or nested; give it dense, and padded to one length")
    found = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(_array(values, name=name))
    if found.ndim == 0:
        raise ConfigError(f"validation's {name} is a single number; give one row for each sample")
    if found.is_complex():
        raise ConfigError(f"validation's {name} is {found.dtype}; give real numbers")
    if found.is_floating_point():
        found = found.float()
        if bad := int(
            (~torch.isfinite(found)).flatten(1).any(1).sum() if found.ndim > 1 else (~torch.isfinite(found)).sum()
        ):
            raise ConfigError(
                f"validation's {name} has NaN or infinity in {bad} of {len(found)} rows; fill these values in or leave the rows out"
            )
        return found
    # A mask may have to be one; a class never does.
    return found if found.dtype is torch.bool and name not in ("targets", _LABELS) else found.long()


def _array(values: Any, *, name: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ConfigError(f"validation's {name} has masked values; fill them in, or leave the rows out")
    try:
        array = np.array(values)  # a copy: what is read-only may not back a tensor
    except ValueError as error:  # rows of different lengths
        raise ConfigError(f"validation's {name} has rows of different lengths; pad them to one") from error
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"validation's {name} holds {array.dtype} and not numbers; encode it first")
    return array
