"""The `ray` engine: the same bits as the local one, nodes that fail alone, and nothing left behind."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.clientapp import ClientApp

from fl.coordinator.config import EngineConfig
from fl.coordinator.engines.ray import EngineUnavailable
from fl.coordinator.engines.registry import open_engine

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; pip install 'fairshare[ray]'"
)
PROBE = "coordinator.engines.probe_app:app"


def free_port():
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(environment):
    """The address of a Ray cluster of this machine alone, as `ray start --head` starts one."""
    port, folder = free_port(), tempfile.mkdtemp(prefix="fr-")  # sockets lie in it, and their paths must be short
    command = [
        Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=2", f"--port={port}",
        f"--ray-client-server-port={free_port()}", "--node-ip-address=127.0.0.1", "--include-dashboard=false",
        f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            seen = ""
            while "Ray runtime started" not in seen:
                line = process.stdout.readline()
                assert line, f"Ray did not start: {seen}"
                seen += line
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def connected(cluster):
    """This process, connected to that cluster as a notebook may be; engines use it and leave it."""
    import ray  # noqa: PLC0415 - where it is installed

    ray.init(
        address=cluster,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
    )
    yield cluster
    assert ray.is_initialized(), "an engine ended a Ray that was not its own"
    ray.shutdown()


@pytest.fixture(scope="module")
def engine(connected):
    """Two workers, which import the app once for all tests; one that dies or is late is replaced."""
    with open_engine(EngineConfig(name="ray", client_app=PROBE, address=connected), folder=Path()) as opened:
        yield opened


@pytest.fixture
def grid_of(engine):
    """Makes grids of so many nodes, on two workers."""

    def make(count):
        configs = {number: {"name": f"node {number}"} for number in range(2, 2 + count)}
        return engine.grid(configs, on_reply=lambda node_id: None)

    return make


@pytest.fixture
def grid(grid_of):
    """Six nodes."""
    return grid_of(6)


def ask(grid, wishes, *, timeout=None):
    """Send each node its wish; the replies by node."""
    messages = [
        grid.create_message(RecordDict({"wish": ConfigRecord(wish)}), "train", node_id, "1") for node_id, wish in wishes
    ]
    return {reply.metadata.src_node_id: reply for reply in grid.send_and_receive(messages, timeout=timeout)}


def told(reply):
    """What a node said."""
    return dict(reply.content.config_records["told"])


@needs_ray
def test_more_nodes_than_workers_answer_one_message_at_a_time_and_keep_their_state(grid_of):
    grid = grid_of(110)
    for turn in (1, 2):
        replies = ask(grid, [(node_id, {}) for node_id in grid.get_node_ids()])
        assert {node_id: told(reply) for node_id, reply in replies.items()} == {
            node_id: {"count": turn, "node": f"node {node_id}", "threads": 1} for node_id in range(2, 112)
        }
    messages = [
        grid.create_message(RecordDict({"wish": ConfigRecord({})}), "train", 2, str(number)) for number in range(3)
    ]
    assert [told(reply)["count"] for reply in grid.send_and_receive(messages)] == [3, 4, 5]


@needs_ray
def test_a_node_that_raises_or_dies_costs_the_others_nothing(grid):
    replies = ask(grid, [(2, {"raise": True}), (3, {"die": True}), (4, {}), (5, {})])
    assert replies[2].error.reason == "ValueError: no data today"
    assert replies[3].error.reason.startswith("its worker failed (")
    assert told(replies[4])["count"] == told(replies[5])["count"] == 1
    again = ask(grid, [(node_id, {}) for node_id in grid.get_node_ids()])
    assert [told(again[node_id])["count"] for node_id in range(2, 8)] == [2, 1, 2, 2, 1, 1]


@needs_ray
def test_a_node_that_is_late_is_left_out(grid):
    # The first answers are worth the imports of both workers, if no test before had them.
    ask(grid, [(node_id, {}) for node_id in grid.get_node_ids()])
    started = time.monotonic()
    ask(grid, [(2, {}), (3, {})])
    enough = 5 + 10 * (time.monotonic() - started)  # of what an answer takes on this machine today
    replies = ask(grid, [(2, {"sleep": 100 * enough}), (3, {})], timeout=enough)
    assert set(replies) == {3}
    assert set(ask(grid, [(node_id, {}) for node_id in grid.get_node_ids()])) == set(grid.get_node_ids())


# ---- what is refused ---------------------------------------------------------------------------------------------------


def refusal(**settings):
    """What is said when an engine with these settings is opened."""
    with pytest.raises(EngineUnavailable) as caught, open_engine(EngineConfig(name="ray", **settings), folder=Path()):
        pass
    return str(caught.value)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal() == "engine=ray needs Ray, which is not installed; run: pip install 'fairshare[ray]'"


@needs_ray
def test_a_cluster_that_nobody_runs_is_refused_at_once():
    assert refusal(address="127.0.0.1:9").startswith(
        "no Ray cluster answers at 127.0.0.1:9 (Connection refused); start"
    )
    for address in ("here", "host:port", "ray://host"):
        assert refusal(address=address).startswith(f"engine.address is {address!r}; write host:port")


@needs_ray
def test_a_cluster_that_cannot_run_the_app_is_refused(connected, monkeypatch):
    here = types.ModuleType("only_here")
    here.app = ClientApp()
    monkeypatch.setitem(sys.modules, "only_here", here)
    said = refusal(address=connected, client_app="only_here:app")
    assert said.startswith(f"a worker of the Ray cluster at {connected} cannot load only_here:app: ")
    assert "No module named 'only_here'" in said
    assert refusal(address=connected, client_app=PROBE, cpus=99.0) == (
        "no worker of 99 CPUs and 0 GPUs fits on a machine of the Ray cluster; lower engine.cpus or engine.gpus"
    )


# ---- what is left ------------------------------------------------------------------------------------------------------


def processes_of(session):
    """Ray's processes, and ours, in a session of processes."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return listed.stdout.splitlines()


def wait_until(what, *, seconds=180.0):
    """Poll until it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
    return answer


@needs_ray
def test_a_run_that_is_interrupted_leaves_no_process(python, environment, tmp_path):
    command = [
        python, "-m", "fl.cli.main", "run", "engine=ray", "task.rounds=1000", "partition.clients=3", "data.limit=300",
        "partition.min_samples=1",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: list(Path(tmp_path).glob("runs/*/bundles/round-0001")) or process.poll() is not None)
            assert process.poll() is None, "the run ended before it was stopped"
            assert any("raylet" in line for line in processes_of(process.pid))
            os.kill(process.pid, signal.SIGINT)
            process.wait(timeout=180)
            wait_until(lambda: not processes_of(process.pid), seconds=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
