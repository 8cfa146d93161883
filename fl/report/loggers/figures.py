"""A round as flat names and numbers, the same for every tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl.chain.tokens import WEI
from fl.rewards import HIGHEST_PRICE, SCORE_FRACTION_BITS, price_of

if TYPE_CHECKING:
    from fl.coordinator.round.report import RoundReport
    from fl.scoring.game import Evaluation


def figures_of(report: RoundReport, test: Evaluation) -> dict[str, float]:
    """The figures of one round.

    Returns: name → number. Losses, scores and totals in units of the loss, pay in tokens, the price in tokens for 1.0 of loss,
    times in seconds; `score/`, `total/` (all scores so far), `factor/` (what the round's length left of an update) and `pay/`
    hold one figure for each account. The price is left out where nobody's total is above zero.
    """
    return {
        **({} if test.accuracy is None else {"accuracy": test.accuracy}),
        **({} if test.perplexity is None else {"perplexity": test.perplexity}),
        "loss/test": test.loss,
        "loss/validation_before": report.loss_before,
        "loss/validation_aggregated": report.loss_aggregated,
        "loss/validation_after": report.loss_after,
        **({} if report.public_rate is None else {"public_rate": report.public_rate}),
        **({} if report.header.price == HIGHEST_PRICE else {"price": price_of(report.header.price)}),
        "paid": sum(report.pays.values()) / WEI,
        "accepted": len(report.scores),
        "refused": len(report.refusals),
        "gas/post": report.gas,
        **{f"seconds/{step}": seconds for step, seconds in report.seconds.items()},
        **{f"score/{account}": score / (1 << SCORE_FRACTION_BITS) for account, score in report.scores.items()},
        **{f"total/{leaf.account}": leaf.total / (1 << SCORE_FRACTION_BITS) for leaf in report.leaves},
        **{f"factor/{account}": factor for account, factor in report.factors.items()},
        **{f"pay/{account}": pay / WEI for account, pay in report.pays.items()},
    }
