"""What a coordinator's users feel while somebody attacks its one port.

The gateway, a real SuperLink behind it and the page run in a process of their own. A registered node asks for messages (a call that
goes through to the SuperLink), and a reader fetches the page, first while nothing else happens, then during each flood:

    heads      connections whose request's head never ends, sent as fast as they are taken
    bodies     answers of evaluations, 900 MB long, by somebody without a token; and some that drip
    stalled    as many connections as there are slots, from two addresses, which say nothing or half of a request
    strangers  400 node calls at once, each with a key that is not enrolled
    pages      64 readers of the page and of what it asks of a chain that is slow
    greedy     an enrolled node that asks without pause and pushes objects

`…_times_slower` is the node's median call during a flood over its median call before and after it; the bar is 3. `…_page_seconds` is
the slowest page of the flood; the bar is 2. `…_unanswered` counts calls of the node that were not answered as they should be, and
`…_attacks` what the attackers began. `…_memory_mb` is what the process held more than idle at most; the bar is 500.
`…_database_mb` is how large the SuperLink's file became. `…_left` counts connections, bytes and waiting calls afterwards.

Attackers come from 127.0.0.2 and 127.0.0.3, the node from 127.0.0.1: addresses are what a stranger is counted by.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from measurement import report, settings

from fl.chain.node_key import create_node_key
from fl.coordinator.gateway.proxy import Gateway, running_gateway
from fl.coordinator.superlink.certificates import own_tls
from fl.coordinator.superlink.process import running_superlink
from fl.dashboard.app import dashboard_app

FLOODS = ("heads", "bodies", "stalled", "strangers", "pages", "greedy")
STRANGERS = ("127.0.0.2", "127.0.0.3")
_WARM_S = 5.0  # that an attack takes to be under way
_CALLS_OF_A_CONNECTION = 5
_PULL = "/v1/fleet/pull-messages"


def main() -> None:
    """Measure each flood that is named."""
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
        return
    if sys.argv[1:2] == ["attack"]:
        asyncio.run(attack(sys.argv[2], json.loads(sys.argv[3])))
        return
    values = settings({"floods": ",".join(FLOODS), "seconds": "10"})
    logging.disable(logging.WARNING)
    named, length = values["floods"].split(","), float(values["seconds"])
    figures: dict[str, object] = {"seconds": length}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(serving(Path(folder)))
        for flood in named:
            for name, value in measured(server, flood, seconds=length).items():
                figures[f"{flood}_{name}"] = value
            print(flood, {name: value for name, value in figures.items() if name.startswith(flood)}, file=sys.stderr)
    report("floods", figures)


def measured(server: Server, flood: str, *, seconds: float) -> dict[str, object]:
    """The figures of one flood."""
    idle_before, idle_mb = server.calls(4.0), server.memory_mb()
    with server.under(flood) as attacker:
        time.sleep(_WARM_S)
        during, most = server.calls(seconds, also=server.memory_mb), max(server.seen_mb)
        pages, unanswered = server.pages, server.unanswered
        lasted = attacker.poll() is None
        attacker.kill()
        steps = [int(line) for line in attacker.stdout.read().splitlines() if line.isdigit()]
    time.sleep(3)
    idle_after = server.calls(4.0)
    idle = statistics.median(idle_before + idle_after)
    return {
        "times_slower": round(statistics.median(during) / idle, 2) if during else None,
        "slowest_call_seconds": round(max(during, default=float("nan")), 3),
        "idle_call_seconds": round(idle, 4),
        "page_seconds": round(max(pages, default=float("nan")), 3),
        "memory_mb": round(most - idle_mb, 1),
        "database_mb": round(server.database_mb(), 1),
        "left": server.left(),
        "unanswered": unanswered,
        "attacks": max(steps, default=0) if lasted else None,
    }


class Server:
    """The process under attack, as its node and its reader see it."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.told = json.loads(process.stdout.readline())
        self.trust = ssl.create_default_context(cadata=self.told["ca"])
        self.url = f"https://127.0.0.1:{self.told['port']}"
        self.seen_mb: list[float] = []
        self.pages: list[float] = []
        self.unanswered = 0

    def calls(self, seconds: float, *, also: Callable[[], float] | None = None) -> list[float]:
        """Seconds of each call of the node in that time; the page is read beside them, and memory looked at."""
        self.pages, self.seen_mb, self.unanswered = [], [self.memory_mb()], 0
        ended = threading.Event()
        reader = threading.Thread(target=self._read_pages, args=(ended,), daemon=True)
        reader.start()
        taken = []
        key = serialization.load_ssh_private_key((self.folder / "node-0.key").read_bytes(), None)
        body = PullMessagesRequest(node=Node(node_id=self.told["nodes"][0])).SerializeToString()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # A few calls on each connection: a node that comes during a flood has to be let in.
            with httpx.Client(base_url=self.url, verify=self.trust, timeout=60) as client:
                for _ in range(_CALLS_OF_A_CONNECTION):
                    started = time.perf_counter()
                    try:
                        status = client.post(_PULL, content=body, headers=signed(key)).status_code
                    except httpx.HTTPError:
                        status = 0
                    if status == httpx.codes.OK:
                        taken.append(time.perf_counter() - started)
                    else:
                        self.unanswered += 1
                    time.sleep(0.05)
                if also:
                    self.seen_mb.append(also())
        ended.set()
        reader.join(30)
        return taken

    def _read_pages(self, ended: threading.Event) -> None:
        with httpx.Client(base_url=self.url, verify=self.trust, timeout=60) as client:
            while not ended.wait(0.2):
                started = time.perf_counter()
                with contextlib.suppress(httpx.HTTPError):
                    for path in ("/", "/data/view"):
                        client.get(path)
                self.pages.append(time.perf_counter() - started)

    @contextmanager
    def under(self, flood: str) -> Iterator[subprocess.Popen]:
        """Attack, until the context ends."""
        told = {**self.told, "folder": str(self.folder)}
        command = [sys.executable, __file__, "attack", flood, json.dumps(told)]
        attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            attacker.stdout.readline()  # it has begun: its imports take longer than any warm-up
            yield attacker
        finally:
            attacker.kill()
            attacker.wait()
            attacker.stdout.close()

    def memory_mb(self) -> float:
        """What the gateway's process and the SuperLink hold now."""
        held = 0
        for pid in (self.process.pid, self.told["superlink"]):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                held += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return held / 1024

    def database_mb(self) -> float:
        """The SuperLink's file."""
        return sum(path.stat().st_size for path in (self.folder / "superlink").glob("state.db*")) / 1e6

    def left(self) -> dict[str, int]:
        """What there still is of a flood."""
        self.process.stdin.write("left\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start what is attacked."""
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Server(process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdin.close()
        process.wait(60)


def serve(folder: Path) -> None:
    """The process under attack: says where it is, and then what it holds for each line that it is sent."""
    logging.disable(logging.ERROR)
    summary = {"status": "running", "task": {"id": "0x" + "00" * 32}, "clients": [], "totals": {}, "rounds": []}
    run = folder / "run"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps(summary))
    black_hole = f"http://127.0.0.1:{silent_port()}"  # a chain that takes a question and never answers
    (run / "deployment.json").write_text(
        json.dumps({"chain_id": 1, "url": black_hole, "contract": "0x" + "11" * 20, "token": "0x" + "22" * 20})
    )
    with running_superlink(folder / "superlink") as superlink:
        nodes = [superlink.register(create_node_key(folder / f"node-{number}.key")) for number in range(2)]
        tls = own_tls(folder / "tls", names=["127.0.0.1"])
        options = {"tls": tls, "superlink": superlink, "pages": dashboard_app(run), "largest_request": 8 << 20}
        with running_gateway("127.0.0.1", 0, **options) as gateway:
            told = {"port": gateway.port, "ca": tls.ca, "nodes": nodes, "superlink": superlink.pid}
            print(json.dumps(told), flush=True)
            for _ in sys.stdin:
                print(json.dumps(left_in(gateway)), flush=True)


def left_in(gateway: Gateway) -> dict[str, int]:
    """Connections, held bytes and waiting calls."""
    found = {"connections": gateway.connections()}
    if (nodes := gateway.nodes) is not None:
        found |= {"bytes": len(nodes.intake), "under_way": sum(nodes._under_way.values())}
    return found


def silent_port() -> int:
    """A port that takes connections and says nothing, for as long as this process lives."""
    import socket  # noqa: PLC0415

    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [server.accept() for _ in iter(int, 1)], daemon=True).start()
    return server.getsockname()[1]


# ---- the other side ----------------------------------------------------------------------------------------------------


async def attack(flood: str, told: dict) -> None:
    """One flood, until it is killed."""
    trust = ssl.create_default_context(cadata=told["ca"])
    await {
        "heads": lambda: together(64, lambda number: heads(told, trust, number)),
        "bodies": lambda: together(40, lambda number: bodies(told, trust, number)),
        "stalled": lambda: together(1000, lambda number: stalled(told, trust, number)),
        "strangers": lambda: together(400, lambda number: strangers(told, trust, number)),
        "pages": lambda: together(64, lambda number: pages(told, trust, number)),
        "greedy": lambda: greedy(told, trust),
    }[flood]()


async def together(count: int, play: Callable[[int], object]) -> None:
    """Many of them, each begun anew when it ends."""

    done = 0

    async def again(number: int) -> None:
        nonlocal done
        while True:
            done += 1
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
                await play(number)
            await asyncio.sleep(0.1)

    async def tell() -> None:
        while True:
            print(done, flush=True)
            await asyncio.sleep(0.5)

    await asyncio.gather(tell(), *(again(number) for number in range(count)))


async def opened(told: dict, trust: ssl.SSLContext, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of one of the two strangers."""
    return await asyncio.open_connection(
        "127.0.0.1", told["port"], ssl=trust, local_addr=(STRANGERS[number % 2], 0), ssl_handshake_timeout=20
    )


async def pour(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a piece. Raises: ConnectionResetError when nobody takes it any more."""
    if writer.transport.is_closing():
        raise ConnectionResetError
    writer.write(piece)
    await writer.drain()
    await asyncio.sleep(0)


async def heads(told: dict, trust: ssl.SSLContext, number: int) -> None:
    """900 MB of a head."""
    _, writer = await opened(told, trust, number)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
    for _ in range(900 * 16):
        await pour(writer, b"x-more: " + b"a" * 65_000 + b"\r\n")
    writer.write(b"\r\n")
    await asyncio.sleep(5)


async def bodies(told: dict, trust: ssl.SSLContext, number: int) -> None:
    """900 MB of a body, or one that drips."""
    _, writer = await opened(told, trust, number)
    writer.write(b"POST /api/evaluations/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 943718400\r\n\r\n")
    for _ in range(900 * 16):
        await pour(writer, b"a" * (65_536 if number % 2 else 1))
        if not number % 2:
            await asyncio.sleep(1)


async def stalled(told: dict, trust: ssl.SSLContext, number: int) -> None:
    """Nothing, or half of a request."""
    reader, writer = await opened(told, trust, number)
    writer.write(
        (b"", b"GET / HT", b"POST /api/evaluations/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")[number % 3]
    )
    await reader.read(100)


async def strangers(told: dict, trust: ssl.SSLContext, number: int) -> None:
    """A call with a key of one's own."""
    reader, writer = await opened(told, trust, number)
    key = ec.generate_private_key(ec.SECP384R1())
    body = PullMessagesRequest(node=Node(node_id=told["nodes"][0])).SerializeToString()
    while True:
        writer.write(request(_PULL, signed(key), body))
        if not await reader.read(4096):
            return


async def pages(told: dict, trust: ssl.SSLContext, number: int) -> None:
    """One after the other."""
    reader, writer = await opened(told, trust, number)
    for path in (b"/data/standing", b"/data/view", b"/data/standing/0x" + b"%040x" % number, b"/") * 1000:
        writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        if not await reader.read(1 << 16):
            return


async def greedy(told: dict, trust: ssl.SSLContext) -> None:
    """What an enrolled node may send, and more of it than it may."""
    key = serialization.load_ssh_private_key((Path(told["folder"]) / "node-1.key").read_bytes(), None)
    node = Node(node_id=told["nodes"][1])
    pull = PullMessagesRequest(node=node).SerializeToString()
    push = PushObjectRequest(
        node=node, run_id=1, object_id="a" * 64, object_content=os.urandom(7 << 20)
    ).SerializeToString()

    async def play(number: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", told["port"], ssl=trust, local_addr=("127.0.0.4", 0)
        )
        while True:
            large = number % 8 == 0
            writer.write(request("/v1/fleet/push-object" if large else _PULL, signed(key), push if large else pull))
            await writer.drain()
            if not await reader.read(1 << 16):
                return

    await together(48, play)


def request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A node's call, as bytes."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode() + body


def signed(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The headers by which a node shows its key."""
    timestamp = dt.datetime.now(dt.UTC).isoformat()
    shown: Sequence[tuple[str, bytes]] = (
        ("flwr-public-key", public_key_to_bytes(key.public_key())),
        ("flwr-signature", sign_message(key, timestamp.encode())),
    )
    return {
        "content-type": PROTOBUF_MEDIA_TYPE,
        "accept": PROTOBUF_MEDIA_TYPE,
        "flwr-timestamp": timestamp,
        **{name: b64encode(value).decode() for name, value in shown},
    }


if __name__ == "__main__":
    main()
