"""A devnet that lasts: an Anvil whose chain is kept in a folder."""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl.chain.anvil import running_anvil
from fl.chain.errors import AnvilFailed, ChainError

log = logging.getLogger(__name__)


class DevnetFailed(ChainError):
    """A devnet cannot start: its port or its folder is in use, or what is kept there cannot be read."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"the devnet cannot start: {self.where} {self.problem}"


@contextmanager
def running_devnet(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8545, accounts: int = 20, block_time_s: float | None = None
) -> Iterator[str]:
    """Run the devnet of a folder, from where it was; yields its URL, and saves the chain at the end.

    A kill costs a few seconds of the chain's life at most.

    Args:
        folder: Made if it is not there; one devnet at a time may use it.
        port: 0 takes a free one.
        accounts: Funded accounts of Anvil's published mnemonic, in a new chain.
        block_time_s: Seconds between blocks; None makes one for each transaction.
    Raises: DevnetFailed; AnvilMissing; AnvilFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevnetFailed(
                where=f"folder {folder}", problem="is in use by another devnet; stop it, or name another folder"
            ) from None
        state = folder / "state.json"
        _check(state)
        log_file = folder / "anvil.log"
        try:
            with running_anvil(
                accounts=accounts, log=log_file, port=port, host=host, state=state, block_time_s=block_time_s
            ) as url:
                yield url
        except AnvilFailed as error:
            if "in use" in error.output:
                raise DevnetFailed(
                    where=f"port {port} of {host}", problem="is in use; stop what listens there, or set port="
                ) from error
            raise


def _check(state: Path) -> None:
    """Keep a copy of a chain that can be read, and go back to it from one that cannot."""
    before = state.with_name("state-before.json")
    if not state.exists():
        return
    if _readable(state):
        shutil.copyfile(state, before)
    elif _readable(before):
        # Anvil was killed while it wrote.
        log.warning("%s is damaged; going on from the start before", state)
        shutil.copyfile(before, state)
    else:
        raise DevnetFailed(where=str(state), problem="is damaged; remove it to start a new chain")


def _readable(state: Path) -> bool:
    try:
        return isinstance(json.loads(state.read_bytes()), dict)
    except (OSError, ValueError):
        return False
