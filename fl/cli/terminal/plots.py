"""The plot of `fl score`: every client's score under every rule, with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from fl.chain.whole_file import write_whole
from fl.errors import ConfigError
from fl.scoring.analysis.compare import RuleResult

MOST_CLIENTS = 40  # beyond that the largest by the first rule
# Okabe and Ito's palette, which colour-blind readers tell apart, and markers for those who print in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "osD^vP*X"


def draw(path: Path, results: Sequence[RuleResult], *, names: Sequence[str], round_number: int) -> None:
    """Write the plot; scores are shares of each rule's absolute sum, so that rules in other units stand beside each other.

    Args:
        path: Of the picture; its ending says the format.
        results: One a rule.
        names: Of the clients.
        round_number: For the title.
    Raises: ConfigError for a file ending that no plot has.
    """
    import matplotlib as mpl  # noqa: PLC0415 - a second that other commands need not wait

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    if path.suffix not in (".svg", ".png", ".pdf"):
        raise ConfigError(f"plot is {path}; end it in .svg, .png or .pdf, or set plot=none")
    shown = np.argsort(-np.abs(results[0].scores.values), kind="stable")[:MOST_CLIENTS]
    shown.sort()
    with plt.rc_context({"svg.hashsalt": "fairshare", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(max(6.0, 1.1 + 0.55 * len(shown)), 4.2), layout="constrained")
        spread = 0.7 / max(1, len(results))
        for number, result in enumerate(results):
            total = float(np.abs(result.scores.values).sum()) or 1.0
            places = np.arange(len(shown)) + (number - (len(results) - 1) / 2) * spread
            errors = result.scores.errors
            bars = None if errors is None or not np.isfinite(errors).all() else 1.96 * errors[shown] / total
            axes.errorbar(
                places,
                result.scores.values[shown] / total,
                yerr=bars,
                fmt=_MARKERS[number % len(_MARKERS)],
                color=_COLOURS[number % len(_COLOURS)],
                markersize=5,
                capsize=2,
                label=result.rule,
            )
        axes.axhline(0, color="#888888", linewidth=0.8)
        labels = [names[place] if len(names[place]) <= 18 else names[place][:17] + "…" for place in shown]
        axes.set_xticks(np.arange(len(shown)), labels, rotation=45, ha="right")
        axes.set_ylabel("score, share of the rule's sum of |scores|")
        axes.set_title(f"Round {round_number}: scores by rule, 95 % intervals where known", fontsize=10)
        figure.legend(loc="outside lower center", fontsize=8, ncols=min(4, len(results)))
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        drawn = BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], metadata=metadata, dpi=150)
        plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, drawn.getvalue())  # in place of what is there, be it a link to somewhere else
