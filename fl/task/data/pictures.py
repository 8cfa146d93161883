"""data=images: a folder of pictures for each class, as most image sets come: FOLDER/CLASS/picture.png.

All are brought to one size, grey or in colour: the shorter side is scaled to it and the middle is cut out, so that nothing is
stretched. Other files and folders whose name begins with a point are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.task.data.errors import DataError
from fl.task.data.extras import imported
from fl.task.data.idx import ImagePair

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_MOST_CLASSES = 256  # a label is a byte
_MOST_PIXELS = 1 << 28  # of one picture: what is larger is not a picture to train on


def class_folders(folder: Path) -> list[Path]:
    """The folders of a set of pictures, by name; none if it is not one."""
    if not folder.is_dir():
        return []
    return sorted(
        child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".") and _pictures(child)
    )


def read_pictures(folder: Path, *, shape: tuple[int, ...], classes: Sequence[str] = ()) -> tuple[ImagePair, list[str]]:
    """All pictures of a folder, in the order of their classes and names, and the classes' names.

    Args:
        folder: With a folder for each class.
        shape: (1 or 3, height, width) that every picture is brought to.
        classes: Names in the order of the labels; none: the folders', by name.
    Raises: DataError if there are no pictures, one cannot be read, or a folder is of no class.
    """
    found = class_folders(folder)
    if not found:
        here = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) if folder.is_dir() else "nothing"
        raise DataError(
            seen=f"{folder} has no folder with pictures (it has {here or 'nothing'})",
            expected=f"a folder for each class, with files ending in {', '.join(SUFFIXES)}",
            fix="name the folder that holds those",
        )
    names = list(classes) or [child.name for child in found]
    if strange := [child.name for child in found if child.name not in names]:
        raise DataError(
            seen=f"{folder} has a folder {strange[0]!r}",
            expected=f"folders of the classes {', '.join(names[:12])}",
            fix="rename or move it",
        )
    if len(names) > _MOST_CLASSES:
        raise DataError(
            seen=f"{folder} has {len(names)} classes",
            expected=f"at most {_MOST_CLASSES}",
            fix="merge or leave out some",
        )
    library = _pillow(folder)
    images, labels = [], []
    for child in found:
        for path in _pictures(child):
            images.append(_picture(library, path, shape=shape))
            labels.append(names.index(child.name))
    # Grey ones without a channel, as in IDX files.
    stacked = np.stack(images)
    return ImagePair(source=folder, images=stacked, labels=np.array(labels, dtype=np.uint8), white=255.0), names


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _picture(library: Any, path: Path, *, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    channels, height, width = shape
    try:
        with library.Image.open(path) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError(f"it has {opened.width} x {opened.height} pixels")
            turned = library.ImageOps.exif_transpose(_eight_bits(library, opened))
            fitted = library.ImageOps.fit(turned.convert("L" if channels == 1 else "RGB"), (width, height))
            values = np.asarray(fitted, dtype=np.uint8)
    except Exception as error:  # whatever the library makes of a file
        raise DataError(
            seen=f"{path} cannot be read ({str(error)[:120]})", expected="a picture", fix="fetch it again, or remove it"
        ) from None
    return values if channels == 1 else values.transpose(2, 0, 1)


def _eight_bits(library: Any, picture: Any) -> Any:
    """A picture of 16 bits in 8: Pillow alone cuts off what is above 255, and leaves white. Raises: ValueError for other numbers."""
    if picture.mode.startswith("I;16"):
        return library.Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(
            "its pixels are numbers of 32 bits, of which nobody knows what is white; save it with 8 or 16 bits"
        )
    return picture


def _pillow(folder: Path) -> Any:
    expected, fix = "the extra for pictures", "run pip install 'fairshare[images]'"
    for module in ("PIL.ImageOps", "PIL.Image"):
        imported(module, path=folder, package="pillow", expected=expected, fix=fix)
    return imported("PIL", path=folder, package="pillow", expected=expected, fix=fix)
