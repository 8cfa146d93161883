"""A run's figures, round by round, in the tools where people already look: `fl run loggers=[tensorboard,mlflow]`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fl.errors import ConfigError, FairshareError
from fl.report.loggers.figures import figures_of

if TYPE_CHECKING:  # torch comes with them, and names are checked before a command waits for it
    from fl.coordinator.result import Watcher
    from fl.coordinator.round.report import RoundReport
    from fl.scoring.game import Evaluation

__all__ = ["KNOWN", "LoggerMissing", "RoundLogger", "check_loggers", "figures_of", "logged", "open_loggers"]

# logger -> (package that it needs, and its import name)
KNOWN = {"tensorboard": ("tensorboard", "tensorboard"), "mlflow": ("mlflow-skinny", "mlflow")}


class RoundLogger(Protocol):
    """Takes the figures of a run to one tool."""

    def log(self, figures: Mapping[str, float], *, round_number: int) -> None:
        """Take the figures of one round, 1 or later."""

    def close(self, *, finished: bool) -> None:
        """Write what is left; `finished` is False for a run that failed or was interrupted."""


class LoggerMissing(FairshareError):
    """A logger's package is not installed."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(name, package)
        self.name, self.package = name, package

    def __str__(self) -> str:
        return (
            f"loggers has {self.name}, whose package {self.package} is not installed; run "
            f"`pip install 'fairshare[{self.name}]'` or leave it out"
        )


def check_loggers(names: Sequence[str]) -> None:
    """Raises: ConfigError for an unknown or repeated logger; LoggerMissing."""
    for name in names:
        if name not in KNOWN:
            raise ConfigError(f"loggers has {name!r}; choose from {', '.join(KNOWN)}, as in loggers=[tensorboard]")
        if importlib.util.find_spec(KNOWN[name][1]) is None:
            raise LoggerMissing(name=name, package=KNOWN[name][0])
    if len(set(names)) < len(names):
        raise ConfigError(f"loggers is [{','.join(names)}]; name each once")


def open_loggers(names: Sequence[str], *, folder: Path, settings: Mapping[str, Any]) -> list[RoundLogger]:
    """Open the loggers of a run.

    Args:
        names: As `check_loggers` takes them.
        folder: The run's own; its name is the run's name.
        settings: The run's configuration, nested as YAML is.
    """
    check_loggers(names)
    # Imported by name, since each needs a package that may be absent.
    return [
        importlib.import_module(f"fl.report.loggers.{name}_log").open_log(folder=folder, settings=settings)
        for name in names
    ]


W = TypeVar("W", bound="Watcher")


@contextmanager
def logged(watcher: W, *, loggers: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> Iterator[W]:
    """A watcher that passes everything on and hands each round's figures to the loggers; they are closed at the end.

    Args:
        watcher: Gets everything first.
        loggers: Names of those that are asked for.
        folder: Of the run.
        settings: Of the run, for loggers that keep them.
    """
    opened = open_loggers(loggers, folder=folder, settings=settings)

    def on_round(report: RoundReport, test: Evaluation) -> None:
        figures = figures_of(report, test)
        for logger in opened:
            logger.log(figures, round_number=report.round)
        watcher.on_round(report, test)

    finished = False
    try:
        yield replace(watcher, on_round=on_round)
        finished = True
    finally:
        for logger in opened:
            logger.close(finished=finished)
