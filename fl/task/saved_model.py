"""A trained model in one file: a safetensors file whose metadata is the task's spec, its preprocessing and schema among it.

Whoever has the file can predict with it: nothing else of the task is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from fl.chain.whole_file import write_whole
from fl.errors import FairshareError
from fl.foreign.arrays import BadArrays, check_kinds
from fl.foreign.json_text import BadJson, read_json
from fl.plain_text import printable

_FORMAT, _VERSION = "fairshare-model", "1"


class BadModelFile(FairshareError):
    """A file has no model that this project wrote."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}; name a model that `fl finish` wrote, such as FOLDER/model/best.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model's arrays and what they are of."""

    arrays: dict[str, NDArray[Any]]
    spec: str  # canonical JSON of the task's spec
    about: dict[str, str]  # task, round and what else is told of it

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        told = {**self.about, "format": _FORMAT, "version": _VERSION, "spec": self.spec}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(
            path, save_safetensors({name: np.asarray(array, order="C") for name, array in self.arrays.items()}, told)
        )

    @classmethod
    def read(cls, path: Path) -> SavedModel:
        """Read the file. Raises: BadModelFile."""
        try:
            with safe_open(path, framework="numpy") as file:
                told: Mapping[str, str] = file.metadata() or {}
                kinds = {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 (no mapping)
                check_kinds(kinds)
                arrays = {name: file.get_tensor(name) for name in kinds}
            if told.get("format") != _FORMAT:
                raise BadModelFile(path=str(path), problem="holds arrays and does not say how to use them")
            if told.get("version") != _VERSION:
                seen = printable(told.get("version"), most=20)
                raise BadModelFile(path=str(path), problem=f"is of version {seen}, and this Fairshare reads {_VERSION}")
            read_json(told["spec"])
        except FileNotFoundError:
            raise BadModelFile(path=str(path), problem="is not there") from None
        except BadArrays as error:
            raise BadModelFile(path=str(path), problem=error.problem.removeprefix("it ")) from error
        except (OSError, SafetensorError, BadJson, KeyError) as error:
            raise BadModelFile(
                path=str(path), problem=f"is not a safetensors file of a model ({type(error).__name__})"
            ) from error
        about = {name: value for name, value in told.items() if name not in ("format", "version", "spec")}
        return cls(arrays=arrays, spec=told["spec"], about=about)
