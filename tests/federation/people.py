"""People at terminals of their own: each has a machine, a home and an environment into which the wheel was installed, no more."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from docs.page_session import blocks_of
from network.namespaces import Machine
from waiting import DEADLINE_S, wait_for

ROOT = Path(__file__).parents[2]
SHELL = "/bin/bash"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (wheel,) = folder.glob("fairshare-*.whl")
    return wheel


def installed(wheel: Path, folder: Path) -> Path:
    """An environment that has the wheel; what it needs beside its own code is this environment's. Returns its folder of commands."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    there = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "zz_packages.pth").write_text("\n".join(there) + "\n")  # read for paths alone: no checkout gets in
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check", "--quiet",
            "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel),
        ],
        check=True,
    )  # fmt: skip
    return folder / "bin"


@dataclass(kw_only=True)
class Terminal:
    """One command at a terminal of its own: what it prints is kept, and its owner can type."""

    process: subprocess.Popen
    screen: int
    printed: list[bytes] = field(default_factory=list)
    read_to: int = 0  # characters that were waited for

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # which is how a terminal ends
            while more := os.read(self.screen, 1 << 16):
                self.printed.append(more)

    def said(self) -> str:
        """All that was printed so far, without colours."""
        return _COLOURS.sub("", b"".join(self.printed).decode(errors="replace")).replace("\r\n", "\n")

    def says(self, text: str) -> str:
        """Wait for a text, after those that were waited for before; returns its line."""

        def found() -> str | None:
            said = self.said()
            place = said.find(text, self.read_to)
            assert place >= 0 or self.process.poll() is None, f"it ended without {text!r}: {said}"
            if place < 0:
                return None
            begin, end = said.rfind("\n", 0, place) + 1, said.find("\n", place)
            if end < 0 and not said.endswith((": ", "] ")):  # a question has no end of line
                return None
            self.read_to = place + len(text)
            return said[begin : end if end >= 0 else len(said)]

        return wait_for(found, what=lambda: f"{text!r} in {self.said()!r}")

    def types(self, text: str) -> None:
        """Type a line."""
        os.write(self.screen, f"{text}\n".encode())

    def presses_ctrl_c(self) -> None:
        """As the key does it."""
        os.write(self.screen, b"\x03")

    def ends(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(timeout=DEADLINE_S)


@dataclass(kw_only=True)
class Person:
    """Somebody with a machine."""

    name: str
    machine: Machine
    home: Path
    path: str  # of their shell
    terminals: list[Terminal] = field(default_factory=list)

    def runs(self, line: str) -> Terminal:
        """Type a command line into a shell of one's own."""
        screen, inside = pty.openpty()
        process = subprocess.Popen(
            self.machine.command([SHELL, "-c", line]),
            cwd=self.home,
            env={
                "PATH": self.path, "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8", "COLUMNS": "110",
                "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1",
            },
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: os.login_tty(os.dup(0)),  # noqa: PLW1509 (a password is read from the terminal)
        )  # fmt: skip
        os.close(inside)
        terminal = Terminal(process=process, screen=screen)
        self.terminals.append(terminal)
        return terminal

    def does(self, line: str) -> str:
        """Run a command that ends by itself; returns what it printed."""
        terminal = self.runs(line)
        assert terminal.ends() == 0, terminal.said()
        return terminal.said()

    def leaves(self) -> None:
        """End what still runs."""
        for terminal in self.terminals:
            if terminal.process.poll() is None:
                os.killpg(terminal.process.pid, signal.SIGKILL)
                terminal.process.wait()
            os.close(terminal.screen)


def commands_of(page: Path, *, section: str) -> list[list[str]]:
    """The command lines of a section's `sh` blocks, as they stand: continued lines are one, comments stay.

    Args:
        page: Of the documentation.
        section: Its heading.
    """
    text = page.read_text()
    assert f"\n## {section}\n" in text
    whole = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = [block.text for block in blocks_of(page) if block.language == "sh" and block.text in whole]
    return [[line for line in text.replace("\\\n", "").splitlines() if line.strip()] for text in blocks]


def path_of(*folders: Path | str) -> str:
    """A PATH."""
    return os.pathsep.join(map(str, folders))
