"""What a task's terms have frozen: settings that a second start of its coordinator may not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fl.coordinator.config import RunConfig
from fl.errors import ConfigError

# What a coordinator may say anew: how it is reached, how long it waits, what it keeps and shows. `data.path` may have moved;
# that the rows are the same is checked by their hash.
_FREE = ("coordinator.", "chain.", "engine.", "loggers", "name", "data.path", "scorer.read_clients")
_NOT_FREE = ("coordinator.evaluators", "coordinator.clients")


class OtherSettings(ConfigError):
    """A task that is open was started again with other settings."""

    def __init__(self, folder: str, changes: list[str]) -> None:
        super().__init__(folder, changes)
        self.folder, self.changes = folder, changes

    def __str__(self) -> str:
        return (
            f"{self.folder} holds a task that was opened with other settings: {'; '.join(self.changes)}; start it without "
            "them, or open another task with folder=NAME"
        )


def check_frozen(before: RunConfig, now: RunConfig, *, folder: str) -> None:
    """Hold the settings of a start against those that the folder's task was opened with.

    Args:
        before: The settings of the first start.
        now: Those of this one.
        folder: Of the task, for messages.
    Raises: OtherSettings that names each difference.
    """
    old, new = dict(_flat(asdict(before))), dict(_flat(asdict(now)))
    changes = [
        f"{key} was {_shown(old.get(key))} and is {_shown(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and (key in _NOT_FREE or not key.startswith(_FREE))
    ]
    if changes:
        raise OtherSettings(folder=folder, changes=changes)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: object) -> str:
    return "not set" if value in (None, "", [], {}) else str(value)
