"""Waits for the nodes of a task that is taken up again, so that the first one that is back does not have the pot for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Set


def wait_for_return(
    look: Callable[[], tuple[Set[str], Set[str]]], *, rejoin_s: float, poll_s: float, say: Callable[[str], None]
) -> list[str]:
    """Wait until everybody who weighs in the next round is connected.

    A strategy samples as soon as one node is there, and after a stop nodes come back one by one, in half a minute. Who stays
    away is not waited for: the time runs from when the first one is back.

    Args:
        look: Tells the accounts that weigh, and those that are connected.
        rejoin_s: Seconds that the others have once the first is back.
        poll_s: Seconds between two looks.
        say: Told how many are back, whenever that changes.
    Returns: accounts that are still away, ascending.
    """
    told, until = None, None
    while True:
        weighing, connected = look()
        absent = sorted(weighing - connected)
        if (len(weighing), len(absent)) != told:
            told = (len(weighing), len(absent))
            say(f"waiting for nodes to come back: {len(weighing) - len(absent)} of {len(weighing)} connected")
        if until is None and len(absent) < len(weighing):
            until = time.monotonic() + rejoin_s
        if not absent or (until is not None and time.monotonic() >= until):
            return absent
        time.sleep(poll_s)
