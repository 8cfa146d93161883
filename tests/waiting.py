"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

DEADLINE_S = 400.0  # of anything that another process does, on a machine that is busy


def wait_for(found: Callable[[], object], *, what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> object:
    """Poll until something is there, and give it back."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"within {deadline_s:.0f} s not: {what() if callable(what) else what}")
