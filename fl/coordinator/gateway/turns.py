"""Turns at something that does few things at once, shared fairly: who asks a lot waits for itself, not others for it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooMany(Exception):
    """Somebody has too much under way already."""


class Turns:
    """At most `at_once` turns, given to those who wait one after the other, whatever each of them waits for.

    Args:
        at_once: Turns at a time.
        of_one: Turns at a time that one asker has.
        waiting_of_one: What one asker may have waiting beside them.
    """

    def __init__(self, at_once: int, *, of_one: int, waiting_of_one: int) -> None:
        self.at_once, self.of_one, self.waiting_of_one = at_once, of_one, waiting_of_one
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose turn is next comes first

    @asynccontextmanager
    async def turn(self, asker: str) -> AsyncIterator[None]:
        """A turn, for as long as the context lasts. Raises: TooMany."""
        await self.take(asker)
        try:
            yield
        finally:
            self.give_back(asker)

    async def take(self, asker: str) -> None:
        """Wait for a turn. Raises: TooMany."""
        if self._running.total() < self.at_once and self._running[asker] < self.of_one:
            self._running[asker] += 1
            return
        queue = self._waiting.setdefault(asker, deque())
        if len(queue) >= self.waiting_of_one:
            raise TooMany
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled() or not turn.done():
                self._forget(asker, turn)
            else:
                self.give_back(asker)
            raise

    def give_back(self, asker: str) -> None:
        """End a turn, and begin that of whoever is next."""
        self._running[asker] -= 1
        if not self._running[asker]:
            del self._running[asker]
        for waiting in list(self._waiting):
            if self._running.total() >= self.at_once:
                return
            if self._running[waiting] >= self.of_one:
                continue
            queue = self._waiting.pop(waiting)
            self._running[waiting] += 1
            queue.popleft().set_result(None)
            if queue:
                self._waiting[waiting] = queue  # behind everybody else

    def _forget(self, asker: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(asker, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._waiting.pop(asker, None)
