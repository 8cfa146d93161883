"""Tells the coordinator that a node is gone, in the place of a SuperNode that had no time to.

A node's key can connect once. A SuperNode that crashed counts as connected until its heartbeat is missed, which takes a minute;
until then no other one is let in, and a round goes by.
"""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from clients.node.supernode import go_by_clock

log = logging.getLogger(__name__)


def sign_off(node_id: int, *, superlink: str, ca: Path | None, node_key: Path, clock_offset_s: float) -> None:
    """Sign the node off; if nobody answers, the coordinator finds out by itself.

    Args:
        node_id: Flower's, of the connection that is gone.
        superlink: host:port of the gateway.
        ca: PEM file to verify it with; None for the system's.
        node_key: File of the private key.
        clock_offset_s: The coordinator's clock less this machine's.
    """
    private = load_ssh_private_key(node_key.read_bytes(), None)
    assert isinstance(private, EllipticCurvePrivateKey), "a node's key is of the curve, or it could not have connected"
    go_by_clock(clock_offset_s)
    signed: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(private, private.public_key()),
    ]
    try:
        with FleetHttpClient.from_server_address(
            superlink, False, str(ca) if ca else None, interceptors=signed
        ) as client:
            client.DeactivateNode(DeactivateNodeRequest(node_id=node_id))
    except httpx.HTTPError as error:
        log.info("could not sign off node %d: %s", node_id, error)
