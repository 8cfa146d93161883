"""A node of `fl run engine=superlink` whose SuperNode dies ends, and says why."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fl.chain.node_key import create_node_key
from fl.coordinator.superlink.grid import open_grid

HERE = Path(__file__).parent


@pytest.fixture
def start(superlink, launcher, tmp_path, until):
    """Starts a node that runs `slow_app`; returns its process, what it logged, and its SuperNode's process id."""
    python, environment = launcher
    started = []

    def begin():
        superlink.register(create_node_key(tmp_path / "node_key"))
        told = {"superlink": superlink.address, "ca": superlink.ca.decode(), "app": "slow_app:app", "threads": 1}
        (tmp_path / "node.json").write_text(json.dumps({**told, "config": {}}))
        with (tmp_path / "node.log").open("wb") as output:
            process = subprocess.Popen(
                [python, "-m", "clients.node.local", str(tmp_path)],
                env={
                    **environment,
                    "SLOW_APP_FOLDER": str(tmp_path),
                    "PYTHONPATH": f"{HERE}:{HERE.parents[2]}",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        started.append(process)
        until(lambda: any(node.online for node in superlink.nodes()), what="the node connected")
        (supernode,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return process, (tmp_path / "node.log").read_text, int(supernode)

    yield begin
    for process in started:
        process.kill()
        process.wait()
    for node in superlink.nodes():
        superlink.unregister(node.node_id)


def test_a_dead_supernode_is_named(start):
    process, logged, supernode = start()
    os.kill(supernode, signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    assert "the SuperNode ended: signal 9" in logged()
    assert "Traceback" not in logged()


def test_a_supernode_that_dies_while_its_answer_is_made_is_named(start, superlink, tmp_path, until):
    process, logged, supernode = start()
    with open_grid(superlink, rejoin_s=0) as grid:
        (node_id,) = grid.get_node_ids()
        question = Message(RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(3, np.float32))})}), node_id, "query")
        grid.push_messages([question])  # no answer will come, so none is waited for
        until((tmp_path / "trained").exists, what="the training")
        os.kill(supernode, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert process.wait(timeout=60) == 1
    assert "ERROR __main__: the SuperNode took no answer (" in logged()
    assert "): signal 9" in logged()
    assert "Traceback" not in logged()
