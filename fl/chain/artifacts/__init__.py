"""ABI and bytecode of the contracts, compiled by `fl compile` and shipped, so that deploying needs no compiler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str  # 0x hex of the creation code


@cache
def artifact(name: str) -> Artifact:
    """The artifact of a contract: Fairshare or DevToken."""
    content = json.loads((resources.files(__name__) / f"{name}.json").read_text())
    return Artifact(name=name, abi=content["abi"], bytecode=content["bytecode"])
