"""The rows of data=idx and data=digits: grey images, one channel, pixels from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.foreign.files import expanded
from fl.task.data.config import DataConfig
from fl.task.data.dataset import Dataset
from fl.task.data.errors import DataError
from fl.task.data.idx import ImagePair, read_pair, scaled
from fl.task.data.pictures import read_pictures
from fl.task.data.reading import DataReading
from fl.task.data.schema import TableSchema
from fl.task.data.suspicions import about_classes


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageRows:
    """All images that the clients and, if held back, the coordinator share."""

    pair: ImagePair
    separate: dict[str, ImagePair]  # validation and test, if they come from files of their own
    class_names: tuple[str, ...]
    groups: None = None  # images come with no client
    group_names: tuple[str, ...] = ()

    @property
    def reading(self) -> DataReading:
        """How many of which class, and their size."""
        counts = np.bincount(self.pair.labels, minlength=len(self.class_names)).tolist()
        classes = dict(zip(self.class_names, counts, strict=False))
        height, width = self.pair.images.shape[-2:]
        return DataReading(
            source=str(self.pair.source),
            rows=len(self.pair.labels),
            header=f"images of {height} x {width} pixels",
            columns=(),
            classes=classes,
            clients={},
            notes=tuple(about_classes({name: count for name, count in classes.items() if count})),
        )

    @property
    def labels(self) -> NDArray[np.int64]:
        """Shape (N,)."""
        return self.pair.labels.astype(np.int64)

    def fit(self, validation: NDArray[np.int64] | None) -> None:
        """Nothing: pixels need no schema."""

    def encoder(self, schema: TableSchema | None) -> Callable[[NDArray[np.int64]], Dataset]:
        """A function from row indices to their data set. Images stay bytes until they are asked for."""
        return lambda rows: scale_images(self.pair.take(rows))

    def encode_separate(self, key: str, schema: TableSchema | None) -> Dataset:
        """The data set of a separate pair of files."""
        return scale_images(self.separate[key])


def scale_images(pair: ImagePair) -> Dataset:
    """Images, shape (N, height, width) or (N, channels, height, width), to float32 in [0, 1] with their channels."""
    pixels = scaled(pair)
    return Dataset(features=pixels if pixels.ndim == 4 else pixels[:, None], labels=pair.labels.astype(np.int64))


def check_labels(pair: ImagePair, *, num_classes: int) -> None:
    """Raises: DataError if a label is not below the number of classes."""
    outside = np.flatnonzero(pair.labels >= num_classes)
    if outside.size:
        row = int(outside[0])
        raise DataError(
            seen=f"{pair.source}, image {row} has the label {pair.labels[row]} ({outside.size} such images)",
            expected=f"one from 0 to {num_classes - 1}",
            fix="use the files of the task, or name all classes in data.classes",
        )


def check_shape(pair: ImagePair, *, shape: tuple[int, ...]) -> None:
    """Raises: DataError if the images are not of this shape, (height, width)."""
    if pair.images.shape[1:] != shape:
        raise DataError(
            seen=f"{pair.source} holds images of {' x '.join(map(str, pair.images.shape[1:]))} pixels",
            expected=f"{' x '.join(map(str, shape))}, as in the other files of the task",
            fix="use files of one kind",
        )


def read_images(config: DataConfig) -> ImageRows:
    """A pair of IDX files or a folder of pictures, and one each for validation and test if paths are given for them.

    Raises: DataError if labels are outside the classes, fewer than 2 classes occur, or shapes differ.
    """
    names: list[str] = list(config.classes)
    if config.name == "images":
        shape = (3 if config.color else 1, config.size, config.size)
        pair, names = read_pictures(config.source(), shape=shape, classes=names)
    else:
        pair = read_pair(config.source())
    separate = {
        key: read_pair(expanded(value))
        if config.name == "idx"
        else read_pictures(expanded(value), shape=shape, classes=names)[0]
        for key, value in (("validation", config.validation), ("test", config.test))
        if isinstance(value, str)
    }
    pairs = (pair, *separate.values())
    if len(np.unique(np.concatenate([each.labels for each in pairs]))) < 2:
        raise DataError(
            seen=f"every image of {pair.source} has the label {names[pair.labels[0]] if names else pair.labels[0]}",
            expected="2 classes or more",
            fix="use another file"
            if config.name != "images"
            else "put the pictures of each other class into a folder beside it",
        )
    highest = max(int(each.labels.max()) for each in pairs)
    class_names = tuple(names) or tuple(str(label) for label in range(highest + 1))
    for each in pairs:
        check_shape(each, shape=pair.images.shape[1:])
        check_labels(each, num_classes=len(class_names))
    return ImageRows(pair=pair, separate=separate, class_names=class_names)


def read_digits() -> ImageRows:
    """The 1,797 digits of 8 x 8 pixels that scikit-learn brings.

    Source: Alpaydin, Kaynak 1998, UCI, doi:10.24432/C50P49.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second that other data need not wait

    bundle = load_digits()
    pair = ImagePair(
        source=Path("scikit-learn's digits"),
        images=bundle.images.astype(np.uint8),
        labels=bundle.target.astype(np.uint8),
        white=16.0,
    )
    return ImageRows(pair=pair, separate={}, class_names=tuple(map(str, bundle.target_names)))
