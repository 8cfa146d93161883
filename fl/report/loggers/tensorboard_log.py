"""Figures as TensorBoard events in the run's folder: `tensorboard --logdir runs` shows all runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from fl.report.loggers import RoundLogger


class TensorBoardLog:
    """Writes to `tensorboard/` in the run's folder."""

    def __init__(self, *, folder: Path, settings: Mapping[str, Any]) -> None:
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("settings", f"```yaml\n{yaml.safe_dump(dict(settings), sort_keys=False)}```")

    def log(self, figures: Mapping[str, float], *, round_number: int) -> None:
        """Add each figure to its curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, round_number)
        self._writer.flush()  # who watches a run wants this round now

    def close(self, *, finished: bool) -> None:
        """Close the file; TensorBoard has no word for a run that failed."""
        self._writer.close()


def open_log(*, folder: Path, settings: Mapping[str, Any]) -> RoundLogger:
    """Start the run's events."""
    return TensorBoardLog(folder=folder, settings=settings)
