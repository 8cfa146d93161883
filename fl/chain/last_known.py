"""What was last read of a chain, for those who must not wait for it: each request's thread, of which there are few.

One thread of its own reads, while anybody asks. Who asks gets what is known, with its age; only where that is old because nobody
had asked does one wait a moment for the reading that is under way, and only a few do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

_Value = TypeVar("_Value")
_WANTED_S = 30.0  # reading goes on for so long after somebody asked
_PATIENCE_S = 2.0  # for a reading that is under way
_MOST_WAITING = 4  # threads of a server that has 40


@dataclass(frozen=True, kw_only=True)
class Known(Generic[_Value]):
    """What is known."""

    value: _Value | None  # None before the first reading
    age_s: float
    problem: str = ""  # the kind of error that kept the last reading from being one


class LastKnown(Generic[_Value]):
    """Reads again and again, in a thread of its own, for as long as somebody asks.

    Args:
        read: Asks the chain, and may take its time; what it raises is kept as the problem, by its type alone, since its words may
            carry the address of a paid RPC service, which is a key.
        every_s: Between two readings.
    """

    def __init__(self, read: Callable[[], _Value], *, every_s: float) -> None:
        self._read, self._every_s = read, every_s
        self._changed = threading.Condition()
        self._value: _Value | None = None
        self._read_at = self._asked_at = float("-inf")
        self._problem = ""
        self._reading, self._waiting = False, 0

    def get(self) -> Known[_Value]:
        """What is known now."""
        with self._changed:
            self._asked_at = time.monotonic()
            # Behind by a reading or two: nobody asked for a while, or the chain is slow.
            behind = self._asked_at - self._read_at > 2 * self._every_s
            if not self._reading:
                self._start_reading()
            if behind and not self._problem and self._waiting < _MOST_WAITING:
                self._waiting += 1
                before = self._read_at
                self._changed.wait_for(lambda: self._read_at != before or self._problem, timeout=_PATIENCE_S)
                self._waiting -= 1
                if self._read_at == before and not self._problem:
                    self._problem = "SlowChain"  # the next ones do not wait
            return Known(value=self._value, age_s=max(0.0, time.monotonic() - self._read_at), problem=self._problem)

    def _start_reading(self) -> None:
        try:
            threading.Thread(target=self._keep_reading, name="last known", daemon=True).start()
        except RuntimeError as error:  # no more threads on this machine: the next who asks tries again
            self._ended(error)
        else:
            self._reading = True

    def _keep_reading(self) -> None:
        try:
            while self._read_once():
                time.sleep(self._every_s)
        except BaseException as error:
            # Not an Exception, so something wants this thread gone, such as SystemExit. Without this, whoever asks would
            # be told of the last reading for ever.
            with self._changed:
                self._reading = False
                self._ended(error)
                self._changed.notify_all()

    def _read_once(self) -> bool:
        """Read, unless nobody has asked for a while; whether to go on."""
        with self._changed:
            if time.monotonic() - self._asked_at > _WANTED_S:
                self._reading = False
                return False
        try:
            value, problem = self._read(), ""
        except Exception as error:  # whatever it is, whoever asks is told of it, and it is tried again
            value, problem = None, type(error).__name__
        with self._changed:
            self._problem = problem
            if not problem:
                self._value, self._read_at = value, time.monotonic()
            self._changed.notify_all()
        return True

    def _ended(self, error: BaseException) -> None:
        self._problem = type(error).__name__
        # By its type alone, as above: its words may carry a key.
        log.error("reading the chain stopped (%s); it starts again when somebody asks", self._problem)
