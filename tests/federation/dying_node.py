"""`fl client` that is killed when it is asked to agree whose words are in: between its update and the unmasking.

python dying_node.py ROUND client key=value …
"""

import os
import signal
import sys

from clients.privacy import answers
from fl.cli.main import main

DIES_IN = int(sys.argv.pop(1))
agree = answers._STEPS["agree"]


def dies(body, blob, *, kept, **others):
    """The step as it is, but for the one round."""
    if kept.round == DIES_IN:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    return agree(body, blob, kept=kept, **others)


answers._STEPS["agree"] = dies

if __name__ == "__main__":
    main()
