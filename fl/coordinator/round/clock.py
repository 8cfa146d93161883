"""Times the steps of one round, and tells whoever watches as each begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Step = Literal[
    "collecting", "training", "signing", "checking", "masking", "scoring", "telling", "aggregating", "public step",
    "settling", "bundling", "evaluating", "posting", "reporting",
]  # fmt: skip
# What a round spends its time on, in its order; `masking` and `telling` are a masked round's, which checks as it masks.
STEPS: dict[Step, str] = {
    "collecting": "send the model and wait for all updates; training and signing lie inside",
    "training": "on the clients, summed over them",
    "signing": "blocks, hash and signature on the clients, summed over them",
    "checking": "signature, root, round, base and enrolment of each update",
    "masking": "the clients' masked words, checked, and the shares that unmask their sum",
    "scoring": "weights, the round's direction and, but in a masked round, every update's score",
    "telling": "what the masks come to along the direction, and with it every update's score",
    "aggregating": "the wrapped Flower strategy",
    "public step": "what everybody knows, taken by the protocol itself",
    "settling": "totals, price, pay and the round tree",
    "bundling": "write and hash the bundle",
    "evaluating": "evaluators recompute the round and sign its header",
    "posting": "the transaction, and receipts for the clients",
    "reporting": "losses for this report",
}
WITHIN_COLLECTING: tuple[Step, ...] = ("training", "signing")
# What being paid costs, beside training and the strategy's own arithmetic.
PAYING: tuple[Step, ...] = tuple(
    step for step in STEPS if step not in ("collecting", "training", "aggregating", "reporting")
)


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
    def step(self, name: Step) -> Iterator[None]:
        """Lasts as long as a step does."""
        self._on_phase(self.number, name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
