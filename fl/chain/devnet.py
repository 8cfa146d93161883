"""A devnet that lasts: an Anvil whose chain is kept in a folder."""

from __future__ import annotations

import fcntl
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl.chain.anvil import running_anvil
from fl.chain.errors import AnvilFailed, ChainError
from fl.chain.whole_file import write_whole

log = logging.getLogger(__name__)

_COPY_EVERY_S = 1.0  # the chain is looked at; Anvil saves it every few seconds


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

    A kill costs a few seconds of the chain's life at most, wherever it falls.

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
            with (
                running_anvil(
                    accounts=accounts, log=log_file, port=port, host=host, state=state, block_time_s=block_time_s
                ) as url,
                _copies(state),
            ):
                yield url
        except AnvilFailed as error:
            if "in use" in error.output:
                raise DevnetFailed(
                    where=f"port {port} of {host}", problem="is in use; stop what listens there, or set port="
                ) from error
            raise


def _check(state: Path) -> None:
    """Keep a copy of a chain that can be read, and go back to it from one that cannot."""
    if not state.exists():
        return
    if (chain := _read(state)) is not None:
        write_whole(_copy_of(state), chain)
    elif (chain := _read(_copy_of(state))) is not None:
        log.warning("%s is damaged; going on from its last copy", state)
        write_whole(state, chain)
    else:
        raise DevnetFailed(where=str(state), problem="is damaged; remove it to start a new chain")


@contextmanager
def _copies(state: Path) -> Iterator[None]:
    """Copy the chain whenever it is saved: Anvil writes it in place, and a kill in the middle leaves half of it."""
    ended = threading.Event()

    def keep_copying() -> None:
        copied = None
        while not ended.wait(_COPY_EVERY_S):
            try:
                saved = state.stat().st_mtime_ns
                if saved != copied and (chain := _read(state)) is not None:
                    write_whole(_copy_of(state), chain)
                    copied = saved
            except FileNotFoundError:
                continue  # a new chain is not saved yet
            except OSError as error:
                log.warning("%s is not copied: %s", state, error)

    thread = threading.Thread(target=keep_copying, name="devnet copies", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _copy_of(state: Path) -> Path:
    return state.with_name("state-before.json")


def _read(state: Path) -> bytes | None:
    """A saved chain; None where it cannot be read, or only in part."""
    try:
        content = state.read_bytes()
        return content if isinstance(json.loads(content), dict) else None
    except (OSError, ValueError):
        return None
