"""Times the steps of one round, and tells whoever watches as each begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RoundClock:
    """Starts as the round is opened.

    Args:
        number: Of the round.
        on_phase: Called with the round and the name of each step as it begins; the first is `training`.
    """

    def __init__(self, number: int, *, on_phase: Callable[[int, str], None]) -> None:
        on_phase(number, "training")
        self.number, self.seconds = number, dict[str, float]()  # by step
        self._on_phase, self._opened = on_phase, time.perf_counter()

    def answered(self) -> None:
        """The nodes have answered, or had their time."""
        self.seconds = {"collecting": time.perf_counter() - self._opened}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Lasts as long as a step does."""
        self._on_phase(self.number, name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
