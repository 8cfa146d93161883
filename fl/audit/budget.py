"""What the noise of a task's rounds has spent of a client's privacy, recomputed from its bundles."""

from __future__ import annotations

from fl.audit.masked import setting_of
from fl.bundle.format import Bundle
from fl.bundle.store import BundleSource
from fl.chain.enrolment import Enrolments
from fl.chain.typed_data import Domain
from fl.privacy.budget import epsilon
from fl.privacy.masked_round import round_multiplier
from fl.task.spec import TaskSpec


class PrivacyBudget:
    """Counts the rounds of a task, each once, in their order.

    The figure is that of a client that took part in all of them, and of whom each told most.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec, self._terms = spec, spec.private
        self._multipliers: list[float] = []

    def after(self, bundle: Bundle, *, enrolments: Enrolments, domain: Domain) -> float | None:
        """ε with this round; None in a task without noise. Raises: ConfigError without the accountant."""
        if self._terms.noise != "client":
            return None
        if not bundle.updates:  # a void round tells nothing
            return self.spent
        multiplier = self._terms.sigma
        if bundle.masked is not None:
            setting = setting_of(
                task_id=bundle.task_id,
                number=bundle.round,
                size=bundle.layout.size,
                enrolments=enrolments,
                domain=domain,
                spec=self._spec,
            )
            multiplier = round_multiplier(
                bundle.masked, survivors=[update.account for update in bundle.updates], setting=setting
            )
        self._multipliers.append(multiplier)
        return self.spent

    @property
    def spent(self) -> float:
        """ε of the rounds until now."""
        return epsilon(self._multipliers, delta=float(self._terms.delta))

    def catch_up(self, rounds: int, source: BundleSource, *, enrolments: Enrolments, domain: Domain) -> None:
        """Count the rounds from the first to this one. Raises: BrokenBundle if one of them cannot be read whole."""
        for number in range(1, rounds + 1):
            self.after(Bundle.read(source.bundle(number))[0], enrolments=enrolments, domain=domain)
