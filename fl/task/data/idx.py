"""Images and labels in the IDX format of MNIST, gzipped or not.

Format: two zero bytes, a type byte (8 is unsigned byte, 13 is float32), the number of dimensions, each dimension as a
big-endian uint32, then the values, big-endian. Source: LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import lzma
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.foreign.packed import Swells, unpacked
from fl.task.data.errors import DataError
from fl.task.data.text_file import absent


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePair:
    """A file of images with the file of their labels."""

    source: Path  # the file of images
    images: NDArray[np.uint8] | NDArray[np.float32]  # shape (N, height, width)
    labels: NDArray[Any]  # whole numbers from 0 on, shape (N,)
    white: float  # the brightest value that a pixel can have: 255 for bytes, 1 for floats

    def take(self, rows: NDArray[np.int64]) -> ImagePair:
        """The images with these indices, in this order."""
        return ImagePair(source=self.source, images=self.images[rows], labels=self.labels[rows], white=self.white)


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
        raise DataError(seen=f"{source} has no image", expected="one or more", fix="use another file")
    return ImagePair(source=source, images=images, labels=labels, white=1.0 if images.dtype == np.float32 else 255.0)


def write_pair(folder: Path, pair: ImagePair) -> None:
    """Write a pair that `read_pair` reads as the same pixels, gzipped, into a folder that is made.

    Pixels whose white is not 255 are written as float32 in [0, 1], since bytes would have to be rounded.
    """
    folder.mkdir(parents=True)
    images = pair.images if pair.white == 255 else scaled(pair)
    for name, values in (("images.idx3.gz", images), ("labels.idx1.gz", pair.labels)):
        kind = 8 if values.dtype == np.uint8 else 13
        header = bytes([0, 0, kind, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        content = header + values.astype(values.dtype.newbyteorder(">")).tobytes()
        (folder / name).write_bytes(gzip.compress(content, mtime=0))  # no time, so the same rows are the same bytes


def scaled(pair: ImagePair) -> NDArray[np.float32]:
    """The pixels from 0 to 1, shape (N, height, width)."""
    pixels = pair.images.astype(np.float32)
    pixels /= np.float32(pair.white)
    return pixels


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Read one IDX file: of unsigned bytes, or, for images, of float32 from 0 to 1.

    Args:
        path: The file; that it is gzipped is seen from its first bytes, not from its name.
        dimensions: 3 for images, 1 for labels.
    Returns: the values, in the shape that the file declares.
    Raises: DataError if the file is absent, truncated, or holds something else.
    """
    what = {1: "labels", 3: "images"}[dimensions]
    try:
        content = unpacked(path.read_bytes())
    except FileNotFoundError:
        raise absent(path) from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError, Swells) as error:
        raise DataError(
            seen=f"{path} cannot be read ({error})", expected="an IDX file, gzipped or not", fix="fetch it again"
        ) from None
    magic = bytes([0, 0, 8, dimensions])
    start = 4 + 4 * dimensions
    floats = content[:4] == bytes([0, 0, 13, dimensions]) and dimensions == 3
    if content[:4] != magic and not floats:
        raise DataError(
            seen=f"{path} starts with {content[:4].hex() or 'nothing'}",
            expected=f"{magic.hex()}, the mark of {what} in IDX format",
            fix=f"check that this is the file of {what}",
        )
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    needed = start + math.prod(shape) * (4 if floats else 1)
    if len(content) != needed:
        state = "truncated" if len(content) < needed else "too long"
        raise DataError(
            seen=f"{path} is {state}: {len(content)} bytes",
            expected=f"{needed} for {' x '.join(map(str, shape))} values",
            fix="fetch it again",
        )
    if not floats:
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
    pixels = np.frombuffer(content, dtype=">f4", offset=start).reshape(shape).astype(np.float32)
    if not ((pixels >= 0) & (pixels <= 1)).all():  # NaN is neither
        raise DataError(
            seen=f"{path} holds float pixels from {pixels.min():g} to {pixels.max():g}",
            expected="float pixels from 0 (black) to 1 (white)",
            fix="divide them by the value of white",
        )
    return pixels


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(entry for entry in folder.glob(pattern) if entry.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        here = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} has no file {pattern} (it holds {here})",
            expected="a pair such as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz",
            fix="point data.path at the folder that holds them",
        )
    raise DataError(
        seen=f"{folder} holds {len(found)} files {pattern} ({', '.join(entry.name for entry in found)})",
        expected="one, or the name of the one to use",
        fix=f"set data.path={found[-1]}, and data.validation or data.test to another if it is for that",
    )
