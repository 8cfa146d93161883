"""What a client that does not train can find out: the models, directions and updates of its own that the coordinator published.

Read where bundles lie: a run's folder, or any URL that fsspec reaches. A round that was not published, or whose direction is not
revealed, is passed over.
"""

from __future__ import annotations

import contextlib
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fl.bundle.files import BASE, DIRECTION, BrokenBundle, update_file
from fl.bundle.store import BundleSource
from fl.codec import Blocks, Layout, LayoutMismatch, MalformedBlocks
from fl.foreign.arrays import BadArrays, read_arrays
from fl.task.behaviour import Known

_MODELS = 3  # the last ones; nobody goes further back


def known_before(
    number: int,
    *,
    base: NDArray[np.float32],
    layout: Layout,
    account: str,
    source: BundleSource,
    reveals: bool,
) -> Known:
    """What a client knows when it is asked for a round's update.

    Args:
        number: Of the round, from 1.
        base: The model that it was sent, shape (P,).
        layout: Of the model's arrays.
        account: The client's own, whose updates it has.
        source: The bundles.
        reveals: Whether the task reveals directions round by round.
    """
    models, directions, first = [], [], None
    for past in range(1, number):
        read = source.bundle(past).read
        if past >= number - _MODELS:
            with contextlib.suppress(BrokenBundle, BadArrays, LayoutMismatch):
                models.append(layout.flatten(read_arrays(read(BASE))))
        blocks = partial(Blocks.from_bytes, size=layout.size)
        if reveals:
            with contextlib.suppress(BrokenBundle, MalformedBlocks):
                directions.append(blocks(read(DIRECTION)).decode())
        if first is None:
            with contextlib.suppress(BrokenBundle, MalformedBlocks):  # the words of a masked round are none
                first = blocks(read(update_file(account))).decode()
    return Known(base=base, models=models, directions=directions, first=first)
