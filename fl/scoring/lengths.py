"""How long updates are beside the norm cap: whoever makes its own update longer is paid in proportion, up to the cap."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fl.codec import Blocks
from fl.rewards import cap_q64, norm_q64

LOOSE = 3  # times the median update's norm from which a cap is told to hold nobody back


def loose_cap(updates: Iterable[Blocks], *, cap: str) -> str | None:
    """A warning in words if the cap is several times a round's median update; None if it is near, or nothing was sent.

    Args:
        updates: A round's accepted updates.
        cap: The spec's norm cap, as its decimal.
    """
    norms = [norm / 2**64 for norm in map(norm_q64, updates) if norm]
    median = float(np.median(norms)) if norms else 0.0
    if not norms or (room := cap_q64(cap) / 2**64 / median) <= LOOSE:
        return None
    # The median, since the longest may be somebody's who scaled.
    return (
        f"task.norm_cap is {cap}, {room:.1f} times the median update ({median:.3g}): whoever scales its own update is paid for up "
        f"to that; open tasks like this one with a cap near the longest honest update, such as {2 * median:.2g}"
    )
