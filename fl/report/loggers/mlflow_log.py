"""Figures as an MLflow run: on the server that MLFLOW_TRACKING_URI names, else in mlflow.db beside the runs' folders.

`mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` shows the latter (it is part of the full `mlflow` package).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from fl.report.loggers import RoundLogger

_EXPERIMENT = "fairshare"
_LONGEST = 500  # characters of a parameter's value; older servers refuse more


class MlflowLog:
    """Writes one MLflow run, named for the run's folder."""

    def __init__(self, *, folder: Path, settings: Mapping[str, Any]) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they tell of every table that they make
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(_EXPERIMENT)
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in _flat(settings)]
        self._client.log_batch(self._run, params=parameters)

    def log(self, figures: Mapping[str, float], *, round_number: int) -> None:
        """Log all figures of a round in one call."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, round_number) for name, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._run, status="FINISHED" if finished else "FAILED")


def open_log(*, folder: Path, settings: Mapping[str, Any]) -> RoundLogger:
    """Start an MLflow run."""
    return MlflowLog(folder=folder, settings=settings)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
