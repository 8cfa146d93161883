"""The one reader of safetensors: arrays by name, of the kinds of numbers that a model or a data set here has.

safetensors' own reader for numpy knows more or fewer kinds by what else a process has imported, bfloat16 for one, and takes complex
numbers, of which a float keeps a half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, deserialize

from fl.errors import FairshareError
from fl.plain_text import printable

_KINDS: Mapping[str, DTypeLike] = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "BOOL": np.bool_,
}  # as safetensors names them


class BadArrays(FairshareError, ValueError):
    """Bytes are no arrays of numbers of a kind that is read here. Also a ValueError: who reads a file says which file it is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; ask for it again"


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Refuse numbers of another kind, by the name that the file gives them. Raises: BadArrays."""
    if odd := next((name for name, kind in kinds.items() if kind not in _KINDS), None):
        kind = f"{printable(kinds[odd], most=20)} in {printable(odd, most=60)}"
        raise BadArrays(problem=f"it holds numbers of a kind that is not read here ({kind})")


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, from its content. Raises: BadArrays."""
    try:
        found = deserialize(data)
    except SafetensorError as error:
        raise BadArrays(problem=f"it is not a safetensors file ({printable(str(error), most=200)})") from error
    check_kinds({name: told["dtype"] for name, told in found})
    return {
        name: np.frombuffer(told["data"], dtype=_KINDS[told["dtype"]]).reshape(told["shape"]) for name, told in found
    }
