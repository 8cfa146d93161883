"""A gateway that answers a node without end, packed, or with more pieces than a model has."""

import gzip
import http.server
import io
import threading
import zipfile

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store.object_store_factory import ObjectStoreFactory
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate.nodestate_factory import NodeStateFactory

from clients.node import answers
from clients.node.answers import TooMuch, bound_answers, bound_messages, check_bundle
from fl.coordinator.superlink.process import _empty_app

HONEST = PullMessagesResponse().SerializeToString() + b"\x2a\x03abc"  # with a field that this version does not know


@pytest.fixture
def flower(monkeypatch):
    """Flower's client and SuperNode with the bounds, for one test."""
    monkeypatch.setattr(ProtobufClient, "_send", ProtobufClient._send)
    monkeypatch.setattr(start_client_internal, "_pull_and_store_message", start_client_internal._pull_and_store_message)
    for name in ("_task_id", "_run_id", "_node_id"):  # of who makes a message
        monkeypatch.setattr(TaskIdentity, name, 1)
    bound_answers()
    bound_messages()


@pytest.fixture
def gateway():
    """Answers each call as `says` does; `sent` counts the bytes that were taken."""

    class Gateway(http.server.BaseHTTPRequestHandler):
        says, sent = "", 0

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            if self.says == "packed":
                self.send_header("content-encoding", "gzip")
                self.end_headers()
                self.wfile.write(gzip.compress(bytes(1 << 20)))
                return
            self.end_headers()
            if self.says == "honest":
                self.wfile.write(HONEST)
                return
            try:
                while True:
                    self.wfile.write(bytes(1 << 18))
                    Gateway.sent += 1 << 18
            except OSError:
                pass

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Gateway.address = f"127.0.0.1:{server.server_port}"
    yield Gateway
    server.shutdown()
    thread.join()
    server.server_close()


def ask(gateway):
    """A node's call."""
    client = FleetHttpClient.from_server_address(
        server_address=gateway.address, insecure=True, root_certificates=None, interceptors=[]
    )
    with client:
        return client.PullMessages(PullMessagesRequest())


def test_an_honest_answer_is_read(flower, gateway):
    gateway.says = "honest"
    assert ask(gateway).SerializeToString() == HONEST


def test_an_answer_without_end_is_cut_off(flower, gateway, monkeypatch):
    monkeypatch.setattr(answers, "MOST_ANSWER", 1 << 20)
    with pytest.raises(httpx.DecodingError, match="an answer has more than 1,048,576 bytes"):
        ask(gateway)
    assert gateway.sent < 64 << 20  # what the system's own buffers take


def test_a_packed_answer_is_not_unpacked(flower, gateway):
    gateway.says = "packed"
    with pytest.raises(httpx.DecodingError, match="an answer is compressed, which was not asked for"):
        ask(gateway)


def test_what_this_projects_coordinators_bundle_is_taken():
    check_bundle(_empty_app("fairshare"))


def bundle(settings=b"", **options):
    """A ZIP file with settings in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **options) as file:
        file.writestr("pyproject.toml", settings)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            bundle(bytes(80 << 20), compression=zipfile.ZIP_DEFLATED),
            "have 83,886,080 bytes; 8,192 are the most",
        ),
        # Some 200 bytes, packed; Flower's reader would take half a minute for this key, and an hour for one ten times as long.
        (bundle(b"a." * 40000 + b"a=1", compression=zipfile.ZIP_DEFLATED), "have 80,003 bytes; 8,192 are the most"),
        (bundle(bytes(1 << 20), compression=zipfile.ZIP_BZIP2), "packed in a way that no coordinator packs it"),
        (bytes((1 << 20) + 1), "has 1,048,577 bytes, 1,048,576 are the most"),
        (b"PK\x03\x04", "is not a ZIP file with settings"),
        (b"PK\x05\x06" + bytes(18), "is not a ZIP file with settings"),
    ],
)
def test_bundled_code_that_would_swell_is_not_opened(content, problem):
    with pytest.raises(TooMuch, match=problem):
        check_bundle(content)


def test_a_supernode_asks_before_it_opens_bundled_code(flower):
    with pytest.raises(TooMuch, match="is not a ZIP file"):
        fetch(known=False, get_fab=lambda fab_hash, run_id: Fab(content=b"no bundle"))


def fetch(*, known=True, get_fab=None):
    """One look of a SuperNode for a message of three pieces and more; returns its books and what it took in."""
    factory = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=factory).state()
    state.set_node_id(7)
    run = Run.create_empty(run_id=5)
    run.primary_task_type = "flwr-serverapp"
    if known:
        state.store_run(run)
    message = Message(RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(3, np.float32))})}), 7, "train")
    message.metadata.__dict__["_run_id"] = 5
    message.metadata.__dict__["_message_id"] = message.object_id
    pieces = {name: piece.deflate() for name, piece in get_all_nested_objects(message).items()}
    took = start_client_internal._pull_and_store_message(
        state=state,
        object_store=factory.store(),
        node_config={},
        receive=lambda: (message, get_object_tree(message)),
        get_run=lambda run_id: run,
        get_fab=get_fab,
        pull_object=lambda run_id, object_id: pieces[object_id],
        confirm_message_received=lambda run_id, message_id: None,
        trusted_entities=None,
    )
    return state, took


def test_a_message_of_a_models_size_is_taken(flower):
    state, took = fetch()
    assert took == 5
    assert state.get_messages_legacy(is_reply=False)


def test_a_message_of_more_bytes_than_a_model_is_dropped(flower, monkeypatch):
    monkeypatch.setattr(answers, "_MOST_MESSAGE", 100)
    state, took = fetch()
    assert took is None
    assert not state.get_messages_legacy(is_reply=False)
    assert not state.get_tasks(statuses=["pending"])


def test_a_message_of_a_million_pieces_is_not_begun(flower, monkeypatch):
    monkeypatch.setattr(answers, "_MOST_PIECES", 2)
    with pytest.raises(TooMuch, match="a message has more than 2 pieces"):
        fetch()
