"""Peers that are slow, silent or many keep nobody else waiting, and their connections end."""

from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest
from coordinator.gateway.node_call import head_of
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from network.nodes import asking

from fl.chain.node_key import flower_public_key
from fl.coordinator.gateway import request_limits
from fl.coordinator.superlink.grid import open_grid


def test_slow_nodes_keep_nobody_else_waiting(strangers, fleet, joined, signed):
    slow, node = joined(2)
    for _ in range(12):
        strangers(head_of("pull-messages", signed(slow.file)) + b"x")
    with fleet(node.file) as client:  # answered within a sixth of what a slow one has
        client._client.timeout = 10
        assert not client.PullMessages(PullMessagesRequest(node=Node(node_id=node.id))).messages_list


def test_peers_that_do_not_take_their_answers_keep_nobody_else_waiting(superlink, gateway, fleet, keys):
    files, on_chain = keys(1)
    node = Node(node_id=superlink.register(on_chain[0]))
    with open_grid(superlink) as grid, fleet(files[0]) as client, ExitStack() as stack:
        client.ActivateNode(ActivateNodeRequest(public_key=flower_public_key(on_chain[0]), heartbeat_interval=30))
        grid.push_messages(asking([node.node_id], size=4_000_000))  # 16 MB, more than a connection's buffers hold
        (tree,) = client.PullMessages(PullMessagesRequest(node=node)).message_object_trees
        pulls = [
            PullObjectRequest(node=node, run_id=grid.run.run_id, object_id=part.object_id)
            for part in iterate_object_tree(tree)
        ]
        largest = max(pulls, key=lambda request: len(client.PullObject(request).object_content))
        for _ in range(6):
            request = client._client.build_request(
                "POST",
                f"{client._base_url}/v1/fleet/pull-object",
                content=largest.SerializeToString(),
                headers={"content-type": PROTOBUF_MEDIA_TYPE},
            )
            client._interceptors[0].intercept(SimpleNamespace(request=request), lambda context: None)
            answer = client._client.send(request, stream=True)
            stack.callback(answer.close)
            assert answer.status_code == 200
        assert client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=30)).success


def test_a_request_that_does_not_come_is_given_up(gateway, strangers, joined, signed, monkeypatch):
    (node,) = joined(1)
    monkeypatch.setattr(request_limits, "_FIRST_S", 0.5)
    slow = strangers(head_of("push-object", signed(node.file)) + b"x")
    assert slow.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert gateway.refused["a request that did not come"] == 1


@pytest.mark.parametrize("said", [b"", b"POST /v1/fleet/pull"])
def test_a_connection_that_asks_for_nothing_is_closed(strangers, monkeypatch, said):
    monkeypatch.setattr(request_limits, "_HEAD_S", 0.5)
    assert strangers(said).recv(1000) == b""


def test_a_request_that_stops_in_its_head_is_closed_after_an_earlier_one_too(strangers, monkeypatch):
    monkeypatch.setattr(request_limits, "_HEAD_S", 0.5)
    idle = strangers(b"GET /api/hello HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = b""
    while b"you" not in answer:
        answer += idle.recv(1000)
    idle.sendall(b"GET /api")
    assert idle.recv(1000) == b""


def test_one_address_cannot_take_all_connections(strangers, stranger, gateway, monkeypatch):
    monkeypatch.setattr(gateway.slots, "most_of_one", 3)
    for _ in range(3):
        strangers()
    with pytest.raises(httpx.TransportError):
        stranger.get("/api/hello")


def test_bodies_that_are_on_their_way_have_a_limit(stranger, monkeypatch, gateway, joined, signed):
    (node,) = joined(1)
    monkeypatch.setattr(gateway.nodes, "intake", request_limits.Intake(most_of_one=1000))
    for _ in range(2):  # what was read is let go of
        answer = stranger.post("/v1/fleet/push-object", content=bytes(1001), headers=signed(node.file))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        answer = stranger.post("/v1/fleet/push-object", content=bytes(700), headers=signed(node.file))
        assert answer.status_code not in (401, 503)  # the SuperLink's own word
    assert len(gateway.nodes.intake) == 0
