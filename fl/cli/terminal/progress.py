"""What a run shows in the terminal: a progress bar per round, and the table of who was paid what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from fl.chain.tokens import WEI
from fl.coordinator.round.report import RoundReport
from fl.coordinator.run import Watcher
from fl.scoring.game import Evaluation
from fl.task.behaviour import FREE_RIDE, LABEL_FLIP, check_behaviour

# The steps of a round after its training, as the strategy names them.
_STEPS = ("checking", "aggregating", "scoring", "settling", "bundling", "evaluating", "posting", "reporting")


class ProgressView:
    """Progress bars while the run lasts; use it as a context."""

    def __init__(self, *, rounds: int) -> None:
        self.console = Console()
        self._rounds = rounds
        self._clients = 0
        self._bars: dict[int, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            TextColumn("{task.fields[note]}"),
            TextColumn("{task.elapsed:.1f} s"),
            console=self.console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        self._setup = self._progress.add_task("set-up", total=None, note="")
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def watcher(self) -> Watcher:
        """The callbacks of this view."""
        return Watcher(
            on_setup=self._on_setup, on_phase=self._on_phase, on_reply=self._on_reply, on_round=self._on_round
        )

    def show_table(self, summary: dict[str, Any], *, folder: Path) -> None:
        """Who was paid what, and what it came to."""
        rounds = summary["totals"]["rounds"]
        table = Table(
            title=f"Paid by score, {rounds} round{'s' * (rounds != 1)}", title_justify="left", box=SIMPLE_HEAD
        )
        for name in ("client", "account"):
            table.add_column(name, no_wrap=True)
        for name in ("shard", "stake", "score", "earned", "claimed", "balance"):
            table.add_column(name, justify="right", no_wrap=True)
        for client in summary["clients"]:
            table.add_row(
                client["name"] + ("" if client["behaviour"] == "honest" else " *"),
                client["account"][:6] + "…",
                str(client["samples"]),
                f"{client['stake_share']:.1%}",
                f"{client['score']:+.4f}" if int(client["score_q40"]) else "0",
                _tokens(client["paid_wei"]),
                _tokens(client["claimed_wei"]),
                _tokens(client["balance_wei"]),
            )
        self.console.print(table)
        for client in summary["clients"]:
            if client["behaviour"] != "honest":
                self.console.print(f"* {client['name']} {_told(client['behaviour'])}")
        if summary["task"]["attested"]:
            self.console.print(
                f"scores by {summary['task']['scorer']}: attested by evaluators, not provable on chain", highlight=False
            )
        totals = summary["totals"]
        empty = [one for one in summary["rounds"] if not one["scores"]]
        if empty:
            reasons = {refusal["reason"] for one in empty for refusal in one["refusals"]}
            self.console.print(f"no update was accepted in {len(empty)} rounds: {'; '.join(sorted(reasons)[:3])}")
        self.console.print(
            f"accuracy {totals['initial_accuracy']:.1%} → {totals['final_accuracy']:.1%}, "
            f"paid {_tokens(totals['paid_wei'])} of {_tokens(totals['budget_wei'])} tokens in {totals['seconds']:.1f} s"
        )
        self.console.print(f"report: {folder / 'report.html'}", soft_wrap=True)

    def _on_setup(self, what: str) -> None:
        self._progress.update(self._setup, description=what)

    def _on_phase(self, number: int, phase: str) -> None:
        if number not in self._bars:
            self._progress.update(self._setup, visible=False)
            self._bars[number] = self._progress.add_task(f"round {number:>2}/{self._rounds}", total=None, note="")
        bar = self._bars[number]
        if phase in _STEPS:
            if phase == _STEPS[0]:
                # Now it is known how many answered: training is the first half of the bar.
                self._progress.update(bar, total=2 * len(_STEPS), completed=len(_STEPS))
            else:
                self._progress.advance(bar)
        self._progress.update(bar, note=phase)

    def _on_reply(self, node_id: int) -> None:
        self._clients += 1
        bar = self._bars[max(self._bars)]
        self._progress.update(bar, note=f"training, {self._clients} answered")

    def _on_round(self, report: RoundReport, test: Evaluation) -> None:
        self._clients = 0
        refused = f"  {len(report.refusals)} refused" if report.refusals else ""
        note = (
            f"accuracy {test.accuracy:5.1%} loss {report.loss_before:.3f}→{report.loss_after:.3f} "
            f"paid {sum(report.pays.values()) / WEI:.2f}{refused}"
        )
        self._progress.update(self._bars[report.round], total=1, completed=1, note=note)
        if report.round == self._rounds:
            self._progress.update(self._setup, visible=True)


def _told(behaviour: str) -> str:
    name, share = check_behaviour(behaviour)
    return {FREE_RIDE: "sends its base model back unchanged", LABEL_FLIP: f"has {share:.0%} of its labels flipped"}[
        name
    ]


def _tokens(wei: str | int) -> str:
    return f"{int(wei) / WEI:,.2f}"
