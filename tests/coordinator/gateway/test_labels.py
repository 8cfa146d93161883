"""Names that clients choose for the coordinator's page: their own, printable, and nobody else's business."""

import time

import pytest
from eth_account import Account
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fl.chain.access import access_token
from fl.coordinator.gateway.labels import LABELS, label_router, read_labels


@pytest.fixture(scope="module")
def task(lasting_world):
    """A task of two clients."""
    return lasting_world(clients=2)


@pytest.fixture
def choose(task, tmp_path):
    """Posts a label as an account, or without a token; returns the answer, and what is kept then."""
    app = FastAPI()
    app.include_router(label_router(tmp_path, task=task.task))
    client = TestClient(app)

    def post(label, *, account=None, token=None):
        if account is not None:
            token = access_token(
                account, domain=task.task.domain, task_id=task.task.task_id, expires=int(time.time()) + 60
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = client.post("/api/label", json={"label": label}, headers=headers)
        return answer.status_code, answer.json().get("detail"), read_labels(tmp_path)

    return post


def test_a_client_chooses_and_changes_its_own_name(choose, task):
    client, other = task.clients
    assert choose("Cleveland clinic", account=client) == (200, None, {client.address: "Cleveland clinic"})
    assert choose("Ungarn ♥", account=other)[2] == {client.address: "Cleveland clinic", other.address: "Ungarn ♥"}
    assert choose("Cleveland", account=client)[2][client.address] == "Cleveland"


@pytest.mark.parametrize("label", ["", "x" * 41, "a\nb", "a\u202eb", " a", "a  b", 7, None])
def test_what_could_deceive_or_cannot_be_printed_is_no_name(choose, task, label):
    assert choose(label, account=task.clients[0]) == (422, "a label is 1 to 40 characters that can be printed", {})


def test_who_takes_no_part_has_no_name(choose):
    stranger = Account.create()
    assert choose("me", account=stranger) == (403, f"{stranger.address} is not a client of the task", {})
    assert choose("me") == (401, "send `Authorization: Bearer <token>`, as fl.chain.access makes it", {})
    assert choose("me", token="0x12.3.4")[0] == 401


def test_a_file_that_cannot_be_read_names_nobody(tmp_path):
    (tmp_path / LABELS).write_text("[1, 2]")
    assert read_labels(tmp_path) == {}
    (tmp_path / LABELS).write_text('{"0x12": "nobody"}')
    assert read_labels(tmp_path) == {}
