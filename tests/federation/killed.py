"""`fl coordinator` that the kernel kills at one step of a round: killed.py ROUND STEP key=value …

STEP is the name of a step of a round, which dies as it begins; or `sent`, when the node has the transaction and no
block has it, nor will before the test says so; or `posted`, when it is in a block and nothing was written down yet.
"""

import os
import signal
import sys

from web3.types import RPCEndpoint

from fl.chain import inclusion
from fl.cli.main import main
from fl.coordinator.round import strategy
from fl.coordinator.round.clock import RoundClock

ROUND, STEP = int(sys.argv[1]), sys.argv[2]
step, post, broadcast = RoundClock.step, strategy.post_round, inclusion._broadcast


def killing_step(self, name):
    if (self.number, name) == (ROUND, STEP):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, name)


def killing_broadcast(w3, transaction, **options):
    broadcast(w3, transaction, **options)
    os.kill(os.getpid(), signal.SIGKILL)


def killing_post(task, header, *, signatures):
    if (header.round, STEP) == (ROUND, "sent"):
        task.escrow.w3.manager.request_blocking(RPCEndpoint("evm_setAutomine"), [False])
        inclusion._broadcast = killing_broadcast
    posted = post(task, header, signatures=signatures)
    if (header.round, STEP) == (ROUND, "posted"):
        os.kill(os.getpid(), signal.SIGKILL)
    return posted


RoundClock.step, strategy.post_round = killing_step, killing_post
sys.argv = ["fl", "coordinator", *sys.argv[3:]]
main()
