"""`fl coordinator` that the kernel kills at one step of a round: killed.py ROUND STEP key=value …

STEP is the name of a step of `PayingStrategy`, which dies as it begins, or `posted`, when the transaction is in a block and
nothing was written down yet.
"""

import os
import signal
import sys

from fl.cli.main import main
from fl.coordinator.strategy import PayingStrategy

ROUND, STEP = int(sys.argv[1]), sys.argv[2]
step, post = PayingStrategy._step, PayingStrategy._post


def killing_step(self, server_round, name):
    if (server_round, name) == (ROUND, STEP):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, server_round, name)


def killing_post(self, header, signatures):
    posted = post(self, header, signatures)
    if (header.round, STEP) == (ROUND, "posted"):
        os.kill(os.getpid(), signal.SIGKILL)
    return posted


PayingStrategy._step, PayingStrategy._post = killing_step, killing_post
sys.argv = ["fl", "coordinator", *sys.argv[3:]]
main()
