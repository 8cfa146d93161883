"""Runs pages of the documentation as sessions: what a reader would type, in order, in an empty folder.

Fenced blocks are taken as they stand. `sh` is run by bash, which stops at the first failure; `python` blocks that follow
each other are one program (`page-python` is the caller's to give); a block with title="FILE" is written to that file. All other languages are only shown.
A comment before a block, which the built site does not show, changes how it runs:

<!-- in the background until: TEXT -->   go on once the block has printed TEXT; it is ended with the page
<!-- in tests: A => B -->               anywhere on the page: B is run where A is printed (shorter settings, loopback)
<!-- here in tests: COMMANDS -->        run here, for what a reader has by then
<!-- continues PAGE -->                 anywhere on the page: it goes on where that page ends, in the same folder
<!-- fails: TEXT -->                    the block has to fail and say TEXT

Ports are replaced by free ones, so that pages run beside each other.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"^<!-- here in tests: (?P<here>[^\n]+) -->$"
    r"|(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_REPLACE = re.compile(r"^<!-- in tests: (.+?) => (.*?) -->\n", re.M)
_CONTINUES = re.compile(r"^<!-- continues (.+?) -->$", re.M)
_PORTS = re.compile(r"\b(8545|8080|8443|9090|9464|6006)\b")
_BACKGROUND = "in the background until: "
_FAILS = "fails: "


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    title: str = ""  # file that it goes to
    note: str = ""  # of the comment before it


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order, as they are run."""
    text = page.read_text()
    swaps = _REPLACE.findall(text)
    found = []
    for match in _FENCE.finditer(_REPLACE.sub("", text)):
        body = match["text"] or f"{match['here']}\n"
        for shown, run in swaps:
            body = body.replace(shown, run.replace("__page__", repr(str(page))))
        language, title, note = match["language"] or "sh", match["title"] or "", match["note"] or ""
        found.append(Block(language=language, text=body, title=title, note=note))
    fences = sum(1 for match in _FENCE.finditer(_REPLACE.sub("", text)) if match["language"])
    assert text.count("\n```") == 2 * fences, f"{page} has a fence that the runner does not read"
    return found


def sessions_of(pages: list[Path]) -> list[list[Path]]:
    """Pages that are read one after the other, as those that continue another one say; most are alone."""
    following = {page: (page.parent / match[1]) for page in pages if (match := _CONTINUES.search(page.read_text()))}
    sessions = [[page] for page in pages if page not in following]
    for session in sessions:
        while more := [page for page, before in following.items() if before == session[-1]]:
            session += more
            del following[more[0]]
    assert not following, f"these continue no page: {following}"
    return sessions


def script_of(blocks: list[Block], *, folder: Path) -> str:
    """The page as one bash script; python programs and files go into the folder."""
    lines = ["set -euo pipefail", "background=()", "trap 'kill ${background[@]} 2>/dev/null || true; wait' EXIT"]
    ports: dict[str, str] = {}

    def local(text: str) -> str:
        return _PORTS.sub(lambda match: ports.setdefault(match[0], str(_free_port())), text)

    program: list[str] = []
    for number, block in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if block.title:
            name = shlex.quote(block.title)
            lines += [f"mkdir -p $(dirname {name})", f"cat > {name} <<'end of file'", block.text + "end of file"]
        elif block.language == "python":
            program.append(block.text)
            if following is None or following.language != "python" or following.title:
                path = folder / f".block-{number}.py"
                path.write_text(local("\n".join(program)))
                lines.append(f"page-python {shlex.quote(str(path))}")
                program = []
        elif block.language == "sh":
            lines += [f"echo '== block {number}'", *_shell(block, number=number, text=local(block.text))]
    return "\n".join([*lines, "echo '== the end'", ""])


def run_pages(
    pages: list[Path], *, folder: Path, environment: dict[str, str], timeout_s: float = 540
) -> subprocess.CompletedProcess:
    """Run the pages of a session; nothing that they started outlives it."""
    script = folder / ".session.sh"
    script.write_text(script_of([block for page in pages for block in blocks_of(page)], folder=folder))
    process = subprocess.Popen(
        ["bash", str(script)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        output = f"still running after {timeout_s} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.wait(), output)


def _shell(block: Block, *, number: int, text: str) -> list[str]:
    if block.note.startswith(_FAILS):
        said = shlex.quote(block.note.removeprefix(_FAILS))
        return [f"( {text} ) > .log-{number} 2>&1 && exit 1", f"cat .log-{number}", f"grep -qF -- {said} .log-{number}"]
    if block.note.startswith(_BACKGROUND):
        said = shlex.quote(block.note.removeprefix(_BACKGROUND))
        return [
            f"( {text.rstrip()} ) > .log-{number} 2>&1 &",
            "background+=($!)",
            f"until grep -qF -- {said} .log-{number}; do",
            f"  kill -0 $! 2>/dev/null || {{ cat .log-{number}; exit 1; }}",
            "  sleep 0.2",
            "done",
            f"cat .log-{number}",
        ]
    return [text.rstrip()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
