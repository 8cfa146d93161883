"""An evaluator: reads a round's bundle, recomputes it with its own model and validation data, and signs the header or does not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.bundle import Bundle
from fl.audit.recompute import ChainView, check_round
from fl.chain.typed_data import Header, sign
from fl.scoring.game import ValidationGame
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """One of the task's evaluators, in whatever process it runs."""

    account: LocalAccount
    spec: TaskSpec
    game: ValidationGame

    def evaluate(self, folder: Path, header: Header, *, view: ChainView) -> bytes:
        """Check a round and sign its header, 65 bytes.

        Raises: BrokenBundle or RoundDiffers with what is wrong; then nothing is signed.
        """
        bundle, bundle_hash = Bundle.read(folder)
        distance = check_round(bundle, header, bundle_hash=bundle_hash, view=view, spec=self.spec, game=self.game)
        log.info("round %d: evaluator %s agrees, direction within %.1e", header.round, self.account.address, distance)
        return sign(header, domain=view.domain, account=self.account)
