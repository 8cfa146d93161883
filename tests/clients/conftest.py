"""A chain that can go away, and waiting for what happens in another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
from waiting import wait_for


@pytest.fixture
def until() -> Callable[..., object]:
    """Polls until something is there."""
    return wait_for


class Relay:
    """Passes what comes to one port on to a URL, while it is open."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._server: socket.socket | None = None
        self._ends: list[socket.socket] = []

    def open(self, url: str) -> str:
        """Listen; returns the URL to use instead."""
        goal = httpx.URL(url)
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server, (goal.host, goal.port)), daemon=True).start()
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Hang up, and listen no longer."""
        for end in (self._server, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _accept(self, server: socket.socket, goal: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(goal)
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pass, args=(source, sink), daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A port between a client and its chain."""
    relay = Relay()
    yield relay
    relay.close()
