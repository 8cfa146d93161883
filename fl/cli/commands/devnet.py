"""`fl devnet`: a chain on this machine that is still there after a restart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from fl.chain.devnet import running_devnet
from fl.chain.sender import connect
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.values import is_whole
from fl.errors import ConfigError

KNOWN = {
    "folder": "where the chain is kept, devnet by default",
    "port": "8545 by default; 0 takes a free one",
    "host": "address to listen on, 127.0.0.1 by default; 0.0.0.0 lets other machines in",
    "accounts": "funded test accounts of a new chain, 20 by default",
    "block_time": "seconds between blocks; a block for each transaction if not set",
}
_EVERYWHERE = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(arguments: Sequence[str]) -> None:
    """Run until Ctrl-C or a polite kill; the chain is saved then."""
    values = parse(arguments, known=KNOWN, command="devnet")
    folder, host = Path(values.get("folder", "devnet")), values.get("host", "127.0.0.1")
    port, accounts = _number(values, "port", 8545, most=65535), _number(values, "accounts", 20, most=1000)
    block_time = _seconds(values.get("block_time"))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with running_devnet(folder, host=host, port=port, accounts=accounts, block_time_s=block_time) as url:
        for everywhere in _EVERYWHERE:
            url = url.replace(f"//{everywhere}:", "//127.0.0.1:")
        w3 = connect(url)
        block = w3.eth.block_number
        print(f"chain {w3.eth.chain_id} at {url}, " + (f"resumed at block {block}" if block else "new"))
        print(f"{accounts} funded test accounts, whose keys everybody knows; kept in {folder}")
        if host not in _LOOPBACK:
            print("other machines can reach it, and anybody who does can move everything on it")
        if not block:
            # What is deployed with goes into the invite: others have to reach the chain by it.
            named = url if host in _LOOPBACK else f"http://NAME-OF-THIS-MACHINE:{url.rpartition(':')[2]}"
            print(f"next: fl deploy chain={named}")
        print("Ctrl-C stops and saves it", flush=True)
        try:
            # In short waits: Python acts on a signal only between them.
            while not stop.wait(1):
                pass
        except KeyboardInterrupt:
            pass
        print("saving the chain", flush=True)


def _number(values: dict[str, str], name: str, default: int, *, most: int) -> int:
    text = values.get(name, str(default))
    if not is_whole(text) or int(text) > most:
        raise ConfigError(f"{name} is {text!r}; write a whole number up to {most}")
    return int(text)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ConfigError(f"block_time is {text!r}; write seconds, more than 0")
    return seconds
