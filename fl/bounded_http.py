"""HTTP with a server that nobody vouches for: an answer has a largest size and a last moment, and is not unpacked.

A plain client takes a body without end, waits anew for each of its bytes, and unpacks whatever calls itself compressed: a few
kilobytes that way fill the memory of the process that holds the wallet.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from fl.errors import FairshareError
from fl.plain_text import printable

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")  # as they stand in a URL
_MOST_OF_A_REFUSAL = 64 << 10  # bytes of an error's page that are read, for its reason


class NoAnswer(FairshareError):
    """Nobody answered, or not in time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no answer came ({self.reason}); check the address, and whether somebody runs there"


class UnusableAnswer(NoAnswer):
    """Somebody answered with what no honest server sends."""

    def __str__(self) -> str:
        return f"the answer cannot be used ({self.reason}); check the address"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, within its bounds."""

    status: int
    headers: Mapping[str, str]
    body: bytes  # of a status from 300 on: as much of it as was read
    phrase: str  # of the status, such as "Not Found"


class BoundedHttp:
    """A client that any thread may use; connections are kept.

    A proxy that the environment names is used, but never for this machine's own loopback, which it cannot reach.

    Args:
        verify: Whose certificates are believed; those of the system's authorities if not given.
        wait_s: For a connection, and for the next piece of an answer.
    """

    def __init__(self, *, verify: ssl.SSLContext | None = None, wait_s: float) -> None:
        verify = _authorities() if verify is None else verify
        self._http = httpx.AsyncClient(
            verify=verify,
            timeout=wait_s,
            follow_redirects=False,
            mounts={f"all://{host}": httpx.AsyncHTTPTransport(verify=verify) for host in LOOPBACK},
        )

    def ask(
        self,
        method: str,
        url: str,
        *,
        most: int,
        deadline_s: float,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | None = None,
    ) -> Answer:
        """Ask once.

        Args:
            content: The body, in place of `json`.
            most: Bytes that the body may have.
            deadline_s: When the answer has to be whole; a server that sends a byte now and then is given up too.
        Raises: NoAnswer; UnusableAnswer if the body is larger, or compressed, which it was asked not to be.
        """
        sent = {"headers": {**(headers or {}), "Accept-Encoding": "identity"}, "json": json, "content": content}
        asked = self._ask(method, url, most=most, deadline_s=deadline_s, sent=sent)
        future = asyncio.run_coroutine_threadsafe(asked, _loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C leaves nothing under way
            raise

    def close(self) -> None:
        """Drop the connections."""
        asyncio.run_coroutine_threadsafe(self._http.aclose(), _loop()).result()

    async def _ask(self, method: str, url: str, *, most: int, deadline_s: float, sent: Mapping[str, Any]) -> Answer:
        try:
            # Around everything: httpx's own limits begin anew with each byte, of the headers too.
            async with (
                asyncio.timeout(deadline_s),
                self._http.stream(method, url, **sent) as response,
            ):
                body = await _body(response, most=most)
        except TimeoutError:
            raise NoAnswer(reason=f"not whole within {deadline_s:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(reason=_plain(error)) from error
        finally:
            self._http.cookies.clear()  # nobody here has use for them, and they would pile up
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=body,
            phrase=printable(response.reason_phrase, most=100),
        )


def _plain(error: Exception) -> str:
    """What a library's error means, in words for people."""
    said = printable(str(error), most=200)
    if "certificate" in said.lower():
        found = re.search(r"certificate verify failed: ([^(]+)", said)
        return f"its certificate is not believed: {found[1].strip() if found else said}"
    for words, kinds in {
        "it took too long": (httpx.TimeoutException,),
        "nobody listens there, or the name is not known": (httpx.ConnectError,),
        "the connection broke": (httpx.NetworkError, httpx.RemoteProtocolError),
        "the address is none": (httpx.InvalidURL, httpx.UnsupportedProtocol),
    }.items():
        if isinstance(error, kinds):
            return words
    return f"it does not answer like a web server ({type(error).__name__})"


async def _body(response: httpx.Response, *, most: int) -> bytes:
    refused = response.status_code >= 300
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        if refused:
            return b""
        raise UnusableAnswer(reason=f"it is compressed ({printable(encoding, most=50)}), which was not asked for")
    if refused:
        most = min(most, _MOST_OF_A_REFUSAL)
    body = bytearray()  # not a list of pieces: of two bytes each, they would take twenty times their size
    async for piece in response.aiter_raw():
        body += piece[: most - len(body) + 1]
        if len(body) > most:
            if not refused:
                raise UnusableAnswer(reason=f"it has more than the {most:,} bytes that there can be")
            break
    return bytes(body[:most])


def past_the_proxy() -> dict[str, str]:
    """What has a child process reach this machine's loopback without the proxy that the environment names."""
    named = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    # Without brackets: httpx, which Flower's node asks with, ends on them.
    past = ",".join(filter(None, [named, *(host.strip("[]") for host in LOOPBACK)]))
    return {"NO_PROXY": past, "no_proxy": past}


@cache
def _authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # read once: it takes tens of milliseconds


_lock = threading.Lock()
_running: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all clients of this process, in a thread that ends with it."""
    with _lock:
        if not _running:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="bounded-http", daemon=True).start()
            _running.append(loop)
        return _running[0]
