"""What is known of a round before anybody answered: the model, who is on chain, and what the rounds before left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl.audit.difference import ChainView
from fl.audit.public_state import public_round
from fl.bundle.format import Bundle
from fl.chain.enrolment import Enrolment
from fl.chain.paid_task import PaidTask
from fl.chain.typed_data import Header
from fl.codec import Layout, model_hash
from fl.coordinator.round.collect import Question
from fl.rewards import Account, Leaf
from fl.scoring.public_vectors import PublicRound
from fl.task.held_arrays import seen
from fl.task.spec import TaskSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundsBefore:
    """What the rounds before a round left; as it stands, nothing: the state of a task before round 1."""

    header: Header | None = None  # of the round before
    leaves: tuple[Leaf, ...] = ()  # of the round before
    public: tuple[PublicRound, ...] = ()  # the latest first, as far back as they are public

    def and_then(self, header: Header, bundle: Bundle, *, public_rounds: int) -> RoundsBefore:
        """The same with one round more.

        Args:
            header: Of the round that was posted.
            bundle: Of that round.
            public_rounds: How many rounds back are public, as the spec says.
        """
        done = public_round(base=bundle.base, following=bundle.next, direction=bundle.direction)
        return RoundsBefore(header=header, leaves=bundle.leaves, public=(done, *self.public)[:public_rounds])


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenRound:
    """What is known of a round before anybody answered."""

    number: int
    task_id: bytes
    layout: Layout
    base: NDArray[np.float32]  # shape (P,)
    constants: Mapping[
        str, NDArray[Any]
    ]  # buffers and what is frozen: sent along so that a model loads, never sent back
    names: tuple[str, ...]  # of all arrays that are sent, in their order
    before: RoundsBefore
    chain: ChainView  # as it was when the round was opened
    block_bits: int = 16  # of an update's values on the wire
    beside: bool = False  # whether the strategy is given what clients answer beside model and metrics

    @cached_property
    def base_model(self) -> bytes:
        """Hash of the model that the round starts from."""
        return model_hash(self.base)

    @cached_property
    def enrolled(self) -> dict[str, Enrolment]:
        """The clients that count in this round, by account."""
        return {
            account: enrolment
            for account, enrolment in self.chain.enrolments.items()
            if enrolment.counts_in(self.number)
        }

    @cached_property
    def accounts(self) -> dict[str, Account]:
        """The balance of every enrolled client before the round."""
        known = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in self.before.leaves}
        return {account: known.get(account, Account()) for account in self.enrolled}

    @property
    def allowed(self) -> int:
        """Wei that all rounds up to this one may pay together."""
        return self.chain.schedule.allowed(self.number)

    @property
    def question(self) -> Question:
        """What the clients are asked, and whose answers count."""
        return Question(
            task_id=self.task_id,
            round=self.number,
            base_model=self.base_model,
            size=len(self.base),
            enrolled=self.enrolled,
            domain=self.chain.domain,
            block_bits=self.block_bits,
            beside=self.beside,
        )


def open_round(
    task: PaidTask, number: int, arrays: ArrayRecord, *, spec: TaskSpec, layout: Layout, before: RoundsBefore
) -> OpenRound:
    """Look at the chain once, for the whole round.

    Args:
        task: The task on chain.
        number: Of the round, from 1.
        arrays: The model that is sent, with its buffers.
        spec: Of the task.
        layout: Which of the arrays make up the parameter vector.
        before: What the rounds before left.
    Returns: the round, which nothing changes any more.
    """
    named = {name: seen(array) for name, array in arrays.items()}
    return OpenRound(
        number=number,
        task_id=task.task_id,
        layout=layout,
        base=layout.flatten(named),
        constants={name: array for name, array in named.items() if name not in layout.names},
        names=tuple(named),
        before=before,
        chain=ChainView(
            domain=task.domain,
            terms=task.terms,
            enrolments=task.enrolments(),
            schedule=task.schedule(),
            previous=before.header,
        ),
        block_bits=spec.block_bits,
        beside=spec.training == "app",
    )
