"""What a stranger can make the gateway hold, on every route that is not a node's: heads, bodies, time."""

import contextlib
import socket
import ssl
import threading

import httpx
import pytest
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, StreamingResponse

from fl.coordinator.gateway import request_limits
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return own_tls(tmp_path_factory.mktemp("tls"), names=["127.0.0.1"])


class Desk:
    """Routes that read a body, keep their asker waiting, or answer without end."""

    def __init__(self):
        self.router, self.go_on, self.under_way = APIRouter(), threading.Event(), 0
        self.router.add_api_route("/api/read", self.read, methods=["POST"])
        self.router.add_api_route("/api/wait", self.wait, methods=["GET"])
        self.router.add_api_route("/api/much", self.much, methods=["GET"])

    async def read(self, request: Request) -> dict:
        return {"bytes": len(await request.body())}

    async def wait(self) -> dict:
        self.under_way += 1
        await run_in_threadpool(self.go_on.wait, 60)
        return {}

    async def much(self) -> StreamingResponse:
        return StreamingResponse(bytes(1 << 16) for _ in range(10_000))


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.go_on.set()


@pytest.fixture
def gateway(tls, desk):
    pages = PlainTextResponse("a page")
    with running_gateway("127.0.0.1", 0, tls=tls, routers=[desk.router], pages=pages) as running:
        yield running


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=gateway.tls.trust(), timeout=60) as opened:
        yield opened


@pytest.fixture
def says(gateway):
    """Opens a connection from an address of this machine, and says what it is told to."""
    opened = []

    def connect(said=b"", *, source="127.0.0.1", tls=True):
        raw = socket.create_connection(("127.0.0.1", gateway.port), timeout=60, source_address=(source, 0))
        opened.append(gateway.tls.trust().wrap_socket(raw, server_hostname="127.0.0.1") if tls else raw)
        opened[-1].sendall(said)
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def say_for_ever(connection, line):
    """20 MB of it."""
    for _ in range(5000):
        connection.sendall(line)


def ends(connection):
    """Whether the other side ends a connection, and what it said before."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            said += part
    return said


@pytest.mark.parametrize("path", [b"/", b"/api/read", b"/v1/fleet/pull-messages", b"/v1/control/start-run"])
def test_a_head_without_end_is_cut_off_on_every_route(says, path):
    line = b"x-more: " + b"a" * 4000 + b"\r\n"
    endless = says(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n")
    with pytest.raises((ConnectionResetError, BrokenPipeError, ssl.SSLError)):
        say_for_ever(endless, line)


def test_a_head_that_is_whole_and_too_long_is_refused(says, gateway):
    lines = b"".join(b"x-%d: " % number + b"a" * 1000 + b"\r\n" for number in range(40))
    assert ends(says(b"GET / HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")).startswith((b"HTTP/1.1 431 ", b""))
    wait_until(lambda: gateway.connections() == 0)


@pytest.mark.parametrize(
    ("method", "header", "status"),
    [
        (b"POST", b"transfer-encoding: chunked", 411),
        (b"GET", b"transfer-encoding: chunked", 411),
        (b"GET", b"content-length: 5", 413),
        (b"GET", b"connection: upgrade\r\nupgrade: websocket", 400),
    ],
)
@pytest.mark.parametrize("path", [b"/", b"/api/read"])
def test_a_body_that_nobody_can_count_is_refused_before_it_comes(says, path, method, header, status):
    said = ends(says(method + b" " + path + b" HTTP/1.1\r\nhost: x\r\n" + header + b"\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in said


def test_a_body_is_as_large_as_a_word_and_no_larger(client, gateway):
    assert client.post("/api/read", content=bytes(1 << 18)).json() == {"bytes": 1 << 18}
    answer = client.post("/api/read", content=bytes((1 << 18) + 1))
    assert (answer.status_code, answer.text) == (413, "the body is too large, or too slow\n")
    assert client.post("/", content=bytes(10)).status_code == 405


def test_a_body_that_does_not_come_is_given_up_on_every_route(says, monkeypatch):
    monkeypatch.setattr(request_limits, "_FIRST_S", 0.3)
    slow = says(b"POST /api/read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx")
    assert ends(slow).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_is_not_taken_is_given_up(says, gateway, monkeypatch):
    monkeypatch.setattr(request_limits, "_FIRST_S", 0.3)
    monkeypatch.setattr(request_limits, "_SLOWEST", 1 << 40)
    says(b"GET /api/much HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_until(lambda: gateway.refused["an answer that it did not take"])
    wait_until(lambda: gateway.connections() == 0)


def test_a_connection_that_does_not_shake_hands_counts_from_its_opening(says, gateway, client, monkeypatch):
    monkeypatch.setattr(gateway.slots, "most", 3)
    for _ in range(3):
        says(tls=False, source="127.0.0.2")
    assert client.get("/").text == "a page"  # in place of one of them


def test_one_address_that_waits_keeps_no_other_waiting(says, client, desk):
    for _ in range(40):  # more than there are threads
        says(b"GET /api/wait HTTP/1.1\r\nhost: x\r\n\r\n", source="127.0.0.2")
    wait_until(lambda: desk.under_way >= 8)
    assert client.post("/api/read", content=b"12").json() == {"bytes": 2}
    assert desk.under_way == 8


def test_after_a_flood_nothing_is_left(says, gateway, client):
    for number in range(60):
        said = (b"GET /", b"", b"POST /api/read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")[number % 3]
        says(said, source="127.0.0.2").close()
    client.close()
    wait_until(lambda: gateway.connections() == 0)
    wait_until(lambda: not gateway._desk._running)
    assert not gateway._desk._waiting


def wait_until(holds):
    """Poll until something holds."""
    turn = threading.Event()
    for _ in range(1200):
        if holds():
            return
        turn.wait(0.05)
    raise AssertionError("it did not come to hold within 60 s")
