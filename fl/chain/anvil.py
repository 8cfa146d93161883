"""A local chain: starts Anvil on a free port, waits until it listens, and stops it with everything it started."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fl.chain.accounts import without_secrets
from fl.chain.errors import AnvilFailed, AnvilMissing

CHAIN_STATE = "chain.json"  # in the folder of a run on an Anvil of its own
CHECKOUT_CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
_LISTENING = re.compile(r"Listening on (\S+:\d+)")
_STATE_INTERVAL_S = 5  # what a kill costs at most
_SAVING_S = 60  # that Anvil has to write a chain at the end
_PR_SET_PDEATHSIG = 1
# Where the kernel can, it takes Anvil down with us even when we are killed without a chance to clean up. The library is
# loaded here, not between fork and exec.
_DIE_WITH_PARENT = (
    partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGTERM) if sys.platform == "linux" else None
)


def find_anvil() -> Path:
    """Anvil on PATH, or the one that npm put beside the contracts of a checkout. Raises: AnvilMissing."""
    if on_path := shutil.which("anvil"):
        return Path(on_path)
    # npm's `bin` link is made by an install script that many machines forbid; the binary itself is in the platform package.
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}.get(platform.system(), "")
    cpu = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    binary = "anvil.exe" if system == "win32" else "anvil"
    found = CHECKOUT_CONTRACTS / "node_modules" / "@foundry-rs" / f"anvil-{system}-{cpu}" / "bin" / binary
    if not found.exists():
        raise AnvilMissing
    return found


@contextmanager
def running_anvil(
    *,
    accounts: int = 10,
    log: Path,
    port: int = 0,
    host: str = "127.0.0.1",
    state: Path | None = None,
    block_time_s: float | None = None,
) -> Iterator[str]:
    """An Anvil with `accounts` funded test accounts; yields its URL and stops it at the end.

    Args:
        accounts: Funded accounts of the published mnemonic.
        log: File that takes what Anvil prints.
        port: 0 takes a free one.
        host: Address to listen on.
        state: File that the chain is kept in: read if it is there, written every few seconds and at the end.
        block_time_s: Seconds between blocks; None makes one for each transaction.
    Raises: AnvilMissing; AnvilFailed with Anvil's own words.
    """
    command = [str(find_anvil()), "--host", host, "--port", str(port), "--accounts", str(accounts)]
    if state is not None:
        command += ["--state", str(state), "--state-interval", str(_STATE_INTERVAL_S)]
    if block_time_s is not None:
        command += ["--block-time", f"{block_time_s:g}"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        # Beyond 500 blocks Anvil writes each block's state to disk, megabytes each, and leaves them in the home folder for good.
        tempfile.TemporaryDirectory(prefix="anvil-", ignore_cleanup_errors=True) as states,
        log.open("wb") as output,
    ):
        process = subprocess.Popen(
            [*command, "--cache-path", states],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=without_secrets(),
            # Ctrl-C goes to the whole process group; Anvil is stopped by us, after the last transactions.
            process_group=0,
            preexec_fn=_DIE_WITH_PARENT,  # noqa: PLW1509 (one system call; no lock that a thread could hold)
        )
        try:
            yield f"http://{_wait_until_listening(process, log)}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=5 if state is None else _SAVING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path, *, deadline_s: float = 30) -> str:
    steps = int(deadline_s / 0.02)
    for _ in range(steps):
        if found := _LISTENING.search(log.read_text(errors="replace")):
            return found.group(1)
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AnvilFailed(output="\n".join(log.read_text(errors="replace").splitlines()[-5:]))
