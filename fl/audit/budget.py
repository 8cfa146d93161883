"""What the noise of a task's rounds has spent of privacy: of a client's, recomputed from its bundles; of a row's, from its spec.

With noise on rows nothing in a bundle shows what was drawn. The figure is that of whoever has as few rows as the spec allows, by the
spec's steps, batch, clip and noise; that a node kept to them is its own word, given to nobody but its owner.
"""

from __future__ import annotations

from fl.audit.masked import setting_in
from fl.bundle.format import Bundle
from fl.bundle.store import BundleSource
from fl.chain.enrolment import Enrolments
from fl.chain.typed_data import Domain
from fl.privacy.budget import Sampling, epsilon, planned
from fl.privacy.masked_round import round_multiplier
from fl.task.spec import TaskSpec


class PrivacyBudget:
    """Counts the rounds of a task, each once, in their order.

    The figure is that of a client that took part in all of them, and of whom each told most.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec, self._terms = spec, spec.private
        self._multipliers: list[float] = []
        self._sampling = Sampling.of(vars(spec))
        self._rounds = 0

    def after(self, bundle: Bundle, *, enrolments: Enrolments, domain: Domain) -> float | None:
        """ε with this round; None in a task without noise.

        Args:
            bundle: Of the round.
            enrolments: Of the task.
            domain: Of the contract.
        Raises: ConfigError without the accountant.
        """
        if self._terms.noise == "none":
            return None
        self._rounds += 1
        if self._terms.noise == "rows":  # of a void round too: who trained said how long its update is
            return self.spent
        if not bundle.updates:  # a void round tells nothing
            return self.spent
        multiplier = self._terms.sigma
        if bundle.masked is not None:
            setting = setting_in(bundle, enrolments=enrolments, domain=domain, spec=self._spec)
            multiplier = round_multiplier(
                bundle.masked, survivors=[update.account for update in bundle.updates], setting=setting
            )
        self._multipliers.append(multiplier)
        return self.spent

    @property
    def spent(self) -> float:
        """ε of the rounds until now."""
        if self._sampling is not None:
            return planned(self._terms, rounds=self._rounds, sampling=self._sampling)
        return epsilon(self._multipliers, delta=float(self._terms.delta))

    def catch_up(self, rounds: int, source: BundleSource, *, enrolments: Enrolments, domain: Domain) -> None:
        """Count the rounds from the first to this one.

        Args:
            rounds: How many there are.
            source: Of the bundles.
            enrolments: Of the task.
            domain: Of the contract.
        Raises: BrokenBundle if one of them cannot be read whole.
        """
        for number in range(1, rounds + 1):
            self.after(Bundle.read(source.bundle(number))[0], enrolments=enrolments, domain=domain)
