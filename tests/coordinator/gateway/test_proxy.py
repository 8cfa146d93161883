import logging
import os
import signal
import socket
import ssl
from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from fastapi import APIRouter
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.routers.fleet.router import router as fleet_router
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from network.nodes import asking, light_nodes, wait_for
from starlette.responses import PlainTextResponse

from fl.chain.node_key import flower_public_key
from fl.coordinator.gateway import request_limits
from fl.coordinator.gateway.proxy import NODE_PATHS, GatewayFailed, running_gateway
from fl.coordinator.superlink.certificates import own_tls
from fl.coordinator.superlink.grid import open_grid


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return own_tls(tmp_path_factory.mktemp("tls"), names=["127.0.0.1"])


@pytest.fixture(scope="module")
def router():
    found = APIRouter()

    @found.get("/api/hello")
    def hello() -> dict[str, str]:
        return {"hello": "you"}

    return found


@pytest.fixture
def gateway(superlink, tls, router):
    with running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, routers=[router]) as running:
        yield running


@pytest.fixture
def stranger(gateway):
    """Somebody who has the CA certificate, and nothing else."""
    with httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=gateway.tls.trust()) as client:
        yield client


@pytest.fixture
def gateway_ca(tls, tmp_path):
    path = tmp_path / "gateway-ca.pem"
    path.write_text(tls.ca)
    return path


def test_the_node_calls_are_those_of_the_installed_flower():
    own_account = {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert {route.path for route in fleet_router.routes} == NODE_PATHS | own_account


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/control/start-run", "the control API"),
        ("/v1/control/register-node", "the control API"),
        ("/v1/runtime/acquire-task", "the runtime API"),
        ("/v1/fleet/register-node", "a node call that is not for nodes"),
        ("/v1/fleet/../control/list-runs", "the control API"),
        ("/v1/fleet/%2e%2e/control/list-runs", "a node call that is not for nodes"),
        ("//v1/control/list-runs", "a page that is not there"),
        ("/V1/control/list-runs", "a page that is not there"),
        ("/health", "a page that is not there"),
        ("/docs", "a page that is not there"),
    ],
)
def test_nothing_but_the_node_api_passes(gateway, stranger, caplog, path, kind):
    with caplog.at_level(logging.WARNING, logger="fl.coordinator.gateway.proxy"):
        answers = [
            stranger.post(path, content=b"", headers={"content-type": "application/x-protobuf"}) for _ in range(3)
        ]
    assert [one.status_code for one in answers] == [404] * 3
    assert "Flower" not in answers[0].text
    assert [one.getMessage() for one in caplog.records] == [
        f"127.0.0.1 asked for {kind} and was refused; this is said once"
    ]
    assert gateway.refused[kind] == 3


def test_a_node_call_is_a_post(stranger):
    assert stranger.get("/v1/fleet/pull-messages").status_code == 404


def test_the_api_that_is_mounted_is_served(stranger):
    assert stranger.get("/api/hello").json() == {"hello": "you"}
    assert stranger.get("/api/nothing").status_code == 404


def test_pages_get_what_is_left_and_never_the_superlinks_paths(superlink, tls):
    pages = PlainTextResponse("a page")
    with (
        running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, pages=pages) as gateway,
        httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=tls.trust()) as client,
    ):
        assert client.get("/anything").text == "a page"
        assert client.post("/v1/control/list-runs").status_code == 404


def test_an_unregistered_key_is_refused_and_logged_once(gateway, gateway_ca, keys, caplog):
    files, _ = keys(1)
    with caplog.at_level(logging.WARNING, logger="fl.coordinator.gateway.proxy"):
        for _ in range(2):
            with light_nodes(f"127.0.0.1:{gateway.port}", gateway_ca, files) as process:
                process.wait(timeout=400)
                assert "connected" not in process.stdout.read()
    lines = [one.getMessage() for one in caplog.records]
    assert lines == ["127.0.0.1 asked for the node API without a registered key and was refused; this is said once"]


@pytest.fixture
def fleet(gateway):
    """Opens the connection of a node with a key file of its own."""

    def opened(key_file):
        private = serialization.load_ssh_private_key(key_file.read_bytes(), None)
        interceptors = [NodeAuthHttpInterceptor(private, private.public_key())]
        return FleetHttpClient.from_server_address(
            f"127.0.0.1:{gateway.port}", False, gateway.tls.ca.encode(), interceptors
        )

    return opened


def test_a_node_cannot_speak_for_another_one(superlink, gateway, fleet, keys):
    files, on_chain = keys(2)
    own, other = [superlink.register(one) for one in on_chain]
    with fleet(files[0]) as client:
        assert (
            client.ActivateNode(
                ActivateNodeRequest(public_key=flower_public_key(on_chain[0]), heartbeat_interval=30)
            ).node_id
            == own
        )
        assert not client.PullMessages(PullMessagesRequest(node=Node(node_id=own))).messages_list
        for call, request in [
            (client.PullMessages, PullMessagesRequest(node=Node(node_id=other))),
            (client.DeactivateNode, DeactivateNodeRequest(node_id=other)),
            (
                client.ActivateNode,
                ActivateNodeRequest(public_key=flower_public_key(on_chain[1]), heartbeat_interval=30),
            ),
        ]:
            with pytest.raises(httpx.HTTPStatusError, match="401 Unauthorized"):
                call(request)
    assert gateway.refused["the node API without a registered key"] == 3


def test_a_superlink_that_is_away_is_told_as_one_to_ask_again(superlink, fleet, keys):
    files, on_chain = keys(1)
    node = Node(node_id=superlink.register(on_chain[0]))
    with fleet(files[0]) as client:
        os.kill(superlink.pid, signal.SIGKILL)
        with pytest.raises(httpx.HTTPStatusError, match="503 Service Unavailable") as caught:
            client.PullMessages(PullMessagesRequest(node=node))
        assert caught.value.response.headers["retry-after"] == "1"
        superlink.nodes()  # until it is back


def test_a_request_that_is_too_large_is_refused_before_it_is_read(superlink, tls):
    with (
        running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, largest_request=1000) as gateway,
        httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=tls.trust()) as client,
    ):
        assert client.post("/v1/fleet/push-object", content=bytes(1001)).status_code == 413
        # Without a length, it is counted as it comes.
        assert client.post("/v1/fleet/push-object", content=iter([bytes(600), bytes(600)])).status_code == 413
        assert gateway.refused["a request that is too large"] == 2


@pytest.fixture
def strangers(gateway):
    """Opens TLS connections that say just what they are told to."""
    opened = []

    def connect(said=b""):
        raw = socket.create_connection(("127.0.0.1", gateway.port), timeout=400)
        opened.append(gateway.tls.trust().wrap_socket(raw, server_hostname="127.0.0.1"))
        opened[-1].sendall(said)
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def test_slow_peers_keep_nobody_else_waiting(stranger, strangers):
    for _ in range(12):
        strangers(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx")
    answer = stranger.post("/v1/fleet/pull-messages", content=b"", timeout=30)  # half of what a slow one has
    assert answer.status_code == 415  # the SuperLink's own word


def test_peers_that_do_not_take_their_answers_keep_nobody_else_waiting(superlink, gateway, fleet, keys):
    files, on_chain = keys(1)
    node = Node(node_id=superlink.register(on_chain[0]))
    with open_grid(superlink) as grid, fleet(files[0]) as client, ExitStack() as stack:
        client.ActivateNode(ActivateNodeRequest(public_key=flower_public_key(on_chain[0]), heartbeat_interval=30))
        grid.push_messages(asking([node.node_id], size=4_000_000))  # 16 MB, more than a connection's buffers hold
        (tree,) = client.PullMessages(PullMessagesRequest(node=node)).message_object_trees
        pulls = [
            PullObjectRequest(node=node, run_id=grid.run.run_id, object_id=one.object_id)
            for one in iterate_object_tree(tree)
        ]
        largest = max(pulls, key=lambda one: len(client.PullObject(one).object_content))
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


def test_a_request_that_does_not_come_is_given_up(gateway, strangers, monkeypatch):
    monkeypatch.setattr(request_limits, "_FIRST_S", 0.5)
    slow = strangers(b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx")
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


def test_one_peer_cannot_take_all_connections(strangers, stranger, monkeypatch):
    monkeypatch.setattr(request_limits, "_MOST_OF_ONE", 3)
    for _ in range(3):
        strangers()
    with pytest.raises(httpx.TransportError):
        stranger.get("/api/hello")


def test_bodies_that_are_on_their_way_have_a_limit(stranger, monkeypatch, gateway):
    monkeypatch.setattr(gateway, "_intake", request_limits.Intake(most_of_one=1000))
    for _ in range(2):  # what was read is let go of
        answer = stranger.post("/v1/fleet/push-object", content=bytes(1001))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert stranger.post("/v1/fleet/push-object", content=bytes(1000)).status_code == 415


def test_a_node_announces_messages_of_its_own_and_of_a_size(superlink, gateway, fleet, stranger, keys):
    files, on_chain = keys(2)
    own, other = [superlink.register(one) for one in on_chain]

    def announced(name, objects=1):
        message = Message(metadata=Metadata(src_node_id=name, dst_node_id=other, reply_to_message_id="a" * 64))
        children = [ObjectTree(object_id=f"{number:064x}") for number in range(objects)]
        tree = ObjectTree(object_id="b" * 64, children=children)
        return PushMessagesRequest(node=Node(node_id=own), messages_list=[message], message_object_trees=[tree])

    problems = {
        # As another node it would answer for it; as the SuperLink (node 1) it would give another node orders.
        "a message in another's name": [announced(other), announced(1)],
        "a message of more than 1000 objects": [announced(own, objects=1000)],
    }
    with fleet(files[0]) as client:
        for problem, requests in problems.items():
            for request in requests:
                with pytest.raises(httpx.HTTPStatusError, match="400 Bad Request") as caught:
                    client.PushMessages(request)
                assert caught.value.response.text == f"{problem} is not taken\n"
            assert gateway.refused[problem] == len(requests)
    answer = stranger.post("/v1/fleet/push-messages", content=b"\xff")
    assert (answer.status_code, answer.text) == (400, "a message that cannot be read is not taken\n")


def test_who_does_not_trust_the_authority_gets_no_connection(gateway):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{gateway.port}/", verify=ssl.create_default_context())
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{gateway.port}/")


def test_a_port_that_is_taken_is_said(tls):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(GatewayFailed, match=f"cannot listen on 127.0.0.1:{port}.*name a free port"),
            running_gateway("127.0.0.1", port, tls=tls),
        ):
            pass


def test_fifty_nodes_at_once_take_part_in_a_round(superlink, gateway, gateway_ca, keys):
    files, on_chain = keys(50)
    ids = [superlink.register(one) for one in on_chain]
    address = f"127.0.0.1:{gateway.port}"
    with (
        open_grid(superlink, rejoin_s=300) as grid,
        light_nodes(address, gateway_ca, files, poll=3),
    ):  # as often as Flower's own
        wait_for(lambda: set(ids) <= set(grid.get_node_ids()), what="connecting")
        assert gateway.connections() >= 50
        replies = grid.send_and_receive(asking(ids, size=0), timeout=400)
    assert [reply.content["config"]["to"] for reply in replies if reply.has_content()] == [str(one) for one in ids]
