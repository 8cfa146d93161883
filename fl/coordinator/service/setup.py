"""What a coordinator is started with, and what it tells while it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from fastapi import APIRouter
from starlette.types import ASGIApp

from fl.chain.invite import Invite
from fl.coordinator.config import CoordinatorConfig, RunConfig
from fl.coordinator.result import Watcher
from fl.task.data import Federation
from fl.task.spec import TaskSpec


@dataclass(kw_only=True)
class ServiceWatcher(Watcher):
    """What a view is told while the coordinator works."""

    on_invite: Callable[[Invite, Path], None] = lambda invite, path: None
    # clients wanted, joined and connected, before round 1
    on_waiting: Callable[[Mapping[str, int]], None] = lambda told: None
    # of the task's summary, from an earlier life of its coordinator
    earlier_rounds: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    # account, node_id, online, last_seen of each node
    on_nodes: Callable[[Sequence[Mapping[str, object]]], None] = lambda nodes: None
    on_end: Callable[[LocalAccount], None] = lambda account: None  # the task is over, and the gateway still answers


@dataclass(kw_only=True)
class Surfaces:
    """What else the gateway shows: made by the caller, since pages stand above this floor."""

    routers: Sequence[APIRouter] = ()
    pages: ASGIApp | None = None
    on_close: Callable[[], None] = lambda: None  # before the gateway stops, so that pages let go of who watches


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """What a coordinator works with from its first step to its last."""

    config: RunConfig
    folder: Path  # keeps everything
    watcher: ServiceWatcher
    data: Federation
    spec: TaskSpec

    @property
    def settings(self) -> CoordinatorConfig:
        """The coordinator's own."""
        return self.config.coordinator

    @property
    def bundles(self) -> Path:
        """One folder a round."""
        return self.folder / "bundles"

    @property
    def invite(self) -> Path:
        """Where the invite lies, or will: a folder that has one is taken up again."""
        return self.folder / "invite.json"
