"""Fairshare: federated learning that pays its clients what their updates were worth.

The names below are the face of the library; each is found where its module says. They are imported when they are first used,
so that `import fl` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fl.audit.evaluators.local import Evaluator
    from fl.chain.deployment import Deployment
    from fl.chain.invite import Invite
    from fl.chain.paid_task import PaidTask
    from fl.coordinator.round.strategy import PayingStrategy
    from fl.coordinator.wrap import paying
    from fl.errors import ConfigError, FairshareError
    from fl.scoring.direction import direction
    from fl.scoring.game import ValidationGame
    from fl.task.spec import TaskSpec

__all__ = [
    "ConfigError",
    "Deployment",
    "Evaluator",
    "FairshareError",
    "Invite",
    "PaidTask",
    "PayingStrategy",
    "TaskSpec",
    "ValidationGame",
    "direction",
    "paying",
]

_HOMES = {
    "ConfigError": "fl.errors",
    "Deployment": "fl.chain.deployment",
    "Evaluator": "fl.audit.evaluators.local",
    "FairshareError": "fl.errors",
    "Invite": "fl.chain.invite",
    "PaidTask": "fl.chain.paid_task",
    "PayingStrategy": "fl.coordinator.round.strategy",
    "TaskSpec": "fl.task.spec",
    "ValidationGame": "fl.scoring.game",
    "direction": "fl.scoring.direction",
    "paying": "fl.coordinator.wrap",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
