"""Who checks a round before it is posted: evaluators in this process, or on machines of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fl.audit.difference import ChainView
from fl.audit.evaluators.local import Evaluator
from fl.chain.typed_data import Header
from fl.errors import FairshareError

log = logging.getLogger(__name__)


class EvaluatorQuorum(Protocol):
    """The evaluators that a coordinator can reach."""

    @property
    def addresses(self) -> frozenset[str]:
        """Their accounts."""

    def sign(self, folder: Path, header: Header, *, view: ChainView) -> list[bytes]:
        """Have a round checked; returns the signatures that came, 65 bytes each, the quorum or fewer.

        Args:
            folder: Of the bundle.
            header: To sign.
            view: What the chain says before the round is posted.
        Raises: the first refusal, if refusals are why the quorum was not reached.
        """


@dataclass(frozen=True, kw_only=True)
class LocalQuorum:
    """Evaluators in this process, one after the other: enough on a devnet, and no proof to anybody else."""

    evaluators: Sequence[Evaluator]

    @property
    def addresses(self) -> frozenset[str]:
        """Their accounts."""
        return frozenset(evaluator.account.address for evaluator in self.evaluators)

    def sign(self, folder: Path, header: Header, *, view: ChainView) -> list[bytes]:
        """Let every evaluator recompute the round from its bundle.

        Args:
            folder: Of the bundle.
            header: To sign.
            view: What the chain says before the round is posted.
        Raises: BrokenBundle or RoundDiffers, the first one, if too few signed and somebody refused.
        """
        signatures, refusals = [], []
        for evaluator in self.evaluators:
            try:
                signatures.append(evaluator.evaluate(folder, header, view=view))
            except FairshareError as error:
                log.warning("round %d: evaluator %s does not sign: %s", header.round, evaluator.account.address, error)
                refusals.append(error)
        if refusals and len(signatures) < view.terms.quorum:
            raise refusals[0]
        return signatures
