"""Runs Flower's SuperLink for one coordinator: on loopback, over TLS, known nodes only, started again when it dies.

Its port serves every API at once, so nobody but this machine may reach it, and of its users none but the coordinator the control
API, which Flower leaves open (`fl.coordinator.superlink.locked`); nodes come through the gateway. State is kept in a database
file: runs, messages and nodes outlive the process.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import io
import logging
import os
import secrets
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.protobuf.client import ProtobufClient

from fl.chain.accounts import without_secrets
from fl.chain.node_key import BadNodeKey, flower_public_key, node_key_of
from fl.chain.whole_file import private_folder
from fl.coordinator.superlink.certificates import own_tls
from fl.coordinator.superlink.locked import HEADER, proof_of
from fl.coordinator.superlink.state_file import STATE, set_damaged_aside
from fl.errors import FairshareError

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every poll

HOST = "127.0.0.1"
_START_S = 120.0  # of a start: importing Flower takes seconds, and tens of them on a machine that is busy
_PATIENCE_S = 120.0  # of a call, while the SuperLink is being started again
_LOCK_S = 60  # that a call waits for the database
_TRIES = 5  # starts in a row that end before they answer
_BEATS = 2  # heartbeat intervals that Flower waits before it calls a node offline
_FULL = 1  # of SQLite's auto_vacuum
# glibc keeps what was freed for each thread apart, and an object of each model's size with it: one node's pushes made 400 MB.
_FREES_WHAT_IS_READ = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(256 << 10)}
_PR_SET_PDEATHSIG = 1
# Loaded here, not between fork and exec. The database takes a kill as well as any other end.
_DIE_WITH_PARENT = (
    partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL) if sys.platform == "linux" else None
)
_Answer = TypeVar("_Answer")
_Client = TypeVar("_Client", bound=ProtobufClient)


class SuperLinkFailed(FairshareError):
    """The SuperLink does not start, or ended and cannot be started again."""

    def __init__(self, log_file: str, output: str) -> None:
        super().__init__(log_file, output)
        self.log_file, self.output = log_file, output

    def __str__(self) -> str:
        return f"the SuperLink does not run; its last words: {self.output.strip() or 'none'} (all of them in {self.log_file})"


class SuperLinkRefused(FairshareError):
    """The SuperLink answered a call with an error."""

    def __init__(self, call: str, status: int, answer: str) -> None:
        super().__init__(call, status, answer)
        self.call, self.status, self.answer = call, status, answer

    def __str__(self) -> str:
        return f"the SuperLink refused to {self.call}: status {self.status}, {self.answer[:300]}"


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """A registered node, as the SuperLink knows it."""

    node_id: int
    node_key: bytes  # its on-chain form
    online: bool
    activated_at: float | None  # Unix seconds of the last time it connected
    last_seen: (
        float | None
    )  # Unix seconds of its last heartbeat, or of when it was found gone; None before it first connects


class SuperLink:
    """A running SuperLink; made by `running_superlink`."""

    def __init__(self, folder: Path, *, start_s: float = _START_S) -> None:
        self.folder, self.log_file = folder, folder / "superlink.log"
        private_folder(folder)
        set_damaged_aside(folder / STATE)
        # An authority of its own: what the gateway shows to the world says nothing about this one.
        self._tls = own_tls(folder / "tls", names=())
        self.ca = self._tls.ca.encode()
        # Without it, anybody on this machine could ask for the coordinator's task and play its part.
        self.secret = secrets.token_bytes(32)
        self.port, self.restarts = 0, 0
        self._start_s, self._lasting_port = start_s, False
        self._process: subprocess.Popen[bytes] | None = None
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._failure: SuperLinkFailed | None = None
        self._control: ControlHttpClient | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="superlink", daemon=True)
        self._node_ids: dict[bytes, int] = {}  # of the registered keys, in Flower's form; nobody else registers any

    @property
    def address(self) -> str:
        """host:port on loopback."""
        return f"{HOST}:{self.port}"

    @property
    def _database(self) -> Path:
        return self.folder / STATE

    @property
    def pid(self) -> int | None:
        """Process id of the one that runs now."""
        return self._process.pid if self._process else None

    def trust(self) -> ssl.SSLContext:
        """What a client of it verifies with."""
        return self._tls.trust()

    # ---- nodes -------------------------------------------------------------------------------------------------------

    def register(self, node_key: bytes) -> int:
        """Let the node of this on-chain key connect; returns the node id that it gets, and keeps.

        Raises: BadNodeKey; SuperLinkRefused if the key is or was registered.
        """
        key = flower_public_key(node_key)
        request = RegisterNodeRequest(public_key=key)
        node_id = self.call("register a node", lambda control: control.RegisterNode(request)).node_id
        self._node_ids[key] = node_id
        return node_id

    def unregister(self, node_id: int) -> None:
        """Let a node connect no longer; its key cannot be registered again. Raises: SuperLinkRefused."""
        self._node_ids = {key: known for key, known in self._node_ids.items() if known != node_id}
        request = UnregisterNodeRequest(node_id=node_id)
        self.call("unregister a node", lambda control: control.UnregisterNode(request))

    def nodes(self) -> list[NodeState]:
        """All registered nodes, whether they are connected or not."""
        found = self.call("list the nodes", lambda control: control.ListNodes(ListNodesRequest()))
        return [state for info in found.nodes_info if (state := _state(info)) is not None]

    def node_of(self, flower_key: bytes) -> int | None:
        """The node id of a registered key in Flower's form, without asking the process; None for any other key."""
        return self._node_ids.get(flower_key)

    # ---- runs --------------------------------------------------------------------------------------------------------

    def start_run(self, app_name: str) -> int:
        """Start a run whose app has no code, since both ends execute what they have installed; returns its id."""
        request = StartRunRequest(fab=Fab(content=_empty_app(app_name)))
        run_id = self.call("start a run", lambda control: control.StartRun(request)).run_id
        if not run_id:
            raise SuperLinkRefused(call="start a run", status=200, answer="it gave no run id")
        return run_id

    def stop_run(self, run_id: int) -> None:
        """Stop a run and drop its messages. Raises: SuperLinkRefused if it is over."""
        request = StopRunRequest(run_id=run_id)
        self.call("stop a run", lambda control: control.StopRun(request))

    def stop_other_runs(self, run_id: int | None = None) -> list[int]:
        """Stop every unfinished run but this one: what a coordinator that was killed left behind. Returns their ids."""
        found = self.call("list the runs", lambda control: control.ListRuns(ListRunsRequest()))
        stopped = [
            other for other, run in found.run_dict.items() if other != run_id and run.status.status != "finished"
        ]
        for other in stopped:
            self.stop_run(other)
        return stopped

    def call(self, what: str, ask: Callable[[ControlHttpClient], _Answer]) -> _Answer:
        """Call the control API; while the SuperLink is being started again, wait for it.

        Raises: SuperLinkFailed; SuperLinkRefused.
        """
        for wait in patient_waits(_PATIENCE_S):
            self.wait_until_ready()
            try:
                if (control := self._control) is not None:
                    return ask(control)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise SuperLinkRefused(
                        call=what, status=error.response.status_code, answer=error.response.text
                    ) from error
            except httpx.TransportError as error:
                log.debug("the SuperLink did not answer: %s", error)
            time.sleep(wait)
        raise SuperLinkFailed(log_file=str(self.log_file), output=f"no answer for {_PATIENCE_S:.0f} s")

    # ---- the process -------------------------------------------------------------------------------------------------

    def wait_until_ready(self) -> None:
        """Return when it answers. Raises: SuperLinkFailed when it will not."""
        limit = self._start_s * _TRIES
        if not self._ready.wait(limit) and self._failure is None:
            self._failure = SuperLinkFailed(log_file=str(self.log_file), output=self._last_words())
        if self._failure is not None:
            raise self._failure

    def start(self) -> None:
        """Start it and wait until it answers. Raises: SuperLinkFailed."""
        _let_shrink(self._database)
        self._supervisor.start()
        self.wait_until_ready()
        self._node_ids = {flower_public_key(node.node_key): node.node_id for node in self.nodes()}

    def close(self) -> None:
        """Stop it and everything it started."""
        self._stopping.set()
        self._kill()
        if self._supervisor.is_alive():
            self._supervisor.join()
        self._failure = self._failure or SuperLinkFailed(log_file=str(self.log_file), output="it was stopped")
        self._ready.set()  # those who wait in another thread learn of it
        if self._control is not None:
            self._control.close()

    def _supervise(self) -> None:
        # The kernel ties a child to the THREAD that forked it, so the one that starts it is the one that waits for it.
        silent = 0
        while not self._stopping.is_set():
            process = self._launch()
            if self._stopping.is_set():
                self._kill()
            answered = self._answers(process)
            if answered:
                silent, self._lasting_port = 0, True
                self._ready.set()
                log.info("SuperLink answers at %s (process %d)", self.address, self.pid)
            else:
                self._kill()
            status = process.wait()
            self._ready.clear()
            self._kill()  # what it may have started
            if self._stopping.is_set():
                return
            silent = 0 if answered else silent + 1
            if silent == _TRIES:
                self._failure = SuperLinkFailed(log_file=str(self.log_file), output=self._last_words())
                self._ready.set()  # those who wait learn of the failure
                return
            self.restarts += 1
            log.warning("the SuperLink ended (status %d) and is started again", status)
            self._stopping.wait(min(0.2 * 2**silent, 5.0) if silent else 0.0)

    def _launch(self) -> subprocess.Popen[bytes]:
        if not self._lasting_port:  # kept once it answered there, for the clients that know it
            self.port = _free_port()
            self._control = direct(ControlHttpClient.from_server_address(self.address, False, self.ca, ()), self.ca)
            self._control._client.headers[HEADER] = proof_of(self.secret)
        secret = self.folder / "secret"
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(self.secret)
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(secret),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={
                    # The wallet's password is the coordinator's; no child is given it.
                    **_FREES_WHAT_IS_READ,
                    **without_secrets(),
                    "FLWR_HOME": str(self.folder.resolve() / "flwr"),
                    "FLWR_TELEMETRY_ENABLED": "0",
                    "FLWR_DISABLE_UPDATE_CHECK": "1",
                    # At INFO it has a line for each call, and is called every second.
                    "FLWR_LOG_LEVEL": os.environ.get("FLWR_LOG_LEVEL", "WARNING"),
                },
                process_group=0,  # Ctrl-C is for the coordinator, which stops this one last
                preexec_fn=_DIE_WITH_PARENT,  # noqa: PLW1509 (one system call; no lock that a thread could hold)
            )

        return self._process

    def _command(self, secret: Path) -> Sequence[str]:
        paths = {
            "--ssl-certfile": self._tls.certificate,
            "--ssl-keyfile": self._tls.key,
            "--ssl-ca-certfile": self.folder / "tls" / "ca.pem",
            "--superexec-auth-secret-file": secret,
        }
        # SQLite lets one write at a time; Flower's own five seconds are too few for fifty nodes that answer at once.
        database = f"sqlite:///{self._database.resolve()}?timeout={_LOCK_S}"
        return [
            sys.executable,
            *("-P", "-m", "fl.coordinator.superlink.locked"),
            *("--host", HOST, "--port", str(self.port)),
            *("--isolation", "process", "--enable-supernode-auth", "--disable-runtime-dependency-installation"),
            *("--database", database),
            *(part for name, path in paths.items() for part in (name, str(path.resolve()))),
        ]

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        with httpx.Client(verify=self._tls.trust(), trust_env=False, timeout=5) as client:
            for _ in range(int(self._start_s / 0.1)):
                try:
                    return client.get(f"https://{self.address}/health").status_code == httpx.codes.OK
                except httpx.TransportError:
                    pass
                if self._stopping.is_set():
                    return False
                try:
                    process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                return False
        return False

    def _kill(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # it is gone, with all that it started
            os.killpg(self._process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])


@contextmanager
def running_superlink(folder: Path) -> Iterator[SuperLink]:
    """A SuperLink on a free port of loopback, whose state, log and certificates are in `folder`.

    Raises: SuperLinkFailed with its last words.
    """
    superlink = SuperLink(folder)
    try:
        superlink.start()
        yield superlink
    finally:
        superlink.close()


def patient_waits(limit_s: float) -> Iterator[float]:
    """Seconds to wait between tries, growing from 0.05 to 1, until `limit_s` seconds have passed."""
    end, wait = time.monotonic() + limit_s, 0.05
    while time.monotonic() < end:
        yield wait
        wait = min(wait * 1.5, 1.0)


def direct(client: _Client, ca: bytes) -> _Client:
    """Make one of Flower's HTTP clients go straight to loopback, whatever proxy the environment names."""
    client._client.close()
    client._client = httpx.Client(
        verify=ssl.create_default_context(cadata=ca.decode()), trust_env=False, timeout=30, follow_redirects=False
    )
    return client


def _let_shrink(database: Path) -> None:
    """Have a database give its file's space back when what was in it is deleted: SQLite's own keeps it for ever."""
    # What cannot be read, the SuperLink says something about.
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as connection:
        if connection.execute("PRAGMA auto_vacuum").fetchone() == (_FULL,):
            return
        connection.execute(f"PRAGMA auto_vacuum = {_FULL}")
        connection.execute("VACUUM")  # which is what makes the setting count, in a new file and in an old one


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def _state(info: NodeInfo) -> NodeState | None:
    if info.status == "unregistered":
        return None
    try:
        node_key = node_key_of(info.public_key)
    except BadNodeKey:  # registered by somebody else than us
        return None
    online = info.status == "online"
    seen = info.online_until if info.HasField("online_until") else None
    if seen is not None and online:
        seen -= _BEATS * info.heartbeat_interval
    activated = dt.datetime.fromisoformat(info.last_activated_at).timestamp() if info.last_activated_at else None
    return NodeState(node_id=info.node_id, node_key=node_key, online=online, activated_at=activated, last_seen=seen)


def _empty_app(name: str) -> bytes:
    # Flower wants a bundle to start a run. This one has a name and no module; nobody unpacks it.
    text = f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1.0.0"
description = ""
license = {{text = "Apache-2.0"}}
[tool.flwr.app]
publisher = "fairshare"
[tool.flwr.app.components]
serverapp = "none:app"
clientapp = "none:app"
"""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        # A fixed date, so that the same name gives the same bundle and hash.
        archive.writestr(zipfile.ZipInfo("pyproject.toml", (2020, 1, 1, 0, 0, 0)), text)
    return packed.getvalue()
