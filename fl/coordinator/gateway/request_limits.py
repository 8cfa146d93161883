"""What a stranger may take of the gateway: time, connections and disk, each within limits, and never a call to the SuperLink.

A request's body is read to its end before anything is done with it, so that a peer that is slow, by nature or on purpose, keeps
nobody but itself waiting.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

from starlette.requests import Request
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_FIRST_S = 60.0  # until the first bytes of a body count, and for an answer of any size
_SLOWEST = 8 << 10  # bytes per second that a peer has to manage after that
_STALLED_S = 60.0  # of a peer that neither sends nor takes anything
_HEAD_S = 30.0  # from a connection's opening, or a request's first byte, to the end of the request's head
_IN_MEMORY = 1 << 20  # bytes of a body; a longer one goes to disk
_PART = 1 << 18  # bytes
_MOST_HELD = 8 << 30  # bytes of all bodies together that are on their way
_MOST_HELD_OF_ONE = 2 << 30  # of one peer's, which may be a proxy for many
_MOST_OF_ONE = 500  # connections of one peer


class TooLarge(Exception):
    """A request's body outgrew its limit."""


class TooSlow(Exception):
    """A peer takes longer than anybody has to."""


class TooMuch(Exception):
    """There is no room for more bodies now."""


class Intake:
    """Reads bodies, and knows how much of them each peer keeps here.

    Args:
        folder: Takes what is too long for memory, without a name; the system's own for such files if not given.
        most: Bytes that all bodies together may have.
        most_of_one: Bytes that one peer's may have.
    """

    def __init__(
        self, folder: Path | None = None, *, most: int = _MOST_HELD, most_of_one: int = _MOST_HELD_OF_ONE
    ) -> None:
        self._folder, self._most, self._most_of_one = folder, most, most_of_one
        self._held: Counter[str] = Counter()  # bytes by peer

    async def read(self, request: Request, *, largest: int) -> Held:
        """The whole body. Raises: TooLarge; TooSlow; TooMuch; ClientDisconnect."""
        body = Held(self._folder, held=self._held, peer=request.client.host if request.client else "?")
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(started + _FIRST_S) as limit:
                async for part in request.stream():
                    if body.size + len(part) > largest:
                        raise TooLarge
                    of_one, of_all = self._held[body.peer] + len(part), self._held.total() + len(part)
                    if of_one > self._most_of_one or of_all > self._most:
                        raise TooMuch
                    body.write(part)
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(min(now + _STALLED_S, started + allowed_s(body.size)))
        except TimeoutError:
            body.close()
            raise TooSlow from None
        except BaseException:
            body.close()
            raise
        return body


class Held:
    """A body that is here, in memory or on disk; to be closed.

    Args:
        folder: As that of `Intake`.
        held: Counts its bytes, under the name of the peer that sent it.
    """

    def __init__(self, folder: Path | None = None, *, held: Counter[str] | None = None, peer: str = "") -> None:
        self.peer, self.size = peer, 0
        self._held = Counter() if held is None else held
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=folder)  # noqa: SIM115 (`close`)

    def write(self, part: bytes) -> None:
        """Add to it."""
        self._file.write(part)
        self.size += len(part)
        self._held[self.peer] += len(part)

    def bytes(self) -> bytes:
        """All of it."""
        self._file.seek(0)
        return self._file.read()

    async def parts(self) -> AsyncIterator[bytes]:
        """All of it, from its beginning."""
        self._file.seek(0)
        while part := self._file.read(_PART):
            yield part

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
        self._held[self.peer] -= self.size
        if self._held[self.peer] <= 0:
            del self._held[self.peer]
        self.size = 0


def allowed_s(size: int) -> float:
    """Seconds that a peer may take to send or to fetch so many bytes."""
    return _FIRST_S + size / _SLOWEST


class PromptProtocol(AutoHTTPProtocol):
    """A connection that is closed if it asks for nothing: uvicorn's own waits for a request's head for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Uvicorn's; a peer that has too many connections loses this one at once."""
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        if (
            sum(self.client[:1] == one.client[:1] for one in self.connections if self.client and one.client)
            > _MOST_OF_ONE
        ):
            transport.abort()  # closed in order, it would stay until the peer agrees
        else:
            self._expect()

    def data_received(self, data: bytes) -> None:
        """Uvicorn's."""
        super().data_received(data)
        if self._in_head():
            self._expect()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Uvicorn's."""
        self._forget()
        super().connection_lost(exc)

    def _in_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(_HEAD_S, self._give_up)

    def _forget(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        upgraded: Any = self.transport.get_protocol() is not self  # to a WebSocket
        if self._in_head() and not upgraded:
            self.transport.close()
