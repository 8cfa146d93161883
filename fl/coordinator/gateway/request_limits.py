"""What a stranger may take of the gateway: time, memory and disk, each within limits, and never a call to the SuperLink.

Every route has the same intake: a head of so many bytes within so many seconds, a body of a stated length that is read to its end
before anything is done with it, an answer that is taken in time. A peer that is slow, by nature or on purpose, keeps nobody but
itself waiting.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

_FIRST_S = 60.0  # until the first bytes of a body count, and for an answer of any size
_SLOWEST = 8 << 10  # bytes per second that a peer has to manage after that
_STALLED_S = 60.0  # of a peer that neither sends nor takes anything
_HEAD_S = 30.0  # from a connection's opening, or a request's first byte, to the end of the request's head
HEAD_BYTES = 32 << 10  # of a request's head
_IN_MEMORY = 256 << 10  # bytes of a body; a longer one goes to disk
_PART = 1 << 18  # bytes
_MOST_HELD = 8 << 30  # bytes of all bodies together that are on their way
_MOST_HELD_OF_ONE = 2 << 30  # of one peer's


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

    async def read(self, request: Request, *, largest: int, peer: str) -> Held:
        """The whole body.

        Args:
            request: Whose body is read.
            largest: Bytes that it may have.
            peer: Who sends it.
        Raises: TooLarge; TooSlow; TooMuch; ClientDisconnect.
        """
        body = self.held(peer)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(started + _FIRST_S) as limit:
                async for part in request.stream():
                    if body.size + len(part) > largest:
                        raise TooLarge
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

    def held(self, peer: str) -> Held:
        """An empty body of a peer's, to be written to and to be closed."""
        return Held(self, peer=peer, folder=self._folder)

    def take(self, peer: str, size: int) -> None:
        """Count bytes that come. Raises: TooMuch."""
        if self._held[peer] + size > self._most_of_one or self._held.total() + size > self._most:
            raise TooMuch
        self._held[peer] += size

    def give_back(self, peer: str, size: int) -> None:
        """Count bytes that went."""
        self._held[peer] -= size
        if self._held[peer] <= 0:
            del self._held[peer]

    def __len__(self) -> int:
        """Bytes that are held now."""
        return self._held.total()


class Held:
    """A body that is here, in memory or on disk; to be closed."""

    def __init__(self, intake: Intake, *, peer: str, folder: Path | None) -> None:
        self.peer, self.size = peer, 0
        self._intake = intake
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 (`close`)
            _IN_MEMORY, dir=None if folder is None else str(folder)
        )

    def write(self, part: bytes) -> None:
        """Add to it. Raises: TooMuch."""
        self._intake.take(self.peer, len(part))
        self.size += len(part)
        self._file.write(part)

    def whole(self) -> bytes:
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
        self._intake.give_back(self.peer, self.size)
        self.size = 0


def allowed_s(size: int) -> float:
    """Seconds that a peer may take to send or to fetch so many bytes."""
    return _FIRST_S + size / _SLOWEST


def problem_of(scope: Scope) -> tuple[int, str] | None:
    """What is wrong with a request's head, as a status and words; None if nothing is."""
    headers = scope["headers"]
    if sum(len(name) + len(value) + 4 for name, value in headers) + len(scope["raw_path"]) > HEAD_BYTES:
        return 431, "the head is too long"
    given = {name: value for name, value in headers if name in (b"content-length", b"transfer-encoding", b"upgrade")}
    if b"upgrade" in given:
        return 400, "nothing here can be upgraded"
    # Without a length there are trailers and extensions, which grow in the parser and are counted by nobody.
    if b"transfer-encoding" in given:
        return 411, "state the length of the body"
    if not given.get(b"content-length", b"0").isdigit():
        return 400, "the length is not a number"
    if scope["method"] in ("GET", "HEAD") and int(given.get(b"content-length", b"0")):
        return 413, "a question has no body"
    return None


def length_of(scope: Scope) -> int:
    """Bytes that a request's body says it has."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


class Clock:
    """A request's two ends, with an end to what they take.

    Of the body at most `largest` bytes come, within the time of `allowed_s`; an answer has to be taken at the same pace, or, if it
    is a feed, each piece of it. A connection whose body was not read to its end is closed after the answer.

    Args:
        scope: The request's.
        receive: Its body.
        send: Takes its answer.
        largest: Bytes of the body.
        on_late: Called before TooSlow is raised for an answer that is not taken.
    Raises: in place of what does not come or is not taken, TooLarge and TooSlow.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, largest: int, on_late: Callable[[], None]
    ) -> None:
        self._receive, self._send, self._largest, self._on_late = receive, send, largest, on_late
        self._loop = asyncio.get_running_loop()
        self._started, self._taken, self._whole = self._loop.time(), 0, not length_of(scope)
        self._began, self._sent, self._feed = 0.0, 0, False
        self.late = False  # whether the peer did not take its answer

    async def receive(self) -> Message:
        """The next piece of the body."""
        if self._whole:
            return await self._receive()  # waits for the peer's leaving
        try:
            end = min(self._loop.time() + _STALLED_S, self._started + allowed_s(self._taken))
            async with asyncio.timeout_at(end):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow from None
        self._taken += len(message.get("body", b""))
        if self._taken > self._largest:
            raise TooLarge
        self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """The next piece of the answer."""
        if message["type"] == "http.response.start":
            self._began = self._loop.time()
            headers = list(message.get("headers", ()))
            self._feed = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
            )
            if not self._whole:
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        self._sent += len(message.get("body", b""))
        stalled, whole = self._loop.time() + _STALLED_S, self._began + allowed_s(self._sent)
        try:
            async with asyncio.timeout_at(stalled if self._feed else min(stalled, whole)):
                await self._send(message)
        except TimeoutError:
            self.late = True
            self._on_late()
            raise TooSlow from None


if TYPE_CHECKING:  # the choice below is one of two classes that have the same of all that is used here
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol


class PromptProtocol(AutoHTTPProtocol):
    """A connection that is closed if it asks for nothing, or without end: uvicorn's own waits for a request's head for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Uvicorn's."""
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        self._of_head = 0  # bytes
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Uvicorn's."""
        self._of_head += len(data)
        super().data_received(data)
        if not self._in_head():
            self._of_head = 0
            self._forget()
        elif self._of_head > HEAD_BYTES and not self.transport.is_closing():
            self.transport.abort()
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Uvicorn's."""
        self._forget()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Uvicorn's: it has a line of the log for each."""

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
        if self._in_head():
            self.transport.close()
