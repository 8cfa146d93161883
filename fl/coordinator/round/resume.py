"""Takes a task up again: the rounds that are on chain already, as the coordinator's own folder has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.bundle.files import HEADER, MANIFEST, BrokenBundle, hash_of
from fl.bundle.format import Bundle, read_header, read_leaves, write_header
from fl.chain.errors import ChainError
from fl.chain.paid_task import PaidTask
from fl.chain.typed_data import Header
from fl.codec import Layout, model_hash
from fl.coordinator.round.journal import Journal
from fl.rewards import Leaf

log = logging.getLogger(__name__)


class LostRound(ChainError):
    """The chain has a round whose bundle this coordinator does not have, or has another one of."""

    def __init__(self, round_number: int, problem: str) -> None:
        super().__init__(round_number, problem)
        self.round_number, self.problem = round_number, problem

    def __str__(self) -> str:
        return (
            f"round {self.round_number} is on chain and {self.problem}; go on in the folder that posted it, put a copy of the bundle "
            "there (an archive's, an evaluator's), or open another task (with paying(): remove or rename the invite)"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PastRounds:
    """The last of the rounds that are done with: its header, its leaves, and the model that it made, shape (P,)."""

    header: Header
    leaves: tuple[Leaf, ...]
    layout: Layout
    model: NDArray[np.float32]


def resume_task(task: PaidTask, journal: Journal, *, follow: Callable[[Bundle], object] | None) -> PastRounds | None:
    """Walk through the rounds that are on chain already.

    A round that is on chain and was not reported yet is not done with: it is gone through again, without asking or posting.

    Args:
        follow: Called with the bundle of each round, where all of them are remembered.
    Returns: None if the task goes on with its first round.
    Raises: LostRound.
    """
    posted = task.state().posted
    done = posted - 1 if _is_unreported(posted, journal) else posted
    header = None
    for number in range(1, done + 1):
        header = _header_on_chain(number, task, journal)
        if follow is not None:
            follow(_bundle_of(number, journal))
    if header is None:
        return None
    layout, model = _model_after(header, journal)
    try:
        leaves = read_leaves(journal.bundle(done))
    except BrokenBundle as error:
        raise LostRound(round_number=done, problem=f"its bundle {error.folder} is damaged: {error.problem}") from error
    log.info("rounds 1 to %d are on chain; going on with round %d", done, done + 1)
    return PastRounds(header=header, leaves=leaves, layout=layout, model=model)


def _bundle_of(number: int, journal: Journal) -> Bundle:
    try:
        return Bundle.read(journal.bundle(number))[0]
    except BrokenBundle as error:
        raise LostRound(
            round_number=number, problem=f"its bundle {error.folder} is damaged: {error.problem}"
        ) from error


def _is_unreported(number: int, journal: Journal) -> bool:
    """Whether the journal still has a round that is on chain; a damaged journal has nothing that the bundle lacks."""
    if journal.is_collected(number):
        return True
    journal.forget(number)
    return False


def _header_on_chain(number: int, task: PaidTask, journal: Journal) -> Header:
    folder = journal.bundle(number)
    if not folder.exists():
        raise LostRound(round_number=number, problem=f"its bundle is not at {folder}")
    posting = task.posting(number)
    try:
        header, _ = read_header(folder)
        if header == posting.header:
            return header
        problem = f"{HEADER} is not the posted one"
    except BrokenBundle as error:
        problem = error.problem
    # What is lost of it stands on chain, if the bundle is the posted one's.
    if not (folder / MANIFEST).exists() or hash_of(folder) != posting.header.bundle:
        raise LostRound(round_number=number, problem=f"the bundle at {folder} has another header")
    log.warning("round %d: %s; it is written again as it stands on chain", number, problem)
    write_header(folder, posting.header, signatures=task.posted_signatures(posting))
    return posting.header


def _model_after(header: Header, journal: Journal) -> tuple[Layout, NDArray[np.float32]]:
    folder = journal.bundle(header.round)
    try:
        bundle, _ = Bundle.read(folder)
        layout, model = bundle.layout, bundle.next
    except BrokenBundle as error:
        # Old rounds' models are dropped (coordinator.keep); the round that is gone through again begins with this one.
        if not (folder := journal.bundle(header.round + 1)).exists():
            raise LostRound(
                round_number=header.round, problem=f"its bundle {error.folder} is damaged: {error.problem}"
            ) from error
        bundle = _bundle_of(header.round + 1, journal)
        layout, model = bundle.layout, bundle.base
    if model_hash(model) != header.next_model:
        raise LostRound(round_number=header.round, problem=f"the bundle at {folder} has another model")
    return layout, model
