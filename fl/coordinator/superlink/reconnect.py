"""Waits for nodes that were all gone at once, so that the first one that is back does not have the pot for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Set

from fl.chain.errors import ChainUnreachable


def wait_for_return(
    look: Callable[[], tuple[Set[str], Set[str]]], *, rejoin_s: float, poll_s: float, say: Callable[[str], None]
) -> list[str]:
    """Wait until everybody who weighs in the next round is connected.

    A strategy samples as soon as one node is there, and after a stop, or when the line broke, nodes come back one
    by one, in half a minute. Who stays away is not waited for: the time runs from when the first one is back.

    Args:
        look: Tells the accounts that weigh, and those that are connected. That the chain is unreachable ends nothing: the
            line that took the nodes away may be the chain's too.
        rejoin_s: Seconds that the others have once the first is back.
        poll_s: Seconds between two looks.
        say: Told how many are back, whenever that changes.
    Returns: accounts that are still away, ascending.
    """
    told, until = None, None
    while True:
        try:
            weighing, connected = look()
        except ChainUnreachable as error:
            say(f"waiting for nodes to come back: {error}")
            time.sleep(poll_s)
            continue
        absent = sorted(weighing - connected)
        if (len(weighing), len(absent)) != told:
            told = (len(weighing), len(absent))
            say(f"waiting for nodes to come back: {len(weighing) - len(absent)} of {len(weighing)} connected")
        if until is None and len(absent) < len(weighing):
            until = time.monotonic() + rejoin_s
        if not absent or (until is not None and time.monotonic() >= until):
            return absent
        time.sleep(poll_s)
