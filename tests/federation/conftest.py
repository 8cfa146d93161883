"""The whole product on loopback: a devnet, a coordinator, and nodes, each a process of its own started by its command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from network.namespaces import Machine
from waiting import DEADLINE_S, wait_for

from fl.chain.accounts import anvil_account
from fl.chain.deployment import Deployment
from fl.chain.devnet import running_devnet
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.sender import connect

FIRST_CLIENT = 5  # index of Anvil's published accounts
KILLED = Path(__file__).parent / "killed.py"


@dataclass(kw_only=True)
class Command:
    """One `fl` command in a process of its own."""

    process: subprocess.Popen
    printed: Path

    def said(self) -> str:
        """All that it printed so far."""
        return self.printed.read_text()

    def says(self, text: str) -> str:
        """Wait for a line that holds `text`; returns the line."""

        def found() -> str | None:
            line = next((line for line in self.said().splitlines() if text in line), None)
            assert line or self.process.poll() is None, f"it ended without {text!r}: {self.said()}"
            return line

        return wait_for(found, what=lambda: f"{text!r} in {self.said()!r}")

    def ends(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(timeout=DEADLINE_S)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


@dataclass(kw_only=True)
class Town:
    """A devnet and the commands that people start on it."""

    folder: Path
    deployment: Deployment
    environment: dict[str, str]
    port: int
    chain: ExitStack
    chain_folder: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def escrow(self) -> Escrow:
        """The contract."""
        return self.deployment.connect()[1]

    def chain_goes_away(self, *, seconds: float) -> None:
        """Stop the chain, and start it again where it was."""
        self.chain.close()
        threading.Event().wait(seconds)
        port = int(self.deployment.url.rpartition(":")[2])
        self.chain.enter_context(running_devnet(self.chain_folder, port=port))

    def rows(self, name: str, *, seed: int, count: int = 60) -> Path:
        """A table whose label is the sign of its first column."""
        values = np.random.default_rng(seed).normal(size=(count, 3))
        lines = ["a,b,c,label", *(f"{a:.4f},{b:.4f},{c:.4f},{int(a > 0)}" for a, b, c in values)]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, program: Sequence[str], name: str) -> Command:
        """Start a process whose output goes to a file."""
        printed = self.folder / f"{name}-{len(self.commands)}.out"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                program,
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        command = Command(process=process, printed=printed)
        self.commands.append(command)
        return command

    def fl(self, name: str, *arguments: str) -> Command:
        """Start `fl` with these arguments."""
        return self.start([sys.executable, "-m", "fl.cli.main", name, *arguments], name)

    def coordinator(self, *arguments: str, kill: tuple[int, str] | None = None) -> Command:
        """Start the coordinator in the town's folder; `kill` names the round and step at which it is killed."""
        told = [f"folder={self.folder / 'coordinator'}", *arguments]
        if kill:
            return self.start([sys.executable, str(KILLED), str(kill[0]), kill[1], *told], "coordinator")
        return self.fl("coordinator", *told)

    def settings(self, **changes: object) -> list[str]:
        """What a first start says: a tiny task on the rows of `holdout.csv`."""
        holdout = self.rows("holdout.csv", seed=99, count=80)
        values = {
            "data": "holdout",
            "data.path": holdout,
            "data.target": "label",
            "model": "logistic",
            "chain.url": self.deployment.url,
            "chain.deployment": self.folder / "deployment.json",
            "host": "127.0.0.1",
            "port": self.port,
            "clients": 2,
            "rounds": 5,
            "steps": 5,
            "budget": 100,
            "challenge_window": 10,
            "poll": 0.3,
            **changes,
        }
        return [f"{key}={value}" for key, value in values.items()]

    def node(self, number: int, *arguments: str) -> Command:
        """Start a client's node, with the tokens that it stakes."""
        account = anvil_account(FIRST_CLIENT + number, chain_id=31337)
        token = self.deployment.connect()[2]
        if token.balance(account.address) == 0:
            token.mint(account.address, 1000 * 10**18, account=anvil_account(0, chain_id=31337))
        data = self.folder / f"shard-{number}.csv"
        if not data.exists():
            self.rows(data.name, seed=number)
        invite = self.folder / "coordinator" / "invite.json"
        wait_for(invite.exists, what=lambda: f"an invite; said: {self.commands[0].said()}")
        told = [f"invite={invite}", f"data={data}", f"anvil={FIRST_CLIENT + number}", "accept=true"]
        return self.fl("client", *told, f"folder={self.folder / f'node-{number}'}", *arguments)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def town(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Town]:
    """A devnet with the contracts; everything that was started is gone at the end."""
    chain_folder = tmp_path_factory.mktemp("devnet")  # Anvil's command line names it, and no command's of the town does
    with ExitStack() as chain:
        url = chain.enter_context(running_devnet(chain_folder, port=0))
        w3, sponsor = connect(url), anvil_account(0, chain_id=31337)
        token, _ = Token.deploy(w3, account=sponsor)
        escrow, parts = Escrow.deploy(w3, account=sponsor)
        deployment = Deployment(
            chain_id=31337, url=url, contract=escrow.address, token=token.address, block=parts[-1].block
        )
        deployment.write(tmp_path / "deployment.json")
        town = Town(
            folder=tmp_path,
            deployment=deployment,
            environment=environment,
            port=free_port(),
            chain=chain,
            chain_folder=chain_folder,
        )
        try:
            yield town
        finally:
            for command in town.commands:
                if command.process.poll() is None:
                    command.stop(signal.SIGINT)
            for command in town.commands:
                try:
                    command.process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    os.killpg(command.process.pid, signal.SIGKILL)
                    command.process.wait()


@pytest.fixture
def on(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Command]]:
    """Runs a program, `fl` by default, on a machine of a lan, each a process of its own; all of them are gone at the end."""
    started: list[Command] = []

    def run(machine: Machine, *arguments: str, program: Sequence[str] = ("-m", "fl.cli.main")) -> Command:
        printed = tmp_path / f"{len(started)}-{machine.name}-{arguments[0]}.out"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                machine.command([sys.executable, *program, *arguments]),
                cwd=tmp_path,
                env={**environment, "FAIRSHARE_PASSWORD": "many machines in one box"},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        started.append(command := Command(process=process, printed=printed))
        return command

    yield run
    for command in started:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
            command.process.wait()


def done(command: Command) -> str:
    """Wait for a command that ends by itself; returns what it printed."""
    assert command.ends() == 0, command.said()
    return command.said()
