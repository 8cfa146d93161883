"""The gateway: the one port that a coordinator shows to the world, over TLS.

Of the SuperLink behind it nothing passes but the calls that a node makes; the control and runtime APIs, with which anybody
could run code, do not exist here. Beside them it serves what the caller mounts: the archive's API and the pages.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from google.protobuf.message import DecodeError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fl.coordinator.gateway.request_limits import Held, Intake, PromptProtocol, TooLarge, TooMuch, TooSlow, allowed_s
from fl.coordinator.superlink.certificates import Tls
from fl.coordinator.superlink.process import SuperLink
from fl.coordinator.superlink.replies import MOST_PIECES
from fl.errors import FairshareError

log = logging.getLogger(__name__)

# What a node of flwr 1.41 calls, by name: what a later version adds stays closed until somebody has looked at it. A node's
# own registration is not here; who may connect is decided on chain.
NODE_PATHS = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
API_PREFIX = "/api"
_LARGEST_REQUEST = 256 << 20  # bytes of an object that a node pushes
_LARGEST_WORD = 256 << 10  # bytes of any other call
_ANSWER_S = 60.0  # of the SuperLink
_MOST_REQUESTS = 1000  # at once; the rest hears 503, which nodes try again
_AT_ONCE = 4  # calls to the SuperLink; its database lets one write at a time, and more of them only wait for its lock
_STOP_S = 3.0
_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "proxy-connection"}
_MOST_STRANGERS = 10_000  # peers of whom is remembered that they were logged
_RETRY = {"retry-after": "1"}


class GatewayFailed(FairshareError):
    """The gateway cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host, self.port, self.reason = host, port, reason

    def __str__(self) -> str:
        return (
            f"the gateway cannot listen on {self.host}:{self.port} ({self.reason}); name a free port and an address of this "
            "machine"
        )


class Gateway:
    """A TLS server in a thread of this process; made by `running_gateway`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: Tls,
        superlink: SuperLink | None = None,
        routers: Sequence[APIRouter] = (),
        pages: ASGIApp | None = None,
        largest_request: int = _LARGEST_REQUEST,
    ) -> None:
        self.tls, self.host = tls, host
        self.refused: Counter[str] = Counter()  # requests that were turned away, by kind
        self._superlink, self._pages, self._largest = superlink, pages, largest_request
        self._spool = superlink.folder if superlink else None
        self._intake, self._turns = Intake(self._spool), asyncio.Semaphore(_AT_ONCE)
        self._api = FastAPI(title="Fairshare coordinator", docs_url=None, redoc_url=None, openapi_url=None)
        for router in routers:
            self._api.include_router(router)
        self._told: set[tuple[str, str]] = set()
        self._client: httpx.AsyncClient | None = None
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            raise GatewayFailed(host=host, port=port, reason=error.strerror or str(error)) from error
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                ssl_certfile=tls.certificate,
                ssl_keyfile=tls.key,
                interface="asgi3",
                http=PromptProtocol,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_STOP_S,
                limit_concurrency=_MOST_REQUESTS,
            )
        )
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
        """Peers that are connected now."""
        return len(self._server.server_state.connections)

    # ---- who may ask what --------------------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "http" and path in NODE_PATHS and scope["method"] == "POST" and self._superlink:
            await self._pass_on(Request(scope, receive), send)
        elif scope["type"] == "http" and path.startswith(f"{API_PREFIX}/"):
            await self._api(scope, receive, send)
        elif path.startswith("/v1/") or self._pages is None:
            self._turn_away(scope, _kind(path))
            if scope["type"] == "http":
                await PlainTextResponse("there is nothing here\n", status_code=404)(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        else:
            await self._pages(scope, receive, send)

    def _turn_away(self, scope: Scope, kind: str) -> None:
        self.refused[kind] += 1
        peer = scope["client"][0] if scope.get("client") else "?"
        if (peer, kind) not in self._told and len(self._told) < _MOST_STRANGERS:
            self._told.add((peer, kind))
            log.warning("%s asked for %s and was refused; this is said once", peer, kind)

    # ---- the node's calls --------------------------------------------------------------------------------------------

    async def _pass_on(self, request: Request, send: Send) -> None:
        path = request.url.path
        largest = self._largest if path.endswith("/push-object") else min(_LARGEST_WORD, self._largest)
        with ExitStack() as held:
            try:
                if _length(request) > largest:
                    raise TooLarge
                asked = held.enter_context(closing(await self._intake.read(request, largest=largest)))
                if path.endswith("/push-messages") and (problem := _problem_of(asked.bytes())):
                    self._turn_away(request.scope, problem)
                    answer = _said(f"{problem} is not taken", 400)
                else:
                    answer = await self._ask_superlink(
                        request, asked, given=held.enter_context(closing(Held(self._spool)))
                    )
            except TooLarge:
                self._turn_away(request.scope, "a request that is too large")
                answer = _said(f"more than {largest} bytes", 413)
            except TooSlow:
                self._turn_away(request.scope, "a request that did not come")
                # Not 408: a node with a bad line would end, and this one tries again.
                answer = _said("the request took too long", 503, connection="close", **_RETRY)
            except (TooMuch, OSError):  # or the disk is full
                answer = _said("too much is on its way here", 503, **_RETRY)
            except ClientDisconnect:
                return  # nobody is there to hear an answer
            except httpx.TransportError as error:
                # A SuperLink that is being started again; nodes take a 503 as "ask again".
                log.debug("the SuperLink did not answer: %s", error)
                answer = _said("the SuperLink does not answer", 503, **_RETRY)
            try:
                async with asyncio.timeout(allowed_s(int(answer.headers["content-length"]))):
                    await answer(request.scope, request.receive, send)
            except TimeoutError:
                self._turn_away(request.scope, "an answer that it did not take")

    async def _ask_superlink(self, request: Request, asked: Held, *, given: Held) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        sent = self._client.build_request(
            "POST",
            f"https://{self._superlink.address}{request.url.path}",
            headers={**headers, "content-length": str(asked.size)},
            content=asked.parts(),
        )
        async with self._turns:  # for as long as the SuperLink takes, and not for as long as the peer does
            answer = await self._client.send(sent, stream=True)
            try:
                async for part in answer.aiter_raw():
                    given.write(part)
            finally:
                await answer.aclose()
        if answer.status_code == httpx.codes.UNAUTHORIZED or (
            answer.is_client_error and request.url.path.endswith("/activate-node")
        ):
            self._turn_away(request.scope, "the node API without a registered key")
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            # Its database was locked for too long, as a rule. A node would end; "ask again" is the truth.
            return _said("the SuperLink failed", 503, **_RETRY)
        headers = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
        return StreamingResponse(
            given.parts(), status_code=answer.status_code, headers={**headers, "content-length": str(given.size)}
        )

    # ---- the thread --------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        trust = self._superlink.trust() if self._superlink else True
        limits = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE, keepalive_expiry=2)
        timeout = httpx.Timeout(_ANSWER_S, connect=5)
        async with httpx.AsyncClient(verify=trust, trust_env=False, limits=limits, timeout=timeout) as self._client:
            await self._server.serve(sockets=[self._socket])


@contextmanager
def running_gateway(host: str, port: int, **options: Any) -> Iterator[Gateway]:
    """A gateway that listens; stopped at the end.

    Args:
        host: Address of this machine to listen on; 0.0.0.0 for all of them.
        port: 0 takes a free one.
        options: tls, superlink (none: no node API), routers (under /api), pages (an ASGI app that gets the rest), and
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


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdigit() else 0


def _problem_of(body: bytes) -> str:
    """What is wrong with a node's announcement of messages; "" if nothing is.

    The SuperLink checks who asks, and not whose name a message bears: as another node it would answer for it, and as the
    SuperLink give it orders. And for many objects it locks its database for so long that others fail.
    """
    try:
        request = PushMessagesRequest.FromString(body)
    except DecodeError:
        return "a message that cannot be read"
    if any(one.metadata.src_node_id != request.node.node_id for one in request.messages_list):
        return "a message in another's name"
    if any(sum(1 for _ in iterate_object_tree(tree)) > MOST_PIECES for tree in request.message_object_trees):
        return f"a message of more than {MOST_PIECES} objects"
    return ""


def _said(text: str, status: int, **headers: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)
