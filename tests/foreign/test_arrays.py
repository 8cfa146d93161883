"""What a safetensors file holds is told by the file alone, whatever else the process that reads it has imported."""

import json
import subprocess

import numpy as np
import pytest
from safetensors.numpy import save

from fl.bundle.validation_set import OtherValidation, read_validation
from fl.foreign.arrays import BadArrays, read_arrays

# A reader of arrays, a reader of a model and a reader of a data set, in a process that has imported more or less.
READS = """
import importlib, sys
for module in sys.argv[2:]:
    importlib.import_module(module)
from pathlib import Path
from fl.bundle.validation_set import read_validation
from fl.errors import FairshareError
from fl.foreign.arrays import read_arrays
from fl.task.saved_model import SavedModel
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_arrays, lambda data: read_validation(data, where="here", expected=bytes(32)), lambda _: SavedModel.read(path)):
        try:
            print({name: (array.dtype.name, array.tolist()) for name, array in read(path.read_bytes()).items()})
        except FairshareError as error:
            print(error)
"""


def file_of(kind, size, *, name="w"):
    """A safetensors file of two numbers of a kind, as its format has it."""
    head = json.dumps({name: {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(2 * size)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int64", "uint16", "uint64", "bool"])
def test_arrays_come_back_as_they_were(kind):
    arrays = {"a": np.arange(6).reshape(2, 3).astype(kind), "none": np.zeros((0, 4), kind), "one": np.ones((), kind)}
    read = read_arrays(save(arrays))
    assert {name: (array.dtype, array.shape, array.tolist()) for name, array in read.items()} == {
        name: (array.dtype, array.shape, array.tolist()) for name, array in arrays.items()
    }


@pytest.mark.parametrize(("kind", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_kinds_of_numbers_that_are_not_read_are_named(kind, size):
    said = f"it holds numbers of a kind that is not read here ({kind} in w); ask for it again"
    with pytest.raises(BadArrays) as refused:
        read_arrays(file_of(kind, size))
    assert str(refused.value) == said
    with pytest.raises(OtherValidation, match="no validation set .BadArrays: it holds numbers of a kind"):
        read_validation(file_of(kind, size), where="here", expected=bytes(32))


@pytest.mark.parametrize(
    "content", [b"", b"nothing", bytes(100), file_of("F32", 4)[:-1], file_of("F32", 4) + b"more", file_of("F99", 4)]
)
def test_what_is_no_safetensors_file_is_refused(content):
    with pytest.raises(BadArrays, match="it is not a safetensors file .*; ask for it again"):
        read_arrays(content)


def test_files_read_the_same_whatever_else_is_imported(python, environment, tmp_path):
    for kind, size in {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "I64": 8}.items():
        (tmp_path / kind).write_bytes(file_of(kind, size))

    def printed(*modules):
        return subprocess.run(
            [python, "-c", READS, str(tmp_path), *modules], env=environment, capture_output=True, text=True, check=True
        ).stdout

    bare = printed()
    assert printed("ml_dtypes") == bare
    assert bare.count("is not read here (BF16 in w)") == 3
