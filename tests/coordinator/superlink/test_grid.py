import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from network.nodes import asking, light_nodes
from waiting import wait_for

from fl.coordinator.superlink import grid as module
from fl.coordinator.superlink.grid import GridLost, open_grid


@pytest.fixture
def grid(superlink):
    with open_grid(superlink, rejoin_s=2) as opened:
        yield opened


@pytest.fixture
def registered(superlink, keys):
    """Registers new node keys; returns the files and the node ids."""

    def register(count):
        files, on_chain = keys(count)
        return files, [superlink.register(key) for key in on_chain]

    return register


@pytest.fixture
def beside():
    """Runs something in another thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit


def line(nodes, word):
    """Read what nodes print up to a line that begins with a word."""
    for text in nodes.stdout:
        if text.startswith(word):
            return text
    raise AssertionError(f"the nodes ended and never said {word!r}")


def online(grid, ids):
    return set(ids) <= set(grid.get_node_ids())


def told(replies):
    return [reply.content["config"]["to"] if reply.has_content() else reply.error.reason for reply in replies]


def test_each_node_answers_its_own_message(superlink, ca, registered, grid):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files):
        wait_for(lambda: online(grid, ids), what="connecting")
        for round_number in (1, 2):
            messages = asking(ids, group=str(round_number))
            replies = grid.send_and_receive(messages, timeout=400)
            assert told(replies) == [str(node_id) for node_id in ids]
            assert [reply.metadata.src_node_id for reply in replies] == ids


def test_nobody_works_out_the_id_of_anothers_order(grid, registered, monkeypatch):
    _, ids = registered(2)
    sent = []
    monkeypatch.setattr(grid, "push_messages", lambda messages: [sent.append(message) or "" for message in messages])
    grid.send_and_receive([asking(ids)[0]] * 20)
    lives = {message.metadata.ttl for message in sent}
    assert len(lives) == 20  # and 2**32 that each could have been
    assert max(lives) - min(lives) > 0.1


def test_keys_and_liveness_of_nodes_are_known(superlink, ca, keys, grid):
    files, on_chain = keys(2)
    ids = [superlink.register(key) for key in on_chain]
    assert {node.node_id: node.online for node in grid.nodes() if node.node_id in ids} == dict.fromkeys(ids, False)
    with light_nodes(superlink.address, ca, files[:1]):
        wait_for(lambda: online(grid, ids[:1]), what="connecting")
        states = {node.node_id: node for node in grid.nodes()}
        assert (states[ids[0]].online, states[ids[1]].online) == (True, False)
        assert abs(states[ids[0]].last_seen - time.time()) < 60
        assert states[ids[1]].last_seen is None
    assert {node_id: grid.node_keys()[node_id] for node_id in ids} == dict(zip(ids, on_chain, strict=True))


def test_a_round_ends_at_its_deadline_and_an_answer_that_comes_later_is_dropped(
    superlink, ca, registered, grid, tmp_path
):
    files, ids = registered(1)
    with light_nodes(superlink.address, ca, files, hold=tmp_path / "now") as nodes:
        wait_for(lambda: online(grid, ids), what="connecting")
        (reply,) = grid.send_and_receive(asking(ids, group="1"), timeout=1)
        assert reply.error.reason.startswith("no answer within")
        assert reply.metadata.src_node_id == ids[0]
        line(nodes, "asked")
        (tmp_path / "now").touch()
        # Its answer to round 1 comes while round 2 is open, and is not taken for one.
        (reply,) = grid.send_and_receive(asking(ids, group="2"), timeout=400)
        assert reply.content["config"]["group"] == "2"


def test_the_grids_own_deadline_holds_where_it_is_the_shorter_one(superlink, registered):
    _, ids = registered(1)
    with open_grid(superlink, round_deadline_s=0.2) as grid:
        (reply,) = grid.send_and_receive(asking(ids), timeout=400)
    assert reply.has_error()


def test_a_superlink_that_is_killed_costs_a_round_nothing(superlink, ca, registered, grid, beside):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files, delay=2) as nodes:
        wait_for(lambda: online(grid, ids), what="connecting")
        before = superlink.restarts
        round_one = beside(grid.send_and_receive, asking(ids), timeout=400)
        line(nodes, "asked")
        os.kill(superlink.pid, signal.SIGKILL)
        assert told(round_one.result(400)) == [str(node_id) for node_id in ids]
        assert superlink.restarts == before + 1
        assert told(grid.send_and_receive(asking(ids, group="2"), timeout=400)) == [str(node_id) for node_id in ids]


def test_a_run_that_the_superlink_gave_up_is_made_anew_and_all_are_asked_again(superlink, ca, registered, grid, beside):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files, delay=2) as nodes:
        wait_for(lambda: online(grid, ids), what="connecting")
        first = grid.run.run_id
        round_one = beside(grid.send_and_receive, asking(ids), timeout=400)
        line(nodes, "asked")
        superlink.stop_run(first)
        assert told(round_one.result(400)) == [str(node_id) for node_id in ids]
        assert grid.run.run_id != first


def test_a_node_that_is_killed_and_comes_back_is_asked_again(superlink, ca, registered, beside):
    files, ids = registered(1)
    with open_grid(superlink, rejoin_s=200) as grid:
        with light_nodes(superlink.address, ca, files, delay=1000, beat=10) as nodes:
            wait_for(lambda: online(grid, ids), what="connecting")
            round_one = beside(grid.send_and_receive, asking(ids), timeout=400)
            line(nodes, "asked")
        with light_nodes(superlink.address, ca, files, again=1, beat=10) as nodes:
            assert told(round_one.result(400)) == [str(ids[0])]
        # Gone for good, it is given up when it had its time.
        grid.rejoin_s = 1
        (reply,) = grid.send_and_receive(asking(ids, group="2"), timeout=400)
        assert reply.error.reason == "the node lost its connection in the middle of the round"
        assert reply.metadata.src_node_id == ids[0]
        assert not online(grid, ids)


def test_a_superlink_that_hangs_is_given_up_with_what_to_do(superlink, monkeypatch):
    with open_grid(superlink) as grid:
        monkeypatch.setattr(module, "_PATIENCE_S", 1.0)
        grid._client._client.timeout = 0.5
        os.kill(superlink.pid, signal.SIGSTOP)
        try:
            with pytest.raises(GridLost) as caught:
                grid.get_node_ids()
        finally:
            os.kill(superlink.pid, signal.SIGCONT)
        grid._client._client.timeout = 30
    assert str(caught.value) == ("no answer from the SuperLink for 1 s (ReadTimeout); look at its log, and start again")


def test_a_node_that_has_left_is_not_waited_for(superlink, registered, grid):
    _, ids = registered(1)
    superlink.unregister(ids[0])
    (reply,) = grid.send_and_receive(asking(ids), timeout=400)
    assert reply.error.reason.startswith("the SuperLink refuses messages for this node")


LIES = {
    "garbage": r"the reply cannot be read \(DecodeError: .*\)",
    "childless": r"the reply cannot be read \(IndexError: .*\)",
    "orphan": f"the reply cannot be read \\(KeyError: '{'a' * 64}'\\)",
    "another type": "the reply is a ConfigRecord, a Message is expected",
    "no record": r"the reply (cannot be read|holds a ConfigRecord).*",
    "another node": "the reply says that node 4711 answers message .*; answer in the node's own name",
    "the SuperLink": "the reply says that node 1 answers message fff.*; answer in the node's own name",
    "another order": "the reply says that node [0-9]+ answers message eee.*; answer in the node's own name",
    "large": "the reply is larger than 9[0-9]{3} bytes, which no answer to this message has to be",
    "many": "the reply has 100[0-9] pieces, at most 1000 are taken",
}


def test_a_node_that_lies_is_refused_and_costs_nobody_else_anything(superlink, ca, registered, grid, monkeypatch):
    monkeypatch.setattr(module, "_REPLY_SLACK", 5000)
    files, ids = registered(2 + len(LIES))
    with light_nodes(superlink.address, ca, files, lie=",".join(["", "", *LIES])):
        wait_for(lambda: online(grid, ids), what="connecting")
        replies = grid.send_and_receive(asking(ids), timeout=400)
        assert told(replies[:2]) == [str(node_id) for node_id in ids[:2]]
        for (lie, refusal), reply in zip(LIES.items(), replies[2:], strict=True):
            assert re.fullmatch(refusal, reply.error.reason), lie
        assert [reply.metadata.src_node_id for reply in replies] == ids


def test_a_reply_that_is_announced_and_never_comes_holds_no_round_up(superlink, ca, registered, grid):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files, lie=",announced") as nodes:
        wait_for(lambda: online(grid, ids), what="connecting")
        (reply,) = grid.send_and_receive(asking(ids[1:]), timeout=4)
        assert reply.error.reason.startswith("no answer within")
        line(nodes, "asked")
        assert told(grid.send_and_receive(asking(ids[:1], group="2"), timeout=400)) == [str(ids[0])]


def test_a_grid_leaves_no_run_behind(superlink):
    with open_grid(superlink) as grid:
        assert superlink.stop_other_runs(grid.run.run_id) == []
    assert superlink.stop_other_runs() == []
