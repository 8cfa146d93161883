"""An evaluator: reads a round's bundle, recomputes it with its own model and validation data, and signs the header or does not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.difference import ChainView
from fl.audit.public_state import PublicState
from fl.audit.recompute import check_round
from fl.audit.strategy_state import StrategyMemory
from fl.bundle.format import Bundle
from fl.bundle.store import BundleStore
from fl.chain.typed_data import Header, sign
from fl.scoring.game import ValidationGame
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """One of the task's evaluators, in the process that has the bundles."""

    account: LocalAccount
    spec: TaskSpec
    game: ValidationGame
    memories: dict[Path, StrategyMemory] = field(default_factory=dict)  # by the folder of the bundles
    publics: dict[Path, PublicState] = field(default_factory=dict)  # likewise

    def evaluate(self, folder: Path, header: Header, *, view: ChainView) -> bytes:
        """Check a round and sign its header, 65 bytes.

        Args:
            folder: Of the bundle.
            header: To sign.
            view: What the chain says before the round is posted.
        Raises: BrokenBundle or RoundDiffers with what is wrong; then nothing is signed.
        """
        bundle, bundle_hash = Bundle.read(folder)
        distance = check_round(
            bundle,
            header,
            bundle_hash=bundle_hash,
            view=view,
            spec=self.spec,
            game=self.game,
            strategy=self._memory(folder.parent).before(header.round, enrolments=view.enrolments, domain=view.domain),
            past=self._public(folder.parent).before(bundle.round, previous=view.previous_hash),
        )
        self.game.give_back()
        log.info("round %d: evaluator %s agrees, direction within %.1e", header.round, self.account.address, distance)
        return sign(header, domain=view.domain, account=self.account)

    def _public(self, bundles: Path) -> PublicState:
        if bundles not in self.publics:
            self.publics[bundles] = PublicState(self.spec, BundleStore.at(str(bundles)))
        return self.publics[bundles]

    def _memory(self, bundles: Path) -> StrategyMemory:
        if bundles not in self.memories:
            self.memories[bundles] = StrategyMemory(self.spec, BundleStore.at(str(bundles)))
        return self.memories[bundles]
