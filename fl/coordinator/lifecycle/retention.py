"""What becomes of a round's bundle once it is on chain: a copy elsewhere, and how long the heavy files stay here."""

from __future__ import annotations

import logging
from pathlib import Path

from fl.audit.strategy_state import remembers
from fl.bundle.files import BrokenBundle
from fl.bundle.store import BundleStore
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


class RetentionPolicy:
    """Copies bundles into an archive and drops what is not to be kept.

    Args:
        bundles: The coordinator's folder of bundles.
        archive: URL of a store that takes a copy of every bundle, None for none.
        keep: Last rounds whose models and updates stay in the folder, 0 for all. Headers, manifests and leaves always stay.
        spec: The task's: where a strategy remembers all rounds, all are kept.
    Raises: ConfigError for a URL that no installed file system takes.
    """

    def __init__(self, bundles: Path, *, archive: str | None, keep: int, spec: TaskSpec) -> None:
        self.bundles = BundleStore.at(str(bundles))
        self.archive = BundleStore.at(archive) if archive else None
        # The next round's public vectors are those of the rounds before.
        self.keep = 0 if remembers(spec) or not keep else max(keep, spec.public_rounds + 1)
        if keep and not self.keep:
            log.warning("%s remembers every round, so every bundle is kept", spec.strategy)

    def after_round(self) -> None:
        """Copy what is not in the archive yet, then drop what is too old. An archive that is away is tried again next time."""
        if self.archive is not None and not self._copied(self.archive):
            return  # nothing is dropped that has no copy
        if self.keep and (gone := self.bundles.prune(keep=self.keep)):
            log.info("dropped %d files of bundles older than %d rounds", gone, self.keep)

    def _copied(self, archive: BundleStore) -> bool:
        try:
            there = set(archive.rounds())
            for number in self.bundles.rounds():
                if number not in there:
                    archive.put(number, self.bundles.bundle(number))
                    log.info("round %d: bundle copied to %s", number, archive.where)
        except (OSError, BrokenBundle) as error:
            log.warning("bundles are not copied to %s: %s; tried again after the next round", archive.where, error)
            return False
        return True
