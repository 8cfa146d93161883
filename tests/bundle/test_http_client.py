"""A coordinator that means ill answers over HTTP: what it sends fills no memory, takes no time without end, and writes on no terminal."""

import contextlib
import gzip
import itertools
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc

import httpx
import pytest

from fl.bounded_http import past_the_proxy
from fl.bundle import http_client as archive_client
from fl.bundle.files import BrokenBundle
from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable, ArchiveUnusable, HttpBundles
from fl.bundle.store import Withheld
from fl.chain.typed_data import Domain

DOMAIN = Domain(chain_id=31337, contract="0x5FbDB2315678afecb367f032d93F642f64180aa3")
ESCAPE = "\x1b[8m"


class Server:
    """Answers every request with the same bytes, piece by piece, as long as somebody reads."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.pieces, self.asked, self.sent, self.connections = [], [], 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def says(self, status="200 OK", *, body=b"", **headers):
        lines = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        self.pieces = [f"HTTP/1.1 {status}\r\n{head}\r\n".encode(), body]

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or the thread that accepts would keep it open
        self._socket.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            while request := b"".join(iter(lambda: lines.readline() or b"\r\n", b"\r\n")):  # none: the peer has gone
                length = re.search(rb"(?i)content-length: (\d+)", request)
                self.asked.append((request + lines.read(int(length.group(1)) if length else 0)).decode())
                for piece in self.pieces:
                    connection.sendall(piece)
                    self.sent += len(piece)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client(server):
    client = ArchiveClient(server.url, domain=DOMAIN, task_id=bytes(32))
    yield client
    client.close()


@pytest.fixture
def round_one(client):
    return HttpBundles(client, "bundles").bundle(1)


@pytest.fixture
def hurried(monkeypatch):
    """Waits of a minute take half a second, and half a second more for a header's file."""
    monkeypatch.setattr(archive_client, "_WAIT_S", 0.5)
    monkeypatch.setattr(archive_client, "_SLOWEST", 2 << 20)


def test_what_is_asked_for_comes_over_one_connection(server, client, round_one, account):
    server.says(body=b'{"a": 1}', Set_Cookie="a=b")
    assert client.get("receipts/0xAB") == b'{"a": 1}'
    assert client.get_json("evaluations") == {"a": 1}
    assert client.post("evaluations/1", {"refusal": "no"}) == {"a": 1}
    assert round_one.read("updates/0xAB.blocks") == b'{"a": 1}'
    server.says("204 No Content")
    assert client.get_json("evaluations") is None
    assert server.connections == 1
    first, _, posted, update, last = server.asked
    assert first.startswith("GET /receipts/0xAB HTTP/1.1\r\n")
    assert "accept-encoding: identity\r\n" in first.lower()
    assert "authorization" not in first.lower()
    assert posted.endswith('{"refusal":"no"}')
    assert update.startswith("GET /bundles/round-0001/updates/0xAB.blocks HTTP/1.1\r\n")
    assert "cookie" not in last.lower()
    asking = ArchiveClient(server.url, account=account(1), domain=DOMAIN, task_id=bytes(32))
    asking.get_json("evaluations")
    asking.close()
    assert "authorization: bearer " in server.asked[-1].lower()


def test_nothing_is_unpacked(server, client, round_one):
    # 64 MB of zeros in a few hundred kB; unpacked, they would be read as a file of arrays.
    server.says(body=gzip.compress(bytes(64 << 20), compresslevel=1), Content_Encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveUnusable) as caught:
            client.get("validation")
        with pytest.raises(BrokenBundle, match=r"direction.blocks cannot be read \(it is compressed \(gzip\)"):
            round_one.read("direction.blocks")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value) == (
        f"the answer of {server.url}/validation cannot be used: it is compressed (gzip), which was not asked for; ask the "
        "coordinator what is wrong there"
    )


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("header.json", 1 << 20),
        ("round.json", 16 << 20),
        ("direction.blocks", (1 << 20) + 4000),
        ("base.safetensors", (1 << 20) + 4000),
    ],
)
@pytest.mark.parametrize("length", [None, str(1 << 40)], ids=["without a length", "with a terabyte's"])
def test_an_endless_answer_is_cut_where_the_kind_of_file_ends(server, client, name, most, length):
    files = HttpBundles(client, "bundles", model_size=1000).bundle(1)
    server.says(Content_Length=length)
    server.pieces = itertools.chain(server.pieces[:1], itertools.repeat(bytes(65536)))
    with pytest.raises(
        BrokenBundle, match=f"{name} cannot be read .it has more than the {most:,} bytes that there can"
    ):
        files.read(name)
    assert server.sent < most + (16 << 20)  # what lies in the buffers of two sockets


def test_receipts_and_evaluations_have_an_end_too(server, client):
    server.says(Content_Length=None)
    server.pieces = itertools.chain(server.pieces[:1], itertools.repeat(bytes(65536)))
    with pytest.raises(ArchiveUnusable, match="it has more than the 16,777,216 bytes that there can be"):
        client.get("receipts/0xAB")
    server.pieces = itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(bytes(65536)))
    with pytest.raises(ArchiveUnusable, match="it has more than the 16,777,216 bytes that there can be"):
        client.get_json("evaluations")


def slowly(pieces):
    for piece in pieces:
        time.sleep(0.1)
        yield piece


@pytest.mark.parametrize(
    ("at_once", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"{"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "headers", "before the answer"],
)
def test_an_answer_that_drips_is_given_up(server, client, hurried, at_once, drop):
    server.pieces = itertools.chain([at_once], slowly(itertools.repeat(drop)))
    before = time.monotonic()
    with pytest.raises(ArchiveUnreachable) as caught:
        client.get("bundles/round-0001/header.json")
    assert time.monotonic() - before < 20
    assert caught.value.reason == "not whole within 1 s"
    assert not isinstance(caught.value, ArchiveUnusable)


@pytest.mark.parametrize("status", [429, 500, 502])
def test_what_passes_is_no_word_about_a_bundle(server, client, round_one, status):
    server.says(
        f"{status} {ESCAPE}Away", body=b'{"detail": "the chain\\u001b[8m is\\n away"}', Content_Encoding="identity"
    )
    for ask in (
        lambda: round_one.read("round.json"),
        lambda: client.get_json("evaluations"),
        lambda: client.post("a", {}),
    ):
        with pytest.raises(ArchiveUnreachable) as caught:
            ask()
        assert not isinstance(caught.value, ArchiveUnusable)
        assert caught.value.reason == f"status {status}: the chain?[8m is away"
    server.says(f"{status} Bad Gateway", body=b"<html>" * (1 << 18))  # a proxy's page, longer than any reason
    with pytest.raises(ArchiveUnreachable, match=f"status {status}: Bad Gateway"):
        round_one.read("header.json")
    server.says(f"{status} Bad Gateway", body=gzip.compress(b"away"), Content_Encoding="gzip")
    with pytest.raises(ArchiveUnreachable, match=f"status {status}: Bad Gateway"):
        round_one.read("header.json")


def test_nobody_there_passes_as_well(server, client, round_one):
    server.close()
    with pytest.raises(ArchiveUnreachable, match="does not answer .nobody listens there"):
        round_one.read("round.json")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, (BrokenBundle, "round.json cannot be read (404)")),
        (302, (BrokenBundle, "round.json cannot be read (302)")),
        (401, (Withheld, "round.json is withheld (who??[8m)")),
        (403, (Withheld, "round.json is withheld (who??[8m)")),
    ],
)
def test_a_no_is_a_no(server, client, round_one, status, told):
    server.says(f"{status} No", body=b'{"detail": "who?\\u001b[8m"}')
    with pytest.raises(BrokenBundle) as caught:
        round_one.read("round.json")
    assert (type(caught.value), caught.value.problem) == told
    with pytest.raises(ArchiveRefused, match=f"answers {status}: who"):
        client.get("validation")


@pytest.mark.parametrize("body", [b"", b"nothing", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_of_no_use(server, client, body):
    server.says(body=body)
    with pytest.raises(ArchiveUnusable, match="/evaluations cannot be used: it"):
        client.get_json("evaluations")
    server.says("503 Away", body=body)
    with pytest.raises(ArchiveUnreachable, match="503: Away"):
        client.get_json("evaluations")


def test_who_reads_a_strangers_json_recurses_no_deeper_than_python_by_itself():
    # Or `[[[[…` ends the process, as it does where a dependency of eth_account is imported last.
    program = "import fl.bundle.http_client, py_ecc, json, sys; print(sys.getrecursionlimit()); json.loads('[' * 10**5)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1000\n", 1)
    assert "RecursionError" in done.stderr


@pytest.mark.parametrize("name", [f"updates/{ESCAPE}.blocks", "a\nb", "x" * 70_000, "\ud800", "größe"])
def test_a_manifest_cannot_name_what_no_bundle_holds(server, round_one, name):
    with pytest.raises(BrokenBundle, match="is not a name of a file in a bundle") as caught:
        round_one.read(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert not server.asked


def test_a_name_is_asked_for_as_it_is(server, client, round_one):
    server.says(body=b"x")
    round_one.read("a?b#c%2e d")
    client.get(f"receipts/{ESCAPE}\ud800")
    assert server.asked[0].startswith("GET /bundles/round-0001/a%3Fb%23c%252e%20d HTTP/1.1")
    assert server.asked[1].startswith("GET /receipts/%1B%5B8m%3F HTTP/1.1")


def test_a_child_reaches_loopback_past_the_proxy_and_what_its_owner_named(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "lab.example")
    assert past_the_proxy()["no_proxy"] == "lab.example,localhost,127.0.0.1,::1"
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.delenv("no_proxy", raising=False)
    assert past_the_proxy()["NO_PROXY"] == "localhost,127.0.0.1,::1"
    for name, value in past_the_proxy().items():
        monkeypatch.setenv(name, value)
    httpx.Client().close()  # what a child of ours makes of it; a name that it cannot read ends it
