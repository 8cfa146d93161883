"""What another user of the coordinator's machine reaches of its SuperLink, whose port is on loopback."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from flwr.proto.control_pb2 import ListRunsRequest, RegisterNodeRequest, StopRunRequest, UnregisterNodeRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fl.coordinator.superlink.locked import HEADER, Locked, proof_of
from fl.coordinator.superlink.process import direct

SECRET = bytes(range(32))


@pytest.mark.parametrize("shown", [None, "", "a guess", proof_of(bytes(32))])
def test_nobody_else_on_this_machine_stops_runs_or_bars_nodes(superlink, keys, shown):
    _, (key,) = keys(1)
    node_id, run_id = superlink.register(key), superlink.start_run("fairshare")
    with direct(
        ControlHttpClient.from_server_address(superlink.address, False, superlink.ca, ()), superlink.ca
    ) as client:
        if shown is not None:
            client._client.headers[HEADER] = shown
        for ask in (
            lambda: client.StopRun(StopRunRequest(run_id=run_id)),
            lambda: client.UnregisterNode(UnregisterNodeRequest(node_id=node_id)),
            lambda: client.RegisterNode(RegisterNodeRequest(public_key=b"of somebody else")),
            lambda: client.ListRuns(ListRunsRequest()),
        ):
            with pytest.raises(httpx.HTTPStatusError, match="401 Unauthorized"):
                ask()
    assert node_id in {node.node_id for node in superlink.nodes()}
    superlink.stop_run(run_id)  # which is refused for one that is over
    superlink.unregister(node_id)


@pytest.fixture
def locked():
    """A SuperLink's routes, as far as the lock can tell, and everything else."""
    said = Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse("here"), methods=["GET", "POST"])])
    return TestClient(Locked(said, secret=SECRET))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/v1/fleet/pull-messages", 200),
        ("/v1/runtime/acquire-task", 200),
        ("/v1/control/stop-run", 401),
        ("//v1/control/stop-run", 401),
        ("/V1/control/stop-run", 401),
        ("/v1/%63ontrol/stop-run", 401),
        ("/v1/fleetcontrol", 401),
        ("/docs", 401),
        ("/", 401),
    ],
)
def test_what_asks_for_no_key_of_its_own_is_the_coordinators(locked, path, status):
    assert locked.post(path).status_code == status
    assert locked.post(path, headers={HEADER: proof_of(SECRET)}).status_code == 200


def test_of_two_proofs_the_first_counts(locked):
    two = [(HEADER, "a guess"), (HEADER, proof_of(SECRET))]
    assert locked.post("/v1/control/stop-run", headers=two).status_code == 401


def test_the_start_and_the_end_of_the_app_pass():
    passed = []

    async def app(scope, receive, send):
        passed.append(scope["type"])

    asyncio.run(Locked(app, secret=SECRET)({"type": "lifespan"}, None, None))
    assert passed == ["lifespan"]
