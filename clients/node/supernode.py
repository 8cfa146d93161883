"""Flower's SuperNode as a process of its own, between the gateway and the node.

It holds the connection and the node key, and neither the wallet nor the shard. It runs with process isolation: code that a
coordinator bundles is data to it, and the one executor that it knows is the node (`clients.node.executor`), which proves itself by
a secret file. The node proves nothing of the SuperNode but by its port, which the node itself holds from before the start to after
the end: the port stands in the list of processes, and another user of the machine who took it first would be given updates.

Run as a module it is `flower-supernode` itself, with four additions: it ends when its parent does, it listens on the socket that it is
given, it signs requests with the coordinator's time where this machine's clock is off, and what it takes and logs is
bounded (`clients.node.answers`, `clients.node.bounded_log`).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clients.node.answers import bound_answers, bound_messages
from clients.node.bounded_log import bound_log, make_room
from fl.bounded_http import past_the_proxy
from fl.chain.accounts import without_secrets
from fl.plain_text import printable

_GRACE_S = 10  # to sign off; after that it is killed
_LOOK_S = 1.0  # between two looks for a message
_LOGGED_BYTES = 1 << 18  # of its log that are looked at
_HTTP_ERROR = re.compile(r"(?:Client|Server) error '(\d{3})")  # as httpx says it
_MEANING = {
    "401": "it does not know this node's key",
    "403": "it does not let this node in",
    "404": "it does not know what this node asks for",
    "409": "this node is connected to it already",
    "413": "it finds what this node sends too large",
    "503": "it is busy, or just starting",
}
_NODE_ID = re.compile(r"SuperNode ID: (\d+)")


class SuperNode:
    """One SuperNode process and the folder that it writes to.

    Args:
        folder: Takes `supernode.log`, `ca.pem`, `executor.secret`, and whatever Flower keeps at home.
        superlink: host:port of the gateway.
        ca: PEM of the certificate that the gateway's is signed with; "" for the system's.
        node_key: File of the node's private key.
    """

    def __init__(self, *, folder: Path, superlink: str, ca: str, node_key: Path) -> None:
        self._folder, self._superlink, self._node_key = folder, superlink, node_key
        self.ca = folder / "ca.pem" if ca else None
        if self.ca:
            self.ca.write_text(ca)
        self.log = folder / "supernode.log"
        self.secret = os.urandom(32)
        self.port = 0  # of its runtime API, on loopback
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0  # bytes of the log before this start

    def start(self, *, clock_offset_s: float) -> None:
        """Start the process; `clock_offset_s` is the coordinator's clock less this machine's."""
        secret_file = self._folder / "executor.secret"
        secret_file.unlink(missing_ok=True)
        with os.fdopen(os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self.secret)
        self._listener = _held_port()
        self.port = self._listener.getsockname()[1]
        certificates = ["--root-certificates", str(self.ca)] if self.ca else []
        command = [
            sys.executable, "-P", "-m", "clients.node.supernode",
            "--parent-pid", str(os.getpid()), "--clock-offset", str(clock_offset_s),
            "--listener", str(self._listener.fileno()),
            "--superlink", self._superlink, *certificates,
            "--auth-supernode-private-key", str(self._node_key),
            "--isolation", "process", "--superexec-auth-secret-file", str(secret_file),
            "--host", "127.0.0.1", "--port", str(self.port),
        ]  # fmt: skip
        make_room(self.log)
        with self.log.open("ab") as output:
            self._said = output.tell()
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={
                    **without_secrets(),
                    **past_the_proxy(),
                    "FLWR_HOME": str(self._folder / "flower"),
                    "FLWR_TELEMETRY_ENABLED": "0",
                    "FLWR_DISABLE_UPDATE_CHECK": "1",
                },
                pass_fds=[self._listener.fileno()],
                process_group=0,  # Ctrl-C is for the node, which then stops this one in its own order
            )

    @property
    def pid(self) -> int:
        """The process's id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether it ended without a chance to sign off."""
        return self._process is not None and (self._process.poll() or 0) < 0

    @property
    def node_id(self) -> int | None:
        """Flower's id of the node, once the coordinator took it in; None before."""
        found = _NODE_ID.findall(self._logged(first=True))
        return int(found[-1]) if found else None

    def why(self) -> str:
        """Why it is not there any more: its own error if it had time to say one."""
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in self._logged(first=False).splitlines()]
        status = self._process.poll() if self._process else None
        if status is None:
            return "it still runs"
        said = next((line for line in reversed(lines) if "[code:" in line or line.startswith(("ERROR", "flower-"))), "")
        return in_words(printable(said, most=300)) or (f"signal {-status}" if status < 0 else f"exit status {status}")

    def stop(self) -> None:
        """Let it sign off, and kill it with everything that it started if it does not."""
        if self._process is None:
            return
        if self.runs:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._listener is not None:  # last: until then nobody else can answer in its place
            self._listener.close()

    def _logged(self, *, first: bool) -> str:
        """The first or the last of what it logged since its start: it logs words of the coordinator, and those have no end."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(self._said if first else max(self._said, end - _LOGGED_BYTES))
                return file.read(_LOGGED_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return ""


def in_words(said: str) -> str:
    """An HTTP library's line in words for people; any other as it is."""
    found = _HTTP_ERROR.search(said)
    if found is None:
        return re.sub(r"\s*For more information check: \S+", "", said)
    meaning = _MEANING.get(
        found[1], "it is in trouble" if found[1][0] == "5" else "it does not take what this node sends"
    )
    return f"{meaning} (HTTP {found[1]})"


def _held_port() -> socket.socket:
    """A free port that nobody else can take; who connects is refused until the SuperNode listens on it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))  # without SO_REUSEADDR, which would let others take it before somebody listens
    return listener


def listen_on(descriptor: int) -> None:
    """Have the SuperNode's runtime API answer on a socket of its parent's, in place of a port that it would take by itself."""
    flowers: Any = importlib.import_module("flwr.supernode.cli.flower_supernode")
    uvicorn = flowers.uvicorn

    class OnGivenSocket(uvicorn.Server):  # type: ignore[misc, name-defined]
        def run(self, sockets: object = None) -> None:
            super().run(sockets=[socket.socket(fileno=descriptor)])

    flowers.uvicorn = SimpleNamespace(Config=uvicorn.Config, Server=OnGivenSocket)


def end_with(parent: int) -> None:
    """End this process in order once its parent is gone; for a thread of its own."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)  # signs off, so that the coordinator need not wait for the heartbeat
    time.sleep(_GRACE_S)
    os._exit(1)


def go_by_clock(offset_s: float) -> None:
    """Date this process's requests to a SuperLink by a clock that is `offset_s` seconds later than its own.

    A SuperLink takes requests that are dated up to 5 s ahead and 305 s behind of its own clock.
    """
    authentication: Any = importlib.import_module("flwr.supernode.node_auth_http_interceptor")
    authentication.now = lambda: datetime.now(tz=UTC) + timedelta(seconds=offset_s)


def give_up_ended_runs() -> None:
    """Let the SuperNode drop a message whose run ended while its contents were being fetched.

    Flower 1.41 leaves its task in the books: what says that a run has ended is no `Exception`, and passes the clean-up by. An
    executor that takes the task waits for the contents for ever, and the node never answers again.
    """
    client: Any = importlib.import_module("flwr.supernode.start_client_internal")
    ended = importlib.import_module("flwr.supercore.run").RunNotRunningException
    pull_and_store = client._pull_and_store_message

    def failing(fetch: Callable[..., Any]) -> Callable[..., Any]:
        def fetched(*arguments: Any) -> Any:
            try:
                return fetch(*arguments)
            except ended as error:
                raise RuntimeError("the run has ended") from error

        return fetched

    def pulled(**told: Any) -> int | None:
        for name in ("pull_object", "confirm_message_received"):
            told[name] = failing(told[name])
        return pull_and_store(**told)

    client._pull_and_store_message = pulled


def look_sooner() -> None:
    """Let the SuperNode look for a message every second; Flower's three are most of a short round.

    Shorter looks would cost a coordinator of fifty nodes more than they save.
    """
    client: Any = importlib.import_module("flwr.supernode.start_client_internal")
    client.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, _LOOK_S)))


def _main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--clock-offset", type=float, required=True)
    parser.add_argument("--listener", type=int, required=True)
    own, flowers = parser.parse_known_args()
    threading.Thread(target=end_with, args=(own.parent_pid,), daemon=True).start()
    sys.argv = ["flower-supernode", *flowers]
    listen_on(own.listener)
    go_by_clock(own.clock_offset)
    bound_answers()
    bound_messages()
    give_up_ended_runs()
    look_sooner()
    bound_log()
    importlib.import_module("flwr.supernode.cli.flower_supernode").flower_supernode()


if __name__ == "__main__":
    _main()
