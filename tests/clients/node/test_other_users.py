"""What another user of a node's machine reaches: the port of its SuperNode stands in the list of processes."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess

import httpx
import pytest
from waiting import wait_for

from clients.node.folder import NodeFolder
from clients.node.supernode import SuperNode


@pytest.fixture
def nobody_there():
    """host:port of a gateway that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def supernode(tmp_path, nobody_there):
    folder = NodeFolder(path=tmp_path)
    folder.node_key()
    node = SuperNode(folder=tmp_path, superlink=nobody_there, ca="", node_key=folder.node_key_path)
    yield node
    node.stop()


def take(port):
    """Take the port as somebody else would; returns why that fails, 0 if it does not."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
            taken.listen()
        except OSError as error:
            return error.errno
    return 0


def test_nobody_else_takes_the_port_before_the_supernode_listens(supernode, monkeypatch):
    started = []

    def popen(command, **options):
        # What `ps` shows from here on; Flower takes seconds to be imported.
        started.append(take(int(command[command.index("--port") + 1])))
        return subprocess_popen(command, **options)

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    supernode.start(clock_offset_s=0.0)
    assert started == [errno.EADDRINUSE]
    assert take(supernode.port) == errno.EADDRINUSE
    with pytest.raises(httpx.ConnectError):  # refused, not kept waiting
        httpx.get(f"http://127.0.0.1:{supernode.port}/health", trust_env=False)


def test_the_supernode_answers_there_and_nobody_does_in_its_place_once_it_died(supernode):
    supernode.start(clock_offset_s=0.0)

    def answers():
        try:
            return httpx.get(f"http://127.0.0.1:{supernode.port}/health", trust_env=False).status_code
        except httpx.ConnectError:
            return None

    wait_for(lambda: answers() is not None, what=supernode.log.read_text)
    os.kill(supernode.pid, signal.SIGKILL)
    wait_for(lambda: not supernode.runs, what=lambda: "its end")
    assert take(supernode.port) == errno.EADDRINUSE
    supernode.stop()
    assert take(supernode.port) == 0
