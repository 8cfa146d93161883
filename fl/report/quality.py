"""How good a model is, as people are told: accuracy where rows are right or wrong, perplexity of a language model, else the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl.report.wording import loss, percent

if TYPE_CHECKING:  # a page needs no torch
    from fl.scoring.game import Evaluation


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One measure on the test set."""

    name: str  # in a sentence
    key: str  # of a round in the summary
    initial: str  # of the totals
    write: Callable[[float], str]
    higher_is_better: bool

    def values(self, summary: dict[str, Any]) -> list[tuple[int, float]]:
        """The measure by round, that of the initial model at 0."""
        rounds = ((round_["round"], round_[self.key]) for round_ in summary["rounds"])
        return [(0, summary["totals"][self.initial]), *rounds]

    def first_and_last(self, summary: dict[str, Any]) -> tuple[str, str]:
        """As text."""
        values = self.values(summary)
        return self.write(values[0][1]), self.write(values[-1][1])


def _perplexity(value: float) -> str:
    return f"{value:,.2f}" if math.isfinite(value) else "not finite"


ACCURACY = Quality(name="accuracy", key="accuracy", initial="initial_accuracy", write=percent, higher_is_better=True)
PERPLEXITY = Quality(
    name="perplexity", key="perplexity", initial="initial_perplexity", write=_perplexity, higher_is_better=False
)
TEST_LOSS = Quality(name="test loss", key="test_loss", initial="initial_loss", write=loss, higher_is_better=False)


def quality_of(summary: dict[str, Any]) -> Quality:
    """The measure that a run's task has."""
    for quality_ in (ACCURACY, PERPLEXITY):
        if summary["totals"].get(quality_.initial) is not None:
            return quality_
    return TEST_LOSS


def told(test: Evaluation) -> str:
    """An evaluation in two words."""
    if test.accuracy is not None:
        return f"accuracy {test.accuracy:.1%}"
    if test.perplexity is not None:
        return f"perplexity {_perplexity(test.perplexity)}"
    return f"test loss {loss(test.loss)}"
