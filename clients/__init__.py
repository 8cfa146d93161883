"""The node that an owner runs: it trains on the owner's shard, signs what it sends, and keeps its receipts.

Nothing in `fl` but its node commands imports this package; the coordinator only ever meets it through Flower messages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.signing import sign_updates

__all__ = ["sign_updates"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the SuperNode's process is started from this package and needs none of it.
    if name == "sign_updates":
        return importlib.import_module("clients.signing").sign_updates
    raise AttributeError(f"module 'clients' has no attribute {name!r}")
