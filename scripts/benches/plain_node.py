"""A node of the bench: a SuperNode and its executor, as `fl client` runs them, around the plain app.

plain_node.py SUPERLINK CA_FILE KEY_FILE FOLDER NUMBER OF
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import fl.cli.commands.client  # noqa: F401 - what `fl client` has in memory while it waits
from clients.node.executor import Executor
from clients.node.supernode import SuperNode


def main() -> None:
    """Answer until killed."""
    superlink, ca, key, folder, number, of = sys.argv[1:]
    node = SuperNode(folder=Path(folder), superlink=superlink, ca=Path(ca).read_text(), node_key=Path(key))
    node.start(clock_offset_s=0.0)
    executor = None
    try:
        while node.runs:
            if executor is None and node.node_id is not None:
                config = {"partition-id": int(number), "num-partitions": int(of)}
                executor = Executor(f"127.0.0.1:{node.port}", secret=node.secret, app=plain_app, node_config=config)
            if executor is None or not executor.step():
                time.sleep(0.05)  # as often as `fl client` looks while rounds run
    finally:
        node.stop()


def plain_app():
    """The app, imported when the first message is there."""
    from plain_app import app  # noqa: PLC0415 - torch comes with it

    return app


if __name__ == "__main__":
    main()
