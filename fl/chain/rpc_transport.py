"""Ways to an RPC node: each gives a whole answer, of a bounded size, before a last moment, or says that there is none."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from fl.bounded_http import LOOPBACK, BoundedHttp, NoAnswer, UnusableAnswer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MOST_BYTES = 32 << 20  # of an answer
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class RpcAnswer:
    """What came back."""

    status: int
    wait_s: float = 0.0  # that the node asks for before the next question
    body: bytes


class Transport(Protocol):
    """A way to one node; any thread may use it."""

    def ask(self, data: bytes, *, deadline_s: float) -> RpcAnswer:
        """Ask once. Raises: NoAnswer; UnusableAnswer if the answer is larger than there can be."""

    def close(self) -> None:
        """Drop what is open."""


def transport_to(url: str, *, wait_s: float) -> Transport:
    """The way to a node: http, https, ws or wss; this machine's own is asked without detours."""
    parts = urlsplit(url)
    if parts.scheme in ("ws", "wss"):
        return _WebSocket(url)
    if parts.scheme == "http" and f"{parts.hostname}" in ("localhost", "127.0.0.1", "::1") and not parts.username:
        return _Direct(url)
    return _Http(url, wait_s=wait_s)


class _Http:
    """Over the environment's proxy, if it names one."""

    def __init__(self, url: str, *, wait_s: float) -> None:
        self._url, self._http = url, BoundedHttp(wait_s=wait_s)

    def ask(self, data: bytes, *, deadline_s: float) -> RpcAnswer:
        answer = self._http.ask("POST", self._url, most=MOST_BYTES, deadline_s=deadline_s, headers=_JSON, content=data)
        wait_s = _seconds(answer.headers.get("retry-after"))
        return RpcAnswer(status=answer.status, wait_s=wait_s, body=answer.body)

    def close(self) -> None:
        self._http.close()


class _Direct:
    """To this machine's own, in the caller's thread: a devnet is asked thousands of times, and a hop takes longer than it does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._own = threading.local()

    def ask(self, data: bytes, *, deadline_s: float) -> RpcAnswer:
        end = time.monotonic() + deadline_s
        # A connection that was kept may have been closed meanwhile: then the question is asked once more on a new one.
        for kept in (getattr(self._own, "connection", None), None):
            connection = kept or _Connection(self._host, self._port, end=end)
            self._own.connection = connection
            try:
                return self._asked(connection, data, end=end)
            except UnusableAnswer:
                self._drop()
                raise
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if kept is None or isinstance(error, TimeoutError):
                    raise NoAnswer(reason=type(error).__name__) from error
        raise AssertionError("the new connection answers or raises")

    def close(self) -> None:
        self._drop()

    def _asked(self, connection: _Connection, data: bytes, *, end: float) -> RpcAnswer:
        with connection.until(end):
            connection.request("POST", self._path, body=data, headers=_JSON)
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise UnusableAnswer(reason=f"it has more than the {MOST_BYTES:,} bytes that there can be")
        return RpcAnswer(status=answer.status, wait_s=_seconds(answer.getheader("retry-after")), body=body)

    def _drop(self) -> None:
        if (connection := getattr(self._own, "connection", None)) is not None:
            connection.close()
            self._own.connection = None


class _Connection(http.client.HTTPConnection):
    """A connection all of whose waiting together has an end; the library's own limit begins anew with each byte."""

    def __init__(self, host: str, port: int, *, end: float) -> None:
        super().__init__(host, port)
        self.end = end

    @contextmanager
    def until(self, end: float) -> Iterator[None]:
        """Everything in the context is done by then, or fails."""
        self.end = end
        yield

    def connect(self) -> None:
        """The library's."""
        opened = socket.create_connection((self.host, self.port), timeout=self.left())
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = _Timed(opened, self)

    def left(self) -> float:
        """Seconds. Raises: TimeoutError when there are none."""
        if (left := self.end - time.monotonic()) <= 0:
            raise TimeoutError
        return left


class _Timed(socket.socket):
    """A socket whose every step has the time that is left."""

    def __init__(self, opened: socket.socket, connection: _Connection) -> None:
        super().__init__(opened.family, opened.type, opened.proto, fileno=opened.detach())
        self._connection = connection

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(self._connection.left())
        super().sendall(data, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self._connection.left())
        return super().recv_into(buffer, nbytes, flags)


class _WebSocket:
    """One connection, opened when it is needed, for one question at a time."""

    def __init__(self, url: str) -> None:
        self._url, self._turn = url, threading.Lock()
        self._open: Any = None

    def ask(self, data: bytes, *, deadline_s: float) -> RpcAnswer:
        # Most have no use for it, and it takes a while to import.
        from websockets.exceptions import PayloadTooBig, WebSocketException  # noqa: PLC0415
        from websockets.sync.client import connect  # noqa: PLC0415

        end, asked = time.monotonic() + deadline_s, json.loads(data)["id"]
        with self._turn:
            try:
                if self._open is None:
                    proxy: Literal[True] | None = None if any(f"://{host}" in self._url for host in LOOPBACK) else True
                    self._open = connect(
                        self._url, max_size=MOST_BYTES, open_timeout=deadline_s, close_timeout=1, proxy=proxy
                    )
                self._open.send(data.decode())
                while True:
                    said = self._open.recv(timeout=max(0.0, end - time.monotonic()))
                    body = said if isinstance(said, bytes) else said.encode()
                    if _id_of(body) in (asked, None):  # what is no answer to anything is the caller's to judge
                        return RpcAnswer(status=200, body=body)
            except (OSError, WebSocketException, TimeoutError, EOFError) as error:
                opened, self._open = self._open, None
                if opened is not None:  # closing waits for the other side
                    threading.Thread(target=opened.close, daemon=True).start()
                if isinstance(error, PayloadTooBig) or "1009" in str(error):
                    raise UnusableAnswer(
                        reason=f"it has more than the {MOST_BYTES:,} bytes that there can be"
                    ) from error
                raise NoAnswer(reason=type(error).__name__) from error

    def close(self) -> None:
        with self._turn:
            if self._open is not None:
                self._open.close()
                self._open = None


def _id_of(body: bytes) -> object:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer.get("id") if isinstance(answer, dict) else None


def _seconds(header: str | None) -> float:
    """Of a Retry-After header; a date in its place is not worth reading."""
    return float(header) if header and header.isdigit() and len(header) < 6 else 0.0
