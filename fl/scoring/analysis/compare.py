"""Several rules on one round, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import Scorer
from fl.scoring.scores import Scores, rank_correlation, relative_l2


@dataclass(frozen=True, kw_only=True, eq=False)
class RuleResult:
    """One rule's scores of a round, and what they cost."""

    rule: str
    scores: Scores
    seconds: float

    @property
    def evaluations(self) -> int:
        """Models evaluated on the whole validation set."""
        return int(self.scores.diagnostics.get("evaluations", 0))

    @property
    def gradients(self) -> int:
        """Gradients on the whole validation set."""
        return int(self.scores.diagnostics.get("gradients", 0))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a rule's scores are from another's."""

    rank: float  # Spearman's, NaN where it means nothing
    distance: float  # relative L2, of scores scaled to the same sum where both sums are above 0


def run_rule(rule: str, scorer: Scorer, inputs: RoundInputs, *, rng: np.random.Generator) -> RuleResult:
    """Score a round by a rule.

    Args:
        rule: Its label.
        scorer: The rule.
        inputs: Of the round.
        rng: It draws from.
    """
    started = time.perf_counter()
    scores = scorer.score(inputs, rng=rng)
    return RuleResult(rule=rule, scores=scores, seconds=time.perf_counter() - started)


def agreement(result: RuleResult, reference: RuleResult) -> Agreement:
    """How one rule's scores agree with the reference's."""
    values, target = result.scores.values, reference.scores.values
    if values.sum() > 0 and target.sum() > 0:
        values = values * (target.sum() / values.sum())
    return Agreement(rank=rank_correlation(values, target), distance=relative_l2(values, target))


def reference_of(results: Sequence[RuleResult]) -> RuleResult:
    """The rule that others are held against: exact Shapley where it is there, else the first."""
    return next((result for result in results if result.rule.split()[0] == "shapley"), results[0])
