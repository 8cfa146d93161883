"""The server optimizer of a task as it stood before a round, rebuilt from the bundles of the rounds before.

FedAvgM, FedAdam, FedYogi and FedAdagrad remember: their next model follows from every update since round 1, so only who has
followed all rounds, or reads them now, can check it.
"""

from __future__ import annotations

import copy

from flwr.serverapp.strategy import Strategy

from fl.aggregation.replay import replay
from fl.audit.masked import follow_masked, setting_in
from fl.bundle.format import Bundle
from fl.bundle.store import BundleSource
from fl.chain.enrolment import Enrolments
from fl.chain.typed_data import Domain
from fl.codec import Blocks
from fl.rewards import Participant
from fl.scoring.replication import share_stakes
from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy
from fl.task.strategy_facts import facts_of


def remembers(spec: TaskSpec) -> bool:
    """Whether the task's next models follow from more than one round. An app's own strategy is not in its spec."""
    return facts_of(spec.strategy).remembers and spec.training != "app"


class StrategyMemory:
    """Follows a task's rounds with a strategy of its own.

    Args:
        spec: The task's.
        source: Where the rounds before can be read again.
    """

    def __init__(self, spec: TaskSpec, source: BundleSource) -> None:
        self.spec, self.source = spec, source
        self._strategy, self._followed = self._fresh() if remembers(spec) else None, 0

    def before(self, number: int, *, enrolments: Enrolments, domain: Domain) -> Strategy | None:
        """The strategy as it stood before a round, a copy; None for one without a memory.

        Args:
            enrolments: Of the task; with its domain they say what masked words stand for.
        Raises: BrokenBundle if a round before cannot be read whole.
        """
        if self._strategy is None:
            return None
        if self._followed >= number:
            self._strategy, self._followed = self._fresh(), 0
        while self._followed < number - 1:
            bundle, _ = Bundle.read(self.source.bundle(self._followed + 1))
            self._followed += 1
            if bundle.masked is not None:
                setting = setting_in(bundle, enrolments=enrolments, domain=domain, spec=self.spec)
                follow_masked(self._strategy, bundle, setting=setting)
                continue
            replay(
                self._strategy,
                bundle.round,
                participants_of(bundle, spec=self.spec),
                base=bundle.base,
                layout=bundle.layout,
                cap=bundle.length,
            )
        return copy.deepcopy(self._strategy)

    def _fresh(self) -> Strategy:
        return build_strategy(self.spec.strategy, self.spec.strategy_arguments)


def participants_of(bundle: Bundle, *, spec: TaskSpec) -> list[Participant]:
    """Those whose updates a bundle holds, as they were weighed."""
    participants = [
        update.participant(Blocks.from_bytes(update.wire, size=bundle.layout.size)) for update in bundle.updates
    ]
    return share_stakes(participants, threshold=spec.duplicate_cosine)
