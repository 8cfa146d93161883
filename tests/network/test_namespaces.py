"""Machines with addresses of their own: what the gateway shows is all that another machine can reach."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from network.namespaces import available, lan

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "namespaces are there")

# Runs a SuperLink and a gateway on the machine `hub` until it is told to end.
HUB = """
import sys
from pathlib import Path
from fl.chain.node_key import create_node_key
from fl.coordinator.superlink.certificates import own_tls
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.process import running_superlink
from fl.coordinator.superlink.grid import open_grid
from network.nodes import asking
from waiting import wait_for

folder, address, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
tls = own_tls(folder / "tls", names=[address])
(folder / "ca.pem").write_text(tls.ca)
with running_superlink(folder / "superlink") as superlink:
    ids = [superlink.register(create_node_key(folder / f"node-{number}.key")) for number in range(count)]
    with running_gateway("0.0.0.0", 0, tls=tls, superlink=superlink) as gateway, open_grid(superlink) as grid:
        print(gateway.port, superlink.port, flush=True)
        wait_for(lambda: set(ids) <= set(grid.get_node_ids()), what="connecting")
        replies = grid.send_and_receive(asking(ids), timeout=400)
        print(sum(reply.has_content() for reply in replies), flush=True)
        sys.stdin.readline()
"""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def start(environment):
    """Starts Python on a machine of the lan."""
    started = []

    def on(machine, *arguments):
        tests = str(Path(__file__).parents[1])
        paths = os.pathsep.join([environment["PYTHONPATH"], tests])
        process = subprocess.Popen(
            machine.command([sys.executable, *arguments]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": paths},
            process_group=0,
        )
        started.append(process)
        return process

    yield on
    for process in started:
        process.kill()
        process.communicate()


def test_nodes_on_other_machines_take_part_and_reach_nothing_but_the_gateway(tmp_path, start):
    with lan(["hub", "alice", "bob"]) as machines:
        hub = start(machines["hub"], "-c", HUB, tmp_path, machines["hub"].address, "2")
        gateway, superlink = hub.stdout.readline().split()
        address = f"{machines['hub'].address}:{gateway}"
        for number, name in enumerate(("alice", "bob")):
            node = f"{__file__.rpartition('/')[0]}/light_nodes.py"
            start(machines[name], node, address, tmp_path / "ca.pem", tmp_path / f"node-{number}.key")
        assert hub.stdout.readline() == "2\n"
        for port, seen in ((gateway, "reached\n"), (superlink, "ConnectionRefusedError\n")):
            assert start(machines["alice"], "-c", REACH, machines["hub"].address, port).stdout.readline() == seen
        machines["alice"].unplug()
        cut_off = start(machines["alice"], "-c", REACH, machines["hub"].address, gateway)
        assert cut_off.stdout.readline() in ("OSError\n", "TimeoutError\n")
        machines["alice"].plug()
