import datetime as dt
import logging
import os
import signal
import socket
import sqlite3
import ssl
from base64 import b64decode, b64encode
from contextlib import closing

import httpx
import pytest
from coordinator.gateway.node_call import head_of
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.superlink.routers.fleet.router import router as fleet_router
from network.nodes import asking, light_nodes
from starlette.responses import PlainTextResponse
from waiting import wait_for

from fl.chain.node_key import flower_public_key
from fl.coordinator.gateway.allowance import ANSWERS
from fl.coordinator.gateway.node_calls import NODE_PATHS
from fl.coordinator.gateway.node_key_check import NotEnrolled, caller_of
from fl.coordinator.gateway.proxy import GatewayFailed, running_gateway
from fl.coordinator.gateway.turns import Turns
from fl.coordinator.superlink.grid import open_grid
from fl.coordinator.superlink.process import _let_shrink


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
    assert [answer.status_code for answer in answers] == [404] * 3
    assert "Flower" not in answers[0].text
    assert [record.getMessage() for record in caplog.records] == [
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
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["127.0.0.1 asked for the node API without a registered key and was refused; this is said once"]


def test_a_node_cannot_speak_for_another_one(superlink, gateway, fleet, keys):
    files, on_chain = keys(2)
    own, other = [superlink.register(key) for key in on_chain]
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
    assert gateway.refused["the node API in another node's name"] == 3


def test_a_superlink_that_is_away_is_told_as_one_to_ask_again(superlink, fleet, keys):
    files, on_chain = keys(1)
    node = Node(node_id=superlink.register(on_chain[0]))
    with fleet(files[0]) as client:
        os.kill(superlink.pid, signal.SIGKILL)
        with pytest.raises(httpx.HTTPStatusError, match="503 Service Unavailable") as caught:
            client.PullMessages(PullMessagesRequest(node=node))
        assert caught.value.response.headers["retry-after"] == "1"
        superlink.nodes()  # until it is back


def test_a_request_that_is_too_large_is_refused_before_it_is_read(superlink, tls, joined, signed):
    (node,) = joined(1)
    with (
        running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, largest_request=1000) as gateway,
        httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=tls.trust()) as client,
    ):
        answer = client.post("/v1/fleet/push-object", content=bytes(1001), headers=signed(node.file))
        assert (answer.status_code, answer.text) == (413, "more than 1000 bytes\n")
        assert gateway.refused["a request that is too large"] == 1


def test_a_node_announces_messages_of_its_own_and_of_a_size(gateway, fleet, stranger, joined, signed):
    node, another = joined(2)
    own, other = node.id, another.id

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
    with fleet(node.file) as client:
        for problem, requests in problems.items():
            for request in requests:
                with pytest.raises(httpx.HTTPStatusError, match="400 Bad Request") as caught:
                    client.PushMessages(request)
                assert caught.value.response.text == f"{problem} is not taken\n"
            assert gateway.refused[problem] == len(requests)
    answer = stranger.post("/v1/fleet/push-messages", content=b"\xff", headers=signed(node.file))
    assert (answer.status_code, answer.text) == (400, "a message that cannot be read is not taken\n")


@pytest.mark.parametrize("spelled", ["/v1/fleet/pull%2Dmessages", "/v1/fleet/pull-messages?x=1"])
def test_the_path_that_is_passed_on_is_the_one_that_was_checked(stranger, joined, signed, spelled):
    (node,) = joined(1)
    assert stranger.post(spelled, content=b"", headers=signed(node.file)).status_code == 404


def test_a_call_without_an_enrolled_key_waits_for_nothing_and_reads_nothing(
    gateway, strangers, keys, signed, monkeypatch
):
    files, on_chain = keys(2)
    gateway._superlink.register(on_chain[0])
    now = dt.datetime.now(dt.UTC)
    someone_elses = signed(files[0]) | {FLEET_HTTP_SIGNATURE_HEADER: signed(files[1])[FLEET_HTTP_SIGNATURE_HEADER]}
    unsigned = {
        "of nobody": {},
        "that is not enrolled": signed(files[1]),
        "of an hour ago": signed(files[0], at=now - dt.timedelta(hours=1)),
        "of the next hour": signed(files[0], at=now + dt.timedelta(hours=1)),
        "signed by another": someone_elses,
        "of no time": signed(files[0]) | {TIMESTAMP_HEADER: "soon"},
        "that is long": signed(files[0]) | {FLEET_HTTP_PUBLIC_KEY_HEADER: "A" * 1000},
    }
    # Where all turns are taken, whoever queued would hear nothing.
    monkeypatch.setattr(gateway.nodes, "_turns", Turns(0, of_one=0, waiting_of_one=100))
    for what, headers in unsigned.items():
        said = strangers(head_of("push-object", headers, length=10**9))  # and not a byte of it
        assert said.recv(1000).startswith(b"HTTP/1.1 401 "), what
    assert gateway.refused["the node API without a registered key"] == len(unsigned)


def test_a_key_on_a_curve_that_nobody_knows_is_no_enrolled_one(keys, signed):
    headers = signed(keys(1)[0][0])
    public = b64decode(headers[FLEET_HTTP_PUBLIC_KEY_HEADER])
    der = b64decode(b"".join(public.splitlines()[1:-1])).replace(b"\x2b\x81\x04\x00\x22", b"\x2b\x81\x04\x40\x22")
    odd = b"-----BEGIN PUBLIC KEY-----\n" + b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    assert odd != public
    with pytest.raises(NotEnrolled):
        caller_of(
            {**headers, FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(odd).decode()},
            node_of=lambda key: 7,
            now=dt.datetime.now(dt.UTC),
        )


def test_a_node_pushes_no_more_than_answers_what_it_was_asked(superlink, tls, joined, signed):
    greedy, node = joined(2)
    with (
        running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, largest_request=1000) as gateway,
        httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=tls.trust()) as client,
    ):
        gateway.nodes.allowances.take(signed(greedy.file)[FLEET_HTTP_PUBLIC_KEY_HEADER], size=3000)
        answer = client.post("/v1/fleet/push-object", content=bytes(10), headers=signed(greedy.file))
        assert (answer.status_code, answer.text) == (413, "more than answers what this node was given to do\n")
        # Another node has what it had; what the SuperLink refuses counts, since it was sent.
        for _ in range(3):
            answer = client.post("/v1/fleet/push-object", content=b"\x0a" * 900, headers=signed(node.file))
            assert answer.status_code not in (200, 401, 413)
        pushed = client.post("/v1/fleet/push-object", content=b"\x0a" * 900, headers=signed(node.file))
        assert pushed.status_code == 413


def test_what_the_superlink_never_stores_is_not_pushed_without_end(superlink, tls, joined, signed):
    (greedy,) = joined(1)
    # To a run that there is not; the SuperLink fails over it, as it does while its database is locked.
    push = PushObjectRequest(node=Node(node_id=greedy.id), run_id=1, object_id="a" * 64, object_content=bytes(800))
    with (
        running_gateway("127.0.0.1", 0, tls=tls, superlink=superlink, largest_request=1000) as gateway,
        httpx.Client(base_url=f"https://127.0.0.1:{gateway.port}", verify=tls.trust()) as client,
    ):
        answers = [
            client.post(
                "/v1/fleet/push-object", content=push.SerializeToString(), headers=signed(greedy.file)
            ).status_code
            for _ in range(20)
        ]
    assert answers[:3] == [503] * 3
    assert answers[-3:] == [413] * 3


def test_a_message_lets_its_node_answer_it(superlink, gateway, fleet, joined, signed):
    (own,) = joined(1)
    node = Node(node_id=own.id)
    key = signed(own.file)[FLEET_HTTP_PUBLIC_KEY_HEADER]
    with open_grid(superlink) as grid, fleet(own.file) as client:
        client.ActivateNode(ActivateNodeRequest(public_key=flower_public_key(own.key), heartbeat_interval=30))
        assert gateway.nodes.allowances.take(key, announcements=ANSWERS)
        assert not gateway.nodes.allowances.take(key, announcements=1)
        grid.push_messages(asking([node.node_id]))
        assert len(client.PullMessages(PullMessagesRequest(node=node)).messages_list) == 1
        assert gateway.nodes.allowances.take(key, announcements=ANSWERS)


def test_what_was_deleted_from_the_superlinks_database_is_gone_from_its_file(tmp_path):
    for name in ("new.db", "old.db"):
        path = tmp_path / name
        if name == "old.db":
            with closing(sqlite3.connect(path)) as old:
                old.execute("CREATE TABLE earlier (a)")
                old.commit()
        _let_shrink(path)
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE held (content BLOB)")
            database.execute("INSERT INTO held VALUES (zeroblob(5000000))")
            database.commit()
            assert path.stat().st_size > 5_000_000
            database.execute("DELETE FROM held")
            database.commit()
        assert path.stat().st_size < 100_000


def test_who_does_not_trust_the_authority_gets_no_connection(gateway):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{gateway.port}/", verify=ssl.create_default_context())
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{gateway.port}/")


def test_a_port_that_is_taken_is_said(tls):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                GatewayFailed,
                match=f"cannot listen on 127.0.0.1:{port} .Address already in use.; set port= to a free one",
            ),
            running_gateway("127.0.0.1", port, tls=tls),
        ):
            pass


def test_fifty_nodes_at_once_take_part_in_a_round(superlink, gateway, gateway_ca, keys):
    files, on_chain = keys(50)
    ids = [superlink.register(key) for key in on_chain]
    address = f"127.0.0.1:{gateway.port}"
    with (
        open_grid(superlink, rejoin_s=300) as grid,
        light_nodes(address, gateway_ca, files, poll=3),
    ):  # as often as Flower's own
        wait_for(lambda: set(ids) <= set(grid.get_node_ids()), what="connecting")
        assert gateway.connections() >= 50
        replies = grid.send_and_receive(asking(ids, size=0), timeout=400)
    assert [reply.content["config"]["to"] for reply in replies if reply.has_content()] == [
        str(node_id) for node_id in ids
    ]
