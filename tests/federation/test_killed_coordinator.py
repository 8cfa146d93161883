"""A coordinator that is killed five times, at every step of its journal, and whose chain goes away: no round lost, none paid twice."""

import json
import os
import signal
import ssl
import urllib.request

from waiting import wait_for
from web3.types import RPCEndpoint

from fl.bundle.format import read_header
from fl.chain.invite import Invite
from fl.chain.task_state import Status

from .conftest import left_behind

# Collected, scored, signed, in a block and not written down, and sent to a node that makes no block.
KILLS = {1: "scoring", 2: "evaluating", 3: "posting", 4: "posted", 5: "sent"}


def test_no_round_is_lost_and_none_paid_twice(town):
    first = town.coordinator(*town.settings(), kill=(1, KILLS[1]))
    nodes = [town.node(number) for number in range(2)]
    assert first.ends() == -9
    for number, step in list(KILLS.items())[1:]:
        coordinator = town.coordinator(kill=(number, step))
        if step == "posting":
            coordinator.says("invite for clients")
            town.chain_goes_away(seconds=3)
        assert coordinator.ends() == -9, coordinator.said()

    last = town.coordinator()
    log = town.folder / "coordinator" / "run.log"
    wait_for(lambda: "are in no block yet; waiting" in log.read_text(), what=last.said)
    w3 = town.escrow.w3
    for method, arguments in (("evm_setAutomine", [True]), ("evm_mine", [])):
        w3.manager.request_blocking(RPCEndpoint(method), arguments)
    last.says("round  5/5")
    invite = Invite.read(town.folder / "coordinator" / "invite.json")
    trusting = ssl.create_default_context(cadata=invite.ca)
    with urllib.request.urlopen(f"{invite.gateway}/", context=trusting) as answer:
        assert b"<html" in answer.read()
    assert last.ends() == 0, last.said()
    assert [node.ends() for node in nodes] == [0, 0]

    escrow, task = town.escrow, invite.id_bytes
    _, state = escrow.task(task)
    assert (state.status, state.posted, state.cumulative) == (Status.CLOSED, 5, 100 * 10**18)
    summary = json.loads((town.folder / "coordinator" / "summary.json").read_text())
    assert [round_["round"] for round_ in summary["rounds"]] == [1, 2, 3, 4, 5]
    assert summary["status"] == "finished"
    accounts = [client["account"] for client in summary["clients"]]
    assert len(accounts) == 2
    assert sum(escrow.claimed(task, account) for account in accounts) == state.paid == 100 * 10**18
    for number in range(1, 6):
        # What is on chain is what the folder holds, one post a round.
        header, _ = read_header(town.folder / "coordinator" / "bundles" / f"round-{number:04d}")
        assert escrow.posting(task, number).header == header
        assert len(summary["rounds"][number - 1]["scores"]) == 2
    for node in nodes:
        assert sum("earned" in line for line in node.said().splitlines()) >= 4
        assert "claimed:" in node.said()
    assert left_behind(town.folder) == []


def test_ctrl_c_ends_a_coordinator_and_all_that_it_started(town):
    coordinator = town.coordinator(*town.settings())
    coordinator.says("waiting for clients: 0 of 2")
    assert len(left_behind(town.folder)) > 1  # its SuperLink too
    os.killpg(coordinator.process.pid, signal.SIGINT)
    assert coordinator.ends() == 130
    assert "stopped; `fl coordinator folder=" in coordinator.said()
    assert "Traceback" not in coordinator.said()
    assert left_behind(town.folder) == []
