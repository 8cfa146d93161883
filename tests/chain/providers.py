"""A provider in front of a chain, with one habit of public or hostile ones."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Provider:
    """What a provider was asked, and what it does with it.

    Args:
        url: Of the chain behind it.
    """

    def __init__(self, url: str) -> None:
        self.url, self.asked = url, []
        self.habit: Callable[[Provider, dict], dict | bytes | int | None] = lambda provider, call: None

    def ask(self, method: str, *params: object) -> object:
        """What the chain itself says."""
        return self.forward({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})["result"]

    def forward(self, call: dict) -> dict:
        """The chain's answer to a call."""
        request = urllib.request.Request(self.url, json.dumps(call).encode(), {"content-type": "application/json"})
        with _OPENER.open(request) as answer:
            return json.load(answer)


def refusal(call: dict, message: str, *, code: int = -32000) -> dict:
    """An error of JSON-RPC."""
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}


@contextmanager
def running_provider(url: str) -> Iterator[tuple[Provider, str]]:
    """A provider on a free port of loopback, and its URL."""
    provider = Provider(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["content-length"])))
            provider.asked.append(call["method"])
            answer = provider.habit(provider, call)
            if callable(answer):
                with suppress(OSError):
                    answer(self)
                self.close_connection = True
                return
            status = 200
            if isinstance(answer, tuple):
                status, answer = answer
            body = json.dumps(provider.forward(call) if answer is None else answer).encode()
            with suppress(OSError):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# ---- habits ------------------------------------------------------------------------------------------------------------


def drips(provider: Provider, call: dict) -> Callable:
    """A head at once, and then a byte of the body now and then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        for _ in range(600):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    return answer


def drips_its_head(provider: Provider, call: dict) -> Callable:
    """A header without end, a byte now and then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-a: ")
        for _ in range(600):
            handler.wfile.write(b"a")
            time.sleep(0.05)

    return answer


def endless(provider: Provider, call: dict) -> Callable:
    """A body without end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(bytes(1 << 20))

    return answer


def redirects(to: str) -> Callable:
    """Another address, which may be one inside."""

    def habit(provider: Provider, call: dict) -> Callable:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("location", to)
            handler.send_header("content-length", "0")
            handler.end_headers()

        return answer

    return habit


def refuses_ranges(most: int, words: str) -> Callable:
    """Logs of so many blocks at most."""

    def habit(provider: Provider, call: dict) -> dict | None:
        if call["method"] == "eth_getLogs":
            query = call["params"][0]
            if int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1 > most:
                return refusal(call, words, code=-32005)
        return None

    return habit


def is_behind(blocks: int, *, times: int) -> Callable:
    """Every other read comes from a node that lacks the last blocks, so many times."""
    left = [times]

    def habit(provider: Provider, call: dict) -> dict | None:
        place = {
            "eth_call": 1,
            "eth_getCode": 1,
            "eth_getBalance": 1,
            "eth_getTransactionCount": 1,
            "eth_estimateGas": 1,
        }
        method = call["method"]
        if method not in (*place, "eth_blockNumber", "eth_getBlockByNumber") or not left[0]:
            return None
        left[0] -= 1
        if left[0] % 2:
            return None
        head = max(0, int(provider.ask("eth_blockNumber"), 16) - blocks)
        if method == "eth_blockNumber":
            return {"jsonrpc": "2.0", "id": call["id"], "result": hex(head)}
        at = place.get(method, 0)
        params = [*call["params"], *["latest"] * (at + 1 - len(call["params"]))]
        if params[at] == "latest":
            params[at] = hex(head)
        elif params[at].startswith("0x") and int(params[at], 16) > head:
            if method == "eth_getBlockByNumber":
                return {"jsonrpc": "2.0", "id": call["id"], "result": None}
            return refusal(call, "header not found")
        return provider.forward({**call, "params": params})

    return habit
