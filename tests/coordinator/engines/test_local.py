"""The local engine: any number of workers gives the same answers, nodes keep their state, and nothing is left behind."""

import multiprocessing
import os

import numpy as np
import pytest
from coordinator.engines.counting_app import app, made
from flwr.app import Message, RecordDict

from fl.coordinator.config import EngineConfig
from fl.coordinator.engines.local import LocalGrid, workers_for
from fl.errors import ConfigError
from fl.task.held_arrays import record_of

NODES = range(2, 9)
BASE = np.linspace(-1, 1, 50, dtype=np.float32)


@pytest.fixture
def grid_of():
    """Makes grids, and ends their workers."""
    grids = []

    def make(*, workers, together=None, **configs):
        nodes = {node: {"number": node, **configs.get(f"node_{node}", {})} for node in NODES}
        grids.append(LocalGrid(app, nodes, workers=workers, together=together))
        return grids[-1]

    yield make
    for grid in grids:
        grid.close()


def ask(grid):
    """One round; the replies in order."""
    record = record_of({"w": BASE}, shared=True)
    return list(grid.send_and_receive([Message(RecordDict({"arrays": record}), node, "train") for node in NODES]))


def values(replies):
    return [(reply.metadata.src_node_id, reply.content["arrays"]["w"].numpy().tobytes()) for reply in replies]


def test_any_number_of_workers_gives_the_same_bits_in_the_same_order(grid_of):
    one_worker, two_workers, three_workers = (grid_of(workers=count) for count in (1, 2, 3))
    for _ in range(3):  # the state of a node moves its answer
        alone = values(ask(one_worker))
        assert [node for node, _ in alone] == list(NODES)
        assert alone == values(ask(two_workers)) == values(ask(three_workers))


def test_workers_are_processes_of_their_own_and_end_with_the_grid(grid_of):
    grid = grid_of(workers=2)
    ask(grid)
    processes = {reply.content["metrics"]["process"] for reply in ask(grid)}
    assert len(processes) == 2
    assert os.getpid() not in processes
    grid.close()
    assert not processes & {child.pid for child in multiprocessing.active_children()}


def test_a_worker_that_dies_fails_its_own_nodes_and_the_next_round_has_all_again(grid_of):
    grid = grid_of(workers=2, node_4={"dies-at": 2})
    ask(grid)
    replies = {reply.metadata.src_node_id: reply for reply in ask(grid)}
    failed = {node for node, reply in replies.items() if reply.has_error()}
    assert 4 in failed
    assert failed <= {2, 4, 6, 8}  # every other node is another worker's
    assert replies[4].error.reason == "its worker died with exit status 7"
    assert not any(reply.has_error() for reply in ask(grid))


def test_an_app_trains_together_what_it_can_and_is_asked_for_the_rest(grid_of):
    def together(messages, contexts):
        return {
            place: Message(RecordDict({"arrays": made(np.zeros(3, np.float32))}), reply_to=message)
            for place, (message, context) in enumerate(zip(messages, contexts))
            if context.node_id != 5
        }

    found = values(ask(grid_of(workers=1, together=together)))
    expected = values(ask(grid_of(workers=1)))
    zeros = np.zeros(3, np.float32).tobytes()
    assert [answer for _, answer in found] == [expected[3][1] if node == 5 else zeros for node in NODES]


def test_an_app_that_fails_to_train_together_is_asked_one_by_one(grid_of, caplog):
    def together(messages, contexts):
        raise RuntimeError("no room")

    assert values(ask(grid_of(workers=1, together=together))) == values(ask(grid_of(workers=1)))
    assert "the app failed to train its nodes together" in caplog.text


def test_auto_takes_a_worker_a_core_where_torch_has_one_thread(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert workers_for("auto", threads=1, clients=100) == 4
    assert workers_for("auto", threads=1, clients=3) == 3
    assert workers_for("auto", threads=0, clients=100) == 1
    assert workers_for("3", threads=1, clients=100) == 3


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"workers": "0"}, "engine.workers is '0'; set auto, or 1 or more"),
        ({"vectorised": "maybe"}, "engine.vectorised is 'maybe'; set true, false or auto"),
        ({"workers": "2", "threads": 2}, "engine.workers is 2 and engine.threads is 2; a worker has one thread"),
        (
            {"name": "ray", "vectorised": "true"},
            "engine.workers and engine.vectorised are of engine=local, this is ray",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(values, told):
    with pytest.raises(ConfigError, match=told.replace(".", r"\.")):
        EngineConfig(**values)
