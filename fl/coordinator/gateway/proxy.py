"""The gateway: the one port that a coordinator shows to the world, over TLS.

Of the SuperLink behind it nothing passes but the calls that a node makes; the control and runtime APIs, with which anybody
could run code, do not exist here. Beside them it serves what the caller mounts: the archive's API and the pages.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fl.coordinator.gateway.node_calls import ANSWER_S, AT_ONCE, LARGEST_REQUEST, LARGEST_WORD, NODE_PATHS, NodeCalls
from fl.coordinator.gateway.request_limits import Clock, PromptProtocol, TooLarge, TooSlow, problem_of
from fl.coordinator.gateway.shown_certificate import ShownCertificate
from fl.coordinator.gateway.slots import Listener, Slots, address_of
from fl.coordinator.gateway.turns import TooMany, Turns
from fl.coordinator.superlink.certificates import Tls
from fl.coordinator.superlink.process import SuperLink
from fl.errors import FairshareError

log = logging.getLogger(__name__)

API_PREFIX = "/api"
_MOST_CONNECTIONS = 1000  # of everybody; a newcomer then ends one of the address that has the most
_OPENED_S, _OPENED_AT_ONCE = 10, 100  # connections of one address, each second and at once: fifty nodes may share one
_FILES_OF_A_CONNECTION = 3  # itself, and what it has on disk
_PAGES_AT_ONCE, _PAGES_OF_ONE, _PAGES_WAITING_OF_ONE = 30, 8, 64  # answers that are made: the threads for them are 40
_STOP_S = 3
_HANDSHAKE_S = 15.0
_LOOK_S = 60.0  # between two looks at the certificate's files
_MOST_STRANGERS = 10_000  # peers of whom is remembered that they were logged


class GatewayFailed(FairshareError):
    """The gateway cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host, self.port, self.reason = host, port, reason

    def __str__(self) -> str:
        return (
            f"the gateway cannot listen on {self.host}:{self.port} ({self.reason}); set port= to a free one, or host= to an address "
            "of this machine"
        )


def check_port(host: str, port: int) -> None:
    """See whether the gateway could listen. Raises: GatewayFailed."""
    _listening(host, port).close()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        # Python's own words repeat the address.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise GatewayFailed(host=host, port=port, reason=reason) from error


class Gateway:
    """A TLS server in a thread of this process; made by `running_gateway`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: Tls,
        tls_again: Callable[[], Tls] | None = None,
        superlink: SuperLink | None = None,
        routers: Sequence[APIRouter] = (),
        pages: ASGIApp | None = None,
        largest_request: int = LARGEST_REQUEST,
    ) -> None:
        self.tls, self.host = tls, host
        self.refused: Counter[str] = Counter()  # requests that were turned away, by kind
        self._superlink, self._pages = superlink, pages
        # What is open for them comes out of this process's own.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = min(_MOST_CONNECTIONS, files // (2 * _FILES_OF_A_CONNECTION))
        self.slots = Slots(most=most, most_of_one=most // 2, rate=_OPENED_S, burst=_OPENED_AT_ONCE)
        self.nodes = None
        if superlink is not None:
            self.nodes = NodeCalls(
                superlink,
                largest=largest_request,
                turn_away=self._turn_away,
                trust=lambda scope: self.slots.trust(scope["client"]),
            )
        self._desk = Turns(_PAGES_AT_ONCE, of_one=_PAGES_OF_ONE, waiting_of_one=_PAGES_WAITING_OF_ONE)
        self._api = FastAPI(title="Fairshare coordinator", docs_url=None, redoc_url=None, openapi_url=None)
        for problem in (TooLarge, TooSlow):
            self._api.add_exception_handler(problem, self._unread)
        for router in routers:
            self._api.include_router(router)
        self._told: set[tuple[str, str]] = set()
        self._socket = Listener(_listening(host, port), self.slots)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._answer,
            ssl_certfile=tls.certificate,
            ssl_keyfile=tls.key,
            interface="asgi3",
            http=PromptProtocol,
            lifespan="off",
            log_config=None,
            log_level="error",  # strangers' malformed requests are no news
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_STOP_S,
            ws="none",
        )
        config.load()
        self._certificate = None
        if tls_again is not None and config.ssl is not None:
            self._certificate = ShownCertificate(config.ssl, tls=tls, again=tls_again)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="gateway", daemon=True)

    def start(self) -> None:
        """Serve. Raises: GatewayFailed."""
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.02)
            if not self._thread.is_alive():
                raise GatewayFailed(host=self.host, port=self.port, reason="it ended at once; see the log")

    def close(self) -> None:
        """Stop serving; what is under way has three seconds."""
        self._server.should_exit = True
        self._thread.join(2 * _STOP_S)
        self._server.force_exit = True
        self._thread.join(_STOP_S)
        self._socket.close()

    def connections(self) -> int:
        """Connections that are open now, those in their handshake included."""
        return len(self.slots)

    # ---- who may ask what --------------------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        peer = tuple(scope["client"] or ("?", 0))
        largest = LARGEST_WORD if self.nodes is None else max(LARGEST_WORD, self.nodes.largest)
        clock = Clock(scope, receive, send, largest=largest, on_late=lambda: self.slots.end(peer))
        try:
            if problem := problem_of(scope):
                self._turn_away(scope, "a request that is not read")
                await _said(problem[1], problem[0], connection="close")(scope, clock.receive, clock.send)
            else:
                await self._route(scope, clock.receive, clock.send)
        except Exception:
            if not clock.late:  # what a peer that takes no answer leaves behind is not news
                raise
            self._turn_away(scope, "an answer that it did not take")

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        # Letter for letter: what is spelled otherwise is no node's call here, and is not left to the SuperLink to read.
        spelled = scope["raw_path"] == path.encode() and not scope["query_string"]
        if path in NODE_PATHS and spelled and scope["method"] == "POST" and self.nodes:
            await self.nodes.answer(Request(scope, receive), send)
        elif path.startswith(f"{API_PREFIX}/"):
            await self._in_turn(self._api, scope, receive, send)
        elif path.startswith("/v1/") or self._pages is None:
            self._turn_away(scope, _kind(path))
            await _said("there is nothing here", 404)(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _said("this is to be read", 405, connection="close")(scope, receive, send)
        else:
            await self._in_turn(self._pages, scope, receive, send)

    async def _in_turn(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when it is the address's turn, which ends with the beginning of the answer: a feed goes on for hours."""
        asker = address_of(scope["client"][0] if scope["client"] else "?")
        try:
            await self._desk.take(asker)
        except TooMany:
            self._turn_away(scope, "more than one address may ask at once")
            await _said("too much is asked from this address", 503, **{"retry-after": "1"})(scope, receive, send)
            return
        ours = True

        async def send_and_give_back(message: Message) -> None:
            nonlocal ours
            if ours:
                ours = False
                self._desk.give_back(asker)
            await send(message)

        try:
            await app(scope, receive, send_and_give_back)
        finally:
            if ours:
                self._desk.give_back(asker)

    async def _unread(self, request: Request, error: Exception) -> PlainTextResponse:
        """What an app's question for a body came to."""
        self._turn_away(request.scope, "a request that is too large or did not come")
        return _said(
            "the body is too large, or too slow", 413 if isinstance(error, TooLarge) else 408, connection="close"
        )

    def _turn_away(self, scope: Scope, kind: str) -> None:
        self.refused[kind] += 1
        peer = scope["client"][0] if scope.get("client") else "?"
        if (peer, kind) not in self._told and len(self._told) < _MOST_STRANGERS:
            self._told.add((peer, kind))
            log.warning("%s asked for %s and was refused; this is said once", peer, kind)

    # ---- the thread --------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        # Uvicorn has no word for how long a handshake may take.
        loop.create_server = partial(  # type: ignore[method-assign]
            loop.create_server, ssl_handshake_timeout=_HANDSHAKE_S, ssl_shutdown_timeout=_STOP_S
        )
        looking = asyncio.create_task(self._look_at_the_certificate())
        try:
            await self._serve_all()
        finally:
            looking.cancel()

    async def _look_at_the_certificate(self) -> None:
        while self._certificate is not None:
            await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(self._certificate.look)

    async def _serve_all(self) -> None:
        if self.nodes is None or self._superlink is None:
            await self._server.serve(sockets=[self._socket])
            return
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE, keepalive_expiry=2)
        timeout = httpx.Timeout(ANSWER_S, connect=5)
        async with httpx.AsyncClient(
            verify=self._superlink.trust(), trust_env=False, limits=limits, timeout=timeout
        ) as self.nodes.client:
            await self._server.serve(sockets=[self._socket])


@contextmanager
def running_gateway(host: str, port: int, **options: Any) -> Iterator[Gateway]:
    """A gateway that listens; stopped at the end.

    Args:
        host: Address of this machine to listen on; 0.0.0.0 for all of them.
        port: 0 takes a free one.
        options: tls, tls_again (opens its files anew, once a minute), superlink (none: no node API), routers (under /api), pages (an ASGI app that gets the rest), and
            largest_request in bytes.
    Raises: GatewayFailed.
    """
    gateway = Gateway(host, port, **options)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


def _kind(path: str) -> str:
    for prefix, kind in (
        ("/v1/control/", "the control API"),
        ("/v1/runtime/", "the runtime API"),
        ("/v1/fleet/", "a node call that is not for nodes"),
    ):
        if path.startswith(prefix):
            return kind
    return "a page that is not there"


def _said(text: str, status: int, **headers: str) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)
