"""How long an update counts at most, and how far a cap alone is from the updates that it should hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fl.codec import Blocks
from fl.rewards import Participant, cap_q64, length_of, norm_q64
from fl.task.spec import TaskSpec

LOOSE = 3  # times the median update's norm from which a cap is told to hold nobody back


def agreed_length(participants: Sequence[Participant], *, spec: TaskSpec) -> int:
    """The length of a round by its task's spec, in units of 2^−64: what a longer update is held to."""
    return length_of(participants, cap=cap_q64(spec.norm_cap), median=spec.length == "median")


def length_factor(blocks: Blocks, *, length: int) -> float:
    """What a round's length leaves of an update, from 0 to 1."""
    norm = norm_q64(blocks)
    return length / norm if norm > length else 1.0


def loose_cap(updates: Iterable[Blocks], *, cap: str) -> str | None:
    """A warning in words if a cap that stands alone is several times a round's median update; None if it is near.

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
        f"to that; leave task.length=median, or open tasks like this one with a cap near the longest honest update, such as "
        f"{2 * median:.2g}"
    )
