import os
import signal
import time

import pytest
from network.nodes import asking, light_nodes, wait_for

from fl.coordinator.superlink_grid import open_grid


@pytest.fixture
def grid(superlink):
    with open_grid(superlink, rejoin_s=2) as opened:
        yield opened


@pytest.fixture
def registered(superlink, keys):
    """Registers new node keys; returns the files and the node ids."""

    def register(count):
        files, on_chain = keys(count)
        return files, [superlink.register(one) for one in on_chain]

    return register


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
            replies = grid.send_and_receive(messages, timeout=60)
            assert told(replies) == [str(one) for one in ids]
            assert [reply.metadata.src_node_id for reply in replies] == ids


def test_keys_and_liveness_of_nodes_are_known(superlink, ca, keys, grid):
    files, on_chain = keys(2)
    ids = [superlink.register(one) for one in on_chain]
    assert {node.node_id: node.online for node in grid.nodes() if node.node_id in ids} == dict.fromkeys(ids, False)
    with light_nodes(superlink.address, ca, files[:1]):
        wait_for(lambda: online(grid, ids[:1]), what="connecting")
        states = {node.node_id: node for node in grid.nodes()}
        assert (states[ids[0]].online, states[ids[1]].online) == (True, False)
        assert abs(states[ids[0]].last_seen - time.time()) < 60
        assert states[ids[1]].last_seen is None
    assert {one: grid.node_keys()[one] for one in ids} == dict(zip(ids, on_chain, strict=True))


def test_a_round_ends_at_its_deadline_and_says_who_did_not_answer(superlink, ca, registered, grid):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files[:1]), light_nodes(superlink.address, ca, files[1:], delay=4) as slow:
        wait_for(lambda: online(grid, ids), what="connecting")
        replies = grid.send_and_receive(asking(ids, group="1"), timeout=3)
        assert told(replies)[0] == str(ids[0])
        assert replies[1].error.reason.startswith("no answer within")
        assert replies[1].metadata.src_node_id == ids[1]
        # Its answer to round 1 comes while round 2 is open, and is not taken for one.
        again = grid.send_and_receive(asking(ids, group="2"), timeout=60)
        assert [reply.content["config"]["group"] for reply in again] == ["2", "2"]
        slow.kill()


def test_a_superlink_that_is_killed_costs_a_round_nothing(superlink, ca, registered, grid):
    files, ids = registered(2)
    with light_nodes(superlink.address, ca, files, delay=1):
        wait_for(lambda: online(grid, ids), what="connecting")
        before = superlink.restarts
        messages = asking(ids)
        pushed = grid.push_messages(messages)
        os.kill(superlink.pid, signal.SIGKILL)
        replies = {}
        wait_for(
            lambda: (
                replies.update({r.metadata.reply_to_message_id: r for r in grid.pull_messages(pushed)})
                or len(replies) == 2
            ),
            what="answers",
        )
        assert superlink.restarts == before + 1
        assert told(grid.send_and_receive(asking(ids, group="2"), timeout=60)) == [str(one) for one in ids]
