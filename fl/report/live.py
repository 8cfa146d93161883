"""The summary while a run goes on: rewritten at every step, so that a page or a person can watch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from fl.chain.json_file import write_json
from fl.coordinator.config import RunConfig
from fl.coordinator.result import FederationResult, Watcher
from fl.coordinator.round.report import RoundReport
from fl.foreign.files import Unreadable, read_file
from fl.foreign.json_text import BadJson, read_json
from fl.report.summary import SUMMARY, summarise
from fl.scoring.game import Evaluation

log = logging.getLogger(__name__)

W = TypeVar("W", bound=Watcher)

_MOST_SUMMARY = 256 << 20  # bytes


class LiveSummary:
    """Keeps `summary.json` of a run up to date.

    Args:
        config: Of the run.
        folder: Of the run. If it holds a summary of the same task, from an earlier life of its coordinator, its rounds stay.
    """

    def __init__(self, config: RunConfig, *, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._result: FederationResult | None = None
        self._earlier: list[dict[str, Any]] = []
        self._seconds_before = 0.0  # that earlier lives of the coordinator worked
        self._now: dict[str, Any] = {"round": 0, "phase": "enrolling", "since": int(time.time()), "nodes": []}
        self._status = "running"
        self.over = False  # the run is finished, and nothing is written any more
        self._lock = threading.Lock()  # nodes come and go on another thread than rounds

    def watching(self, watcher: W) -> W:
        """The watcher, with this summary behind it."""

        def on_task(result: FederationResult) -> None:
            self._begin(result)
            watcher.on_task(result)

        def on_phase(number: int, phase: str) -> None:
            self._set(round=number, phase=phase, since=int(time.time()))
            watcher.on_phase(number, phase)

        def on_round(report: RoundReport, test: Evaluation) -> None:
            # A round that was reported and killed before it was forgotten comes again.
            first = self._begun().rounds[0].round
            self._earlier = [earlier for earlier in self._earlier if earlier["round"] < first]
            self._set()
            watcher.on_round(report, test)

        return replace(watcher, on_task=on_task, on_phase=on_phase, on_round=on_round)

    def earlier_rounds(self) -> list[dict[str, Any]]:
        """Rounds of the task from an earlier life of its coordinator, as they were summed up."""
        return self._earlier

    def show_nodes(self, nodes: Sequence[Mapping[str, object]]) -> None:
        """Say which nodes are there; written only when that changed."""
        there = [(node["account"], node["online"]) for node in nodes]
        if there != [(node["account"], node["online"]) for node in self._now["nodes"]]:
            self._set(nodes=list(nodes))

    def finished(self) -> dict[str, Any]:
        """The summary of the finished run, which nothing is written over any more."""
        with self._lock:
            self.over = True
        summary = summarise(self._config, self._begun(), folder=self._folder, earlier=self._earlier)
        summary["totals"]["seconds"] += self._seconds_before
        return summary

    def failed(self, reason: str) -> None:
        """Say that the run ended before its time; what it came to so far stays, and a run that is finished stays so."""
        self._status = "failed"
        self._set(reason=reason)

    def _begin(self, result: FederationResult) -> None:
        self._result = result
        try:
            before = read_json(read_file(self._folder / SUMMARY, most=_MOST_SUMMARY), most=_MOST_SUMMARY)
            if before["task"]["id"] == "0x" + result.task_id.hex():
                self._earlier, self._seconds_before = before["rounds"], float(before["totals"]["seconds"])
        except (Unreadable, BadJson, KeyError, TypeError):
            pass  # the first life
        self._set()

    def _begun(self) -> FederationResult:
        if self._result is None:
            raise ValueError("the task was not told yet; call the watcher's on_task first")
        return self._result

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._now = {**self._now, **changes}
            if self._result is None or self.over:
                return
            live = summarise(self._config, self._result, folder=self._folder, live=self._now, earlier=self._earlier)
            live["totals"]["seconds"] += self._seconds_before
            try:
                write_json(self._folder / SUMMARY, {**live, "status": self._status})
            except OSError as error:  # what is only shown ends no run; the next step writes it again
                log.warning("%s is behind: %s", self._folder / SUMMARY, error)
