"""What was public before a round, read from the bundles of the rounds before and held against the headers on chain."""

from __future__ import annotations

import numpy as np

from fl.bundle.files import (
    BASE,
    DIRECTION,
    MANIFEST,
    NEXT,
    ROUND,
    BrokenBundle,
    BundleFiles,
    checked_file,
    read_manifest,
)
from fl.bundle.format import read_header
from fl.bundle.round_record import read_round
from fl.bundle.store import BundleSource
from fl.chain.typed_data import header_hash
from fl.codec import Blocks, Decoded, LayoutMismatch, MalformedBlocks, block_root, model_hash
from fl.foreign.arrays import read_arrays
from fl.scoring.public_vectors import ModelStep, PublicRound
from fl.spool import Spool
from fl.task.spec import TaskSpec


class PublicState:
    """Follows the steps and directions of a task.

    Args:
        spec: The task's; says how many rounds back are public.
        source: Where the rounds before can be read.
    """

    def __init__(self, spec: TaskSpec, source: BundleSource) -> None:
        self.spec, self.source = spec, source
        self._known: dict[bytes, tuple[PublicRound, bytes]] = {}  # header hash -> the round, the hash before it

    def before(self, number: int, *, previous: bytes) -> tuple[PublicRound, ...]:
        """The rounds that are public before a round, the latest first.

        Args:
            number: The round that is about to be scored.
            previous: Hash of the header before it: each header names the one before, so all are the chain's.
        Raises: BrokenBundle if one of them cannot be read, or is not the one that was posted.
        """
        found, known = [], {}
        for past in range(number - 1, max(0, number - 1 - self.spec.public_rounds), -1):
            if previous not in self._known:
                self._known[previous] = _read(self.source.bundle(past), expected=previous)
            known[previous] = self._known[previous]
            earlier, previous = known[previous]
            found.append(earlier)
        self._known = known  # older rounds are not asked for again
        return tuple(found)


def public_round(*, base: np.ndarray, following: np.ndarray, direction: Blocks) -> PublicRound:
    """What a round leaves for everybody to know.

    Args:
        base: The model before the round, shape (P,).
        following: The model after it, shape (P,).
        direction: As posted.
    """
    spool = Spool()
    return PublicRound(
        step=ModelStep(base=spool.keep(base, dtype=np.float32), following=spool.keep(following, dtype=np.float32)),
        direction=Decoded(blocks=Blocks.from_bytes(spool.keep_bytes(direction.to_bytes()), size=direction.size)),
    )


def _read(files: BundleFiles, *, expected: bytes) -> tuple[PublicRound, bytes]:
    header, _ = read_header(files)
    if header_hash(header) != expected:
        raise BrokenBundle(folder=files.where, problem="its header is not the one that was posted")
    sums = read_manifest(files.read(MANIFEST), files)
    try:
        layout = read_round(checked_file(files, ROUND, sha256=sums[ROUND]), where=files.where).layout
        base, following = (
            layout.flatten(read_arrays(checked_file(files, name, sha256=sums[name]))) for name in (BASE, NEXT)
        )
        blocks = checked_file(files, DIRECTION, sha256=sums[DIRECTION])
        direction = Blocks.from_bytes(blocks, size=layout.size)
    except (KeyError, ValueError, TypeError, LayoutMismatch, MalformedBlocks) as error:
        raise BrokenBundle(folder=files.where, problem=f"cannot be read ({type(error).__name__}: {error})") from error
    told = (model_hash(base), model_hash(following), block_root(blocks))
    if told != (header.base_model, header.next_model, header.direction_root):
        raise BrokenBundle(folder=files.where, problem="its models and direction are not those that its header names")
    return public_round(base=base, following=following, direction=direction), header.previous
