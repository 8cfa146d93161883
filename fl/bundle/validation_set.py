"""The committed validation set as a file: what evaluators, and auditors whom the sponsor trusts with it, recompute directions on."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save

from fl.chain.whole_file import write_whole
from fl.errors import FairshareError
from fl.foreign.arrays import read_arrays
from fl.task.data import Dataset
from fl.task.spec import dataset_hash

VALIDATION = "validation.safetensors"


class OtherValidation(FairshareError):
    """A validation set that is not the one that the task committed to."""

    def __init__(self, where: str, seen: str, expected: str) -> None:
        super().__init__(where, seen, expected)
        self.where, self.seen, self.expected = where, seen, expected

    def __str__(self) -> str:
        return (
            f"the validation set of {self.where} is {self.seen}, the task on chain has 0x{self.expected}; fetch it from the "
            "coordinator, or name the file that the task was opened with"
        )


def validation_bytes(data: Dataset) -> bytes:
    """The file's content: `features` and `labels`, in the types that are hashed."""
    return save({"features": data.features, "labels": data.labels})


def write_validation(path: Path, data: Dataset) -> None:
    """Write the file, whole or not at all, readable by its owner only."""
    write_whole(path, validation_bytes(data), mode=0o600)


def read_validation(data: bytes, *, where: str, expected: bytes) -> Dataset:
    """Read a file's content.

    Args:
        data: The file's content.
        where: It came from, for messages.
        expected: Hash of the data set, as on chain.
    Raises: OtherValidation if it is none, or its hash is not `expected`.
    """
    try:
        arrays = read_arrays(data)
        found = Dataset(features=arrays["features"], labels=arrays["labels"])
    except (FairshareError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        problem = f"no validation set ({type(error).__name__}: {error})"
        raise OtherValidation(where=where, seen=problem, expected=expected.hex()) from error
    if (seen := dataset_hash(found)) != expected:
        raise OtherValidation(where=where, seen=f"0x{seen.hex()}", expected=expected.hex())
    return found
