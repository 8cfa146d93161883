"""A gateway of this process before the folder's SuperLink, and whoever may come to it: nodes that joined, and strangers."""

import datetime as dt
import socket
from base64 import b64encode
from types import SimpleNamespace

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from fastapi import APIRouter
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls


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
def signed():
    """Makes the headers by which a node shows its key."""

    def made(key_file, *, at=None):
        private = serialization.load_ssh_private_key(key_file.read_bytes(), None)
        timestamp = (at or dt.datetime.now(dt.UTC)).isoformat()
        shown = {
            FLEET_HTTP_PUBLIC_KEY_HEADER: public_key_to_bytes(private.public_key()),
            FLEET_HTTP_SIGNATURE_HEADER: sign_message(private, timestamp.encode()),
        }
        return {
            "content-type": PROTOBUF_MEDIA_TYPE,
            TIMESTAMP_HEADER: timestamp,
            **{name: b64encode(value).decode() for name, value in shown.items()},
        }

    return made


@pytest.fixture
def joined(superlink, keys):
    """Registers nodes: each one's key file and id."""

    def made(count):
        files, on_chain = keys(count)
        return [
            SimpleNamespace(file=file, id=superlink.register(key), key=key)
            for file, key in zip(files, on_chain, strict=True)
        ]

    return made


@pytest.fixture
def gateway_ca(tls, tmp_path):
    path = tmp_path / "gateway-ca.pem"
    path.write_text(tls.ca)
    return path


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
    for connection in opened:
        connection.close()
