"""How long people wait for a command: to its help, to its first line, from an invite to a question, and to a working node.

`help_seconds`: `fl --help`. `first_line_seconds`: commands that train nothing, to the first line that they print.
`question_seconds`: `fl client INVITE TABLE` on an empty machine, from its start to the question: key, faucet, table, trial round and
preview. `connected_seconds`: the same with the answer, until the node is connected, without the time that a person takes to read.
`later_start_seconds`: the same folder again. `demo_seconds`: `scripts/demo` after its set-up. Each is the median of `repeats`.

The devnet and the coordinator run on this machine too, as on no client's, but have nothing to do until clients come.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from measurement import ROOT, report, settings

from fl.chain.accounts import anvil_account
from fl.chain.deployment import Deployment
from fl.chain.devnet import running_devnet
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.sender import connect

FL = [sys.executable, "-m", "fl.cli.main"]
ENVIRONMENT = {
    **os.environ,
    "FAIRSHARE_PASSWORD": "a long password of a bench",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
}
COMMANDS = {
    "status": ["status", "folder=coordinator"],
    "devnet": ["devnet", "port=0"],
    "events": ["events", "--help"],
    "client": ["client", "--help"],
    "coordinator": ["coordinator", "--help"],
}
MOST_S = 300.0  # that anything is waited for


class Started:
    """A process and the lines that it printed, each with the moment at which it came."""

    def __init__(self, arguments: Sequence[str], *, folder: Path) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._said = b""
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            with self._more:
                self._said += data
                self._more.notify_all()

    def until(self, text: str) -> float:
        """Seconds from its start until it printed a text; "" is anything at all."""
        with self._more:
            if not self._more.wait_for(lambda: text.encode() in self._said and self._said, timeout=MOST_S):
                raise SystemExit(f"bench: no {text!r} in {MOST_S:.0f} s; it printed {self._said.decode()}")
        return time.perf_counter() - self.began

    def line_with(self, text: str) -> str:
        """The line that holds a text, once it is there."""
        self.until(text)
        while True:
            line = next(line for line in self._said.decode().split("\n") if text in line)
            if f"{line}\n" in self._said.decode():
                return line
            time.sleep(0.05)

    def answer(self, text: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()
        self.began = time.perf_counter()

    def end(self) -> None:
        """Press Ctrl-C and wait."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def started(*arguments: str, folder: Path) -> Iterator[Started]:
    """An `fl` command, ended at the end."""
    found = Started([*FL, *arguments], folder=folder)
    try:
        yield found
    finally:
        found.end()


def main() -> None:
    """Wait for each in turn."""
    values = settings({"repeats": "3", "rows": "400"})
    repeats = int(values["repeats"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chain = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(running_devnet(chain, port=0))
        deploy(url).write(folder / "deployment.json")
        for name, seed in (("holdout.csv", 99), ("table.csv", 1)):
            table(folder / name, seed=seed, rows=int(values["rows"]))
        told = stack.enter_context(started("coordinator", *task(url, folder), folder=folder))
        told.until("as a link: ")
        result = {
            "help_seconds": median(lambda: first_line(["--help"], folder), repeats),
            "first_line_seconds": {
                name: median(lambda arguments=arguments: first_line(arguments, folder), repeats)
                for name, arguments in COMMANDS.items()
            },
        }
        invite = str(folder / "coordinator" / "invite.json")
        question, connected, later = zip(
            *(newcomer(invite, folder / str(each)) for each in range(repeats)), strict=True
        )
    result["question_seconds"] = round(statistics.median(question), 2)
    result["connected_seconds"] = round(statistics.median(connected), 2)
    result["later_start_seconds"] = round(statistics.median(later), 2)
    result["demo_seconds"] = median(demo, repeats)
    report("waits", result)


def median(measure, repeats: int) -> float:
    """Of several seconds."""
    return round(statistics.median(measure() for _ in range(repeats)), 2)


def first_line(arguments: Sequence[str], folder: Path) -> float:
    """Seconds until an `fl` command prints anything."""
    with started(*arguments, folder=folder) as command:
        return command.until("")


def newcomer(invite: str, home: Path) -> tuple[float, float, float]:
    """Seconds to the question, to a connected node less what is between question and answer, and of a later start."""
    home.mkdir()
    (home / "table.csv").write_bytes((home.parent / "table.csv").read_bytes())
    with started("client", invite, "table.csv", folder=home) as command:
        question = command.until("[y/N]")
        command.answer("y")
        connected = question + command.until("connected to ")
    with started("client", invite, "table.csv", "accept=true", folder=home) as command:
        later = command.until("connected to ")
    return question, connected, later


def demo() -> float:
    """Seconds of the demo, which finds its set-up done."""
    began = time.perf_counter()
    subprocess.run([ROOT / "scripts" / "demo"], check=True, capture_output=True)
    return time.perf_counter() - began


def deploy(url: str) -> Deployment:
    """The contracts on a devnet."""
    w3, sponsor = connect(url), anvil_account(0, chain_id=31337)
    token, _ = Token.deploy(w3, account=sponsor)
    escrow, parts = Escrow.deploy(w3, account=sponsor)
    return Deployment(chain_id=31337, url=url, contract=escrow.address, token=token.address, block=parts[-1].block)


def table(path: Path, *, seed: int, rows: int) -> None:
    """Rows whose label is the sign of their first column."""
    values = np.random.default_rng(seed).normal(size=(rows, 3))
    lines = ["a,b,c,label", *(f"{a:.4f},{b:.4f},{c:.4f},{int(a > 0)}" for a, b, c in values)]
    path.write_text("\n".join(lines) + "\n")


def task(url: str, folder: Path) -> list[str]:
    """What the coordinator is told: a small task that waits for more clients than will come."""
    return [
        f"folder={folder / 'coordinator'}", "data=holdout", f"data.path={folder / 'holdout.csv'}", "data.target=label",
        "model=logistic", f"chain.url={url}", f"chain.deployment={folder / 'deployment.json'}", "host=127.0.0.1", "port=0",
        "clients=50", "rounds=3", "steps=20", "budget=100", "challenge_window=10",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
