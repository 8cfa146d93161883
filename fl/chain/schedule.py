"""What a task's rounds may pay by and by: its budget, what was added to it, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl.rewards.price import allowed_by


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The budget of each round, as the contract counts it."""

    rounds: int  # the last round: the task's, or sooner after a stop
    budgets: Sequence[tuple[int, int]]  # from which round on, and the budget that counts then, wei; ascending

    def budget(self, round_number: int) -> int:
        """Wei that the schedule of this round pays out."""
        return [budget for first, budget in self.budgets if first <= round_number][-1]

    def allowed(self, round_number: int) -> int:
        """Wei that the rounds up to this one may pay together. Raises: ValueError for a round after the last."""
        return allowed_by(round_number, budget=self.budget(round_number), rounds=self.rounds)
