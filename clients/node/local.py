"""One node of `fl run engine=superlink`: a SuperNode and its executor, as `fl client` runs them, for a client that the run plays.

    python -m clients.node.local FOLDER

FOLDER holds `node.json` (SuperLink, certificate, app and node configuration) and `node_key`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import torch

from clients.errors import AnswerLost
from clients.node.executor import Executor
from clients.node.loop import load_app
from clients.node.supernode import SuperNode, end_with
from fl.foreign.files import read_file
from fl.foreign.json_text import read_json

log = logging.getLogger(__name__)

_POLL_S = 0.05


def main() -> int:
    """Answer messages until the run that started this process ends it, or ends itself; returns the exit status.

    A SuperNode that died is not started again: the run sees that a node is gone, and its log says why.
    """
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told = read_json(read_file(folder / "node.json", most=1 << 20))
    supernode = SuperNode(folder=folder, superlink=told["superlink"], ca=told["ca"], node_key=folder / "node_key")
    supernode.start(clock_offset_s=0.0)
    if told["threads"]:
        torch.set_num_threads(told["threads"])
    app = load_app(told["app"])
    executor = Executor(
        f"127.0.0.1:{supernode.port}", secret=supernode.secret, app=lambda: app, node_config=told["config"]
    )
    try:
        while supernode.runs:
            try:
                worked = executor.step()
            except httpx.HTTPError as error:  # it is starting
                log.debug("SuperNode: %s", error)
                worked = False
            if not worked:
                time.sleep(_POLL_S)
        log.error("the SuperNode ended: %s", supernode.why())
    except AnswerLost as error:
        time.sleep(_POLL_S)  # a process that was killed is found gone a moment later
        log.error("the SuperNode took no answer (%s): %s", error.reason, supernode.why())
    except KeyboardInterrupt:
        return 0  # the run is over
    finally:
        executor.close()
        supernode.stop()
    return 1


if __name__ == "__main__":
    sys.exit(main())
