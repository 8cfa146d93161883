"""Images and labels in the IDX format of MNIST, gzipped or not.

Format: two zero bytes, a type byte (8 is unsigned byte), the number of dimensions, each dimension as a big-endian
uint32, then the values. Source: LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.task.data.errors import DataError
from fl.task.data.table import absent


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePair:
    """A file of images with the file of their labels."""

    source: Path  # the file of images
    images: NDArray[np.uint8]  # shape (N, height, width)
    labels: NDArray[np.uint8]  # shape (N,)


def read_pair(path: Path) -> ImagePair:
    """Read the images and the labels at a path.

    Args:
        path: A folder with one file *images*idx3* and one *labels*idx1*, or the file of images itself; its labels
            are then in the file of the same name with labels for images and idx1 for idx3.
    Raises: DataError if one is absent, truncated or of another kind, or if they do not count the same rows.
    """
    source = _only(path, "*images*idx3*") if path.is_dir() else path
    images = read_idx(source, dimensions=3)
    labels_path = source.with_name(source.name.replace("images", "labels").replace("idx3", "idx1"))
    if path.is_dir() and not labels_path.exists():
        labels_path = _only(path, "*labels*idx1*")
    if labels_path == source:
        raise DataError(
            seen=f"{source} does not have images in its name, so its labels cannot be found",
            expected="a pair such as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz",
            fix="rename the files",
        )
    labels = read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            seen=f"{source} holds {len(images)} images and {labels_path.name} {len(labels)} labels",
            expected="one label per image",
            fix="fetch the two files again, from the same place",
        )
    if not images.size:
        raise DataError(seen=f"{source} holds no image", expected="one or more", fix="use another file")
    return ImagePair(source=source, images=images, labels=labels)


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: The file; that it is gzipped is seen from its first bytes, not from its name.
        dimensions: 3 for images, 1 for labels.
    Returns: the values, in the shape that the file declares.
    Raises: DataError if the file is absent, truncated, or holds something else.
    """
    what = {1: "labels", 3: "images"}[dimensions]
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise absent(path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            seen=f"{path} cannot be read ({error})", expected="an IDX file, gzipped or not", fix="fetch it again"
        ) from None
    magic = bytes([0, 0, 8, dimensions])
    start = 4 + 4 * dimensions
    if content[:4] != magic:
        raise DataError(
            seen=f"{path} starts with {content[:4].hex() or 'nothing'}",
            expected=f"{magic.hex()}, the mark of {what} in IDX format",
            fix=f"check that this is the file of {what}",
        )
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    needed = start + math.prod(shape)
    if len(content) != needed:
        state = "truncated" if len(content) < needed else "too long"
        raise DataError(
            seen=f"{path} is {state}: {len(content)} bytes",
            expected=f"{needed} for {' x '.join(map(str, shape))} values",
            fix="fetch it again",
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(entry for entry in folder.glob(pattern) if entry.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        here = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} holds no file {pattern} (it holds {here})",
            expected="a pair such as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz",
            fix="point data.path at the folder that holds them",
        )
    raise DataError(
        seen=f"{folder} holds {len(found)} files {pattern} ({', '.join(entry.name for entry in found)})",
        expected="one, or the name of the one to use",
        fix=f"set data.path={found[-1]}, and data.validation or data.test to another if it is for that",
    )
