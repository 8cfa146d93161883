"""What a task's rounds may pay by and by: its budget, what was added to it, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl.rewards.price import allowed_by


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The budget of each round, as the contract counts it."""

    planned: int  # rounds that the task was opened for
    rounds: int  # the last round: as planned, or sooner after a stop
    budgets: Sequence[tuple[int, int]]  # from which round on, and the budget that counts then, wei; ascending

    def budget(self, round_number: int) -> int:
        """Wei that the schedule of this round pays out."""
        if round_number == self.rounds:  # after a stop, what was added counts at once
            return self.budgets[-1][1]
        return [budget for first, budget in self.budgets if first <= round_number][-1]

    def allowed(self, round_number: int) -> int:
        """Wei that the rounds up to this one may pay together. Raises: ValueError for a round after the last."""
        # The rounds before a stop were paid as if all that were planned would come.
        rounds = self.planned if round_number < self.rounds else self.rounds
        return allowed_by(round_number, budget=self.budget(round_number), rounds=rounds)
