"""Named arrays ⇄ one flat vector, in `state_dict` order.

Which arrays travel is the task's to say (`fl.task.model_vector`); of bare arrays, all floats do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fl.errors import FairshareError

T = TypeVar("T")


class LayoutMismatch(FairshareError):
    """Arrays do not have the names, order or shapes that the task agreed on."""

    def __init__(self, name: str, seen: str, expected: str) -> None:
        super().__init__(name, seen, expected)
        self.name, self.seen, self.expected = name, seen, expected

    def __str__(self) -> str:
        return f"array {self.name!r} is {self.seen}, {self.expected} is expected; build the model of the task's spec"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names and shapes of the arrays that make up the vector, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Layout:
        """The layout of a state dict's arrays: those of a float type, in their order."""
        kept = {name: array.shape for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}
        return cls(names=tuple(kept), shapes=tuple(tuple(shape) for shape in kept.values()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of values in each array."""
        return tuple(map(math.prod, self.shapes))

    @cached_property
    def size(self) -> int:
        """Number of values in the vector."""
        return sum(self.sizes)

    def flatten(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Join the arrays to a vector of shape (P,); arrays outside the layout are left out.

        Raises: LayoutMismatch if one is absent or has another shape.
        """
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in arrays:
                near = next((other for other in arrays if _bare(other) == _bare(name)), None)
                seen = f"absent, and {near!r} is there" if near else "absent"
                raise LayoutMismatch(name=name, seen=seen, expected=f"shape {shape}")
            if tuple(arrays[name].shape) != shape:
                raise LayoutMismatch(name=name, seen=f"of shape {tuple(arrays[name].shape)}", expected=f"shape {shape}")
        if not self.names:
            raise LayoutMismatch(name="", seen="no float array at all", expected="at least one")
        return np.concatenate([np.asarray(arrays[name], dtype=np.float32).ravel() for name in self.names])

    def check_size(self, size: int) -> None:
        """Raises: LayoutMismatch if a vector of so many values is not of this layout."""
        if size != self.size:
            raise LayoutMismatch(name="vector", seen=f"of shape ({size},)", expected=f"shape ({self.size},)")

    def unflatten(self, vector: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Split a vector of shape (P,) back into named arrays (views of it)."""
        self.check_size(len(vector))
        arrays, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + math.prod(shape)
            arrays[name] = vector[start:stop].reshape(shape)
            start = stop
        return arrays


# What DataParallel, torch.compile, Opacus and FSDP put into the names of the module that they wrap.
_WRAPPERS = ("module.", "_orig_mod.", "_module.", "_fsdp_wrapped_module.")


def matched(arrays: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    """Those of the arrays that have one of the names, or would have it without what a wrapper adds.

    Args:
        arrays: By name.
        names: The layout's.
    """
    if all(name in arrays for name in names):
        return {name: arrays[name] for name in names}
    bare = {_bare(name): array for name, array in arrays.items()}
    found = {name: arrays.get(name, bare.get(_bare(name))) for name in names}
    return {name: array for name, array in found.items() if array is not None}


class Shaped(Protocol):
    """Whatever has a shape: a numpy array, or one of Flower's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""


S = TypeVar("S", bound=Shaped)


def in_order(arrays: Mapping[str, S], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, S] | None:
    """Arrays that came as a list, by the names that stand at their places; None if they are not such a list, or do not fit.

    Flower's `ArrayRecord([…])` calls them 0, 1, 2 and so on. They fit if there are as many as names and each has the shape at its place.

    Args:
        arrays: By name, in their order.
        shapes: By the names that are expected, in their order.
    """
    if not is_list(arrays) or len(arrays) != len(shapes):
        return None
    if any(tuple(array.shape) != shape for array, shape in zip(arrays.values(), shapes.values(), strict=True)):
        return None
    return dict(zip(shapes, arrays.values(), strict=True))


def is_list(arrays: Mapping[str, object]) -> bool:
    """Whether arrays are called as Flower calls those of a list."""
    return bool(arrays) and list(arrays) == [str(place) for place in range(len(arrays))]


def _bare(name: str) -> str:
    parts = f"{name}.".split(".")[:-1]
    words = {wrapper.rstrip(".") for wrapper in _WRAPPERS}
    return ".".join(part for part in parts if part not in words)


def model_hash(vector: NDArray[np.float32]) -> bytes:
    """sha256(0x03 ‖ uint64 P ‖ P × float32 little-endian): the identity of a model's values, 32 bytes.

    The prefix keeps it apart from the block tree's hashes; names and shapes are in the spec's hash.
    """
    digest = hashlib.sha256(b"\x03" + len(vector).to_bytes(8, "big"))
    digest.update(np.ascontiguousarray(vector, dtype="<f4").data)
    return digest.digest()
