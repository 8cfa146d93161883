"""A round as flat names and numbers, the same for every tool."""

from __future__ import annotations

from fl.chain.tokens import WEI
from fl.coordinator.round.report import RoundReport
from fl.rewards import SCORE_FRACTION_BITS
from fl.scoring.game import Evaluation


def figures_of(report: RoundReport, test: Evaluation) -> dict[str, float]:
    """The figures of one round.

    Returns: name → number. Losses and scores in units of the loss, pay in tokens, times in seconds; `score/` and `pay/`
    hold one figure for each account.
    """
    return {
        "accuracy": test.accuracy,
        "loss/test": test.loss,
        "loss/validation_before": report.loss_before,
        "loss/validation_after": report.loss_after,
        "paid": sum(report.pays.values()) / WEI,
        "accepted": len(report.scores),
        "refused": len(report.refusals),
        "gas/post": report.gas,
        **{f"seconds/{step}": seconds for step, seconds in report.seconds.items()},
        **{f"score/{account}": score / (1 << SCORE_FRACTION_BITS) for account, score in report.scores.items()},
        **{f"pay/{account}": pay / WEI for account, pay in report.pays.items()},
    }
