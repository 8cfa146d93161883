"""What a run shows: a progress bar per round, or a line where the output is no terminal; and who was paid what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from fl.chain.tokens import two_places
from fl.cli.terminal.data_table import print_reading
from fl.cli.terminal.pay_table import notes, pay_table
from fl.coordinator.result import Watcher
from fl.coordinator.round.clock import STEPS, WITHIN_COLLECTING
from fl.coordinator.round.report import RoundReport
from fl.report.quality import quality_of, told
from fl.scoring.game import Evaluation

# The steps of a round after its training.
_STEPS = tuple(step for step in STEPS if step != "collecting" and step not in WITHIN_COLLECTING)


class ProgressView:
    """Progress bars while the run lasts; use it as a context.

    A file or a pipe gets a line for each round as it ends: bars that are drawn anew would come there once, at the end.
    """

    def __init__(self, *, rounds: int, console: Console | None = None) -> None:
        self.console = console or Console()
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
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        self._setup = self._progress.add_task("set-up", total=None, note="")
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.update(self._setup, visible=False)  # nothing is being set up, or claimed, any more
        self._progress.stop()

    def watcher(self) -> Watcher:
        """The callbacks of this view."""
        return Watcher(
            on_setup=self._on_setup,
            on_data=lambda reading: print_reading(reading, console=self.console),
            on_doubt=self._on_doubt,
            on_phase=self._on_phase,
            on_reply=self._on_reply,
            on_round=self._on_round,
        )

    def show_table(self, summary: dict[str, Any], *, folder: Path) -> None:
        """Who was paid what, and what it came to."""
        self.console.print(pay_table(summary))
        for line in notes(summary):
            # Words wrap in a terminal; a line of a file is a line.
            self.console.print(line, highlight=False, soft_wrap=not self.console.is_terminal)
        totals, quality = summary["totals"], quality_of(summary)
        first, last = quality.first_and_last(summary)
        self.console.print(
            f"{quality.name} {first} → {last}, "
            f"paid {two_places(int(totals['paid_wei']))} of {two_places(int(totals['budget_wei']))} tokens in {totals['seconds']:.1f} s"
        )
        self.console.print(f"report: {folder / 'report.html'}", soft_wrap=True)

    def _on_setup(self, what: str) -> None:
        self._progress.update(self._setup, description=what)

    def _on_doubt(self, told: str) -> None:
        self.console.print(f"note: {told}", highlight=False, soft_wrap=True)

    def _on_phase(self, number: int, phase: str) -> None:
        if number not in self._bars:
            self._progress.update(self._setup, visible=False)
            self._bars[number] = self._progress.add_task(f"round {number:>2}/{self._rounds}", total=None, note="")
        bar = self._bars[number]
        if phase in _STEPS:
            if phase in ("checking", "masking"):
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
            f"{told(test)} loss {report.loss_before:.3f}→{report.loss_after:.3f} "
            f"paid {two_places(sum(report.pays.values()))}{refused}"
        )
        bar = self._bars[report.round]
        self._progress.update(bar, total=1, completed=1, note=note)
        self._progress.stop_task(bar)  # its clock would run on, and show the time since the round began
        if self._progress.disable:
            took = self._progress.tasks[self._progress.task_ids.index(bar)].elapsed or 0.0
            line = f"round {report.round:>2}/{self._rounds}  {note}  {took:.1f} s"
            self.console.print(line, highlight=False, soft_wrap=True)
        if report.round == self._rounds:
            # What follows the rounds stands below them.
            self._progress.remove_task(self._setup)
            self._setup = self._progress.add_task("closing", total=None, note="")
