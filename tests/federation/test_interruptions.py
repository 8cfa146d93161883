"""A SuperLink that is killed in the middle of a task, and a coordinator that was away for long: no client loses a round."""

import json
import os
import signal
import sqlite3
from pathlib import Path

from fl.chain.invite import Invite
from fl.chain.task_state import Status

from .conftest import left_behind


def running(*words):
    """Process ids of those whose command line holds all these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def superlinks(folder):
    """Process ids of the SuperLinks that keep their state in the folder."""
    return running("fl.coordinator.superlink.locked", str(folder))


def tell(node, number):
    """Send a signal to a node and to its SuperNode, which has a session of its own."""
    own = running("clients.node.supernode", f"--parent-pid {node.process.pid} ")
    assert len(own) == 1
    for pid in (*own, node.process.pid):
        os.kill(pid, number)


def test_neither_a_superlink_that_dies_nor_a_long_stop_costs_a_client_a_round(town):
    coordinator = town.folder / "coordinator"
    first = town.coordinator(*town.settings(rounds=4), kill=(2, "posted"))
    nodes = [town.node(number) for number in range(2)]
    first.says("round  1/4")
    (superlink,) = superlinks(coordinator)
    os.kill(superlink, signal.SIGKILL)
    assert first.ends() == -9  # a round later, by its own hand

    # As if the stop had been so long that no node counts as connected. One of them comes back by itself.
    nodes[1].stop(signal.SIGKILL)
    nodes[1].ends()
    with sqlite3.connect(coordinator / "superlink" / "state.db") as database:
        assert database.execute("UPDATE node SET online_until = 0").rowcount == 2
    last = town.coordinator()
    last.says("waiting for nodes to come back: 1 of 2 connected")
    nodes[1] = town.node(1)
    assert last.ends() == 0, last.said()
    assert [node.ends() for node in nodes] == [0, 0]

    summary = json.loads((coordinator / "summary.json").read_text())
    assert [len(round_["scores"]) for round_ in summary["rounds"]] == [2] * 4
    invite = Invite.read(coordinator / "invite.json")
    _, state = town.escrow.task(invite.id_bytes)
    assert (state.status, state.posted, state.cumulative) == (Status.CLOSED, 4, 100 * 10**18)
    assert left_behind(town.folder) == []


def test_when_the_coordinators_line_breaks_the_first_node_back_does_not_have_the_pot_for_itself(town):
    coordinator = town.folder / "coordinator"
    rounds = 6
    process = town.coordinator(*town.settings(rounds=rounds, steps=200))
    nodes = [town.node(number) for number in range(2)]
    process.says("round  1/")
    for node in nodes:
        tell(node, signal.SIGSTOP)
    with sqlite3.connect(coordinator / "superlink" / "state.db", timeout=60) as database:
        assert database.execute("UPDATE node SET online_until = 0").rowcount == 2
    process.says("waiting for nodes to come back: 0 of 2 connected")
    tell(nodes[0], signal.SIGCONT)
    process.says("waiting for nodes to come back: 1 of 2 connected")
    tell(nodes[1], signal.SIGCONT)
    process.says("waiting for nodes to come back: 2 of 2 connected")
    assert process.ends() == 0, process.said()
    assert [node.ends() for node in nodes] == [0, 0]

    summary = json.loads((coordinator / "summary.json").read_text())
    scored = [len(round_["scores"]) for round_ in summary["rounds"]]
    assert len(scored) == rounds
    assert sum(count != 2 for count in scored) <= 1, scored  # the round that was open when the line broke
    assert left_behind(town.folder) == []
