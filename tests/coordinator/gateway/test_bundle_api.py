"""Who may read what of a task, over HTTP."""

import asyncio
import threading
import time

import pytest
from asgi_scope import scope_of
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fl.bundle.format import Bundle, read_leaves
from fl.bundle.validation_set import VALIDATION, validation_bytes, write_validation
from fl.chain.access import access_token
from fl.chain.invite import Invite
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.quorum.remote import RemoteQuorum

PUBLIC = ["header.json", "manifest.json", "round.json"]
MODELS = ["base.safetensors", "next.safetensors"]


@pytest.fixture(scope="module")
def open_archive(lasting_world):
    """Opens a task, posts `posted` of its three rounds, and serves its folder."""

    def build(*, posted=3, **terms):
        world = lasting_world(rounds=3, **terms)
        if posted < 3:
            stop = Stop()

            def end(report):
                world.reports.append(report)
                if report.round == posted:
                    raise stop

            with pytest.raises(Stop):
                world.run(world.app(world.downhill), on_round=end)
        else:
            world.run(world.app(world.downhill))
        (world.folder / "summary.json").write_text('{"status": "running"}')
        write_validation(world.folder / VALIDATION, world.validation)
        app = FastAPI()
        app.include_router(archive_router(world.folder, task=world.task))
        return world, TestClient(app)

    return build


class Stop(Exception):
    """Ends a run between two rounds."""


@pytest.fixture(scope="module")
def running(open_archive):
    """A task whose directions are revealed at its end, two rounds in."""
    return open_archive(posted=2)


@pytest.fixture(scope="module")
def over(open_archive):
    """The same after its last round."""
    return open_archive()


def signed_in(world, account, **changes):
    """Headers of a request by an account."""
    given = {"domain": world.task.domain, "task_id": world.task.task_id, "expires": int(time.time()) + 60, **changes}
    return {"Authorization": f"Bearer {access_token(account, **given)}"}


def status_of(client, path, headers=None):
    return client.get(f"/api/{path}", headers=headers).status_code


def test_everybody_reads_invite_summary_and_rounds(running):
    world, client = running
    assert client.get("/api/summary").json() == {"status": "running"}
    assert Invite(**client.get("/api/invite").json()) == world.invite
    assert client.get("/api/rounds").json() == [
        {"round": 1, "bundle": "round-0001", "revealed": False},
        {"round": 2, "bundle": "round-0002", "revealed": False},
    ]


@pytest.mark.parametrize("file", PUBLIC)
def test_everybody_reads_the_public_part_of_a_posted_round(running, file):
    world, client = running
    assert client.get(f"/api/bundles/round-0002/{file}").content == (world.reports[1].bundle / file).read_bytes()


def test_that_part_is_enough_for_the_leaves(running, tmp_path):
    world, client = running
    for file in PUBLIC:
        (tmp_path / file).write_bytes(client.get(f"/api/bundles/round-0002/{file}").content)
    assert read_leaves(tmp_path) == world.reports[1].leaves


@pytest.mark.parametrize("file", [*PUBLIC, *MODELS, "direction.blocks"])
def test_a_round_that_is_not_posted_is_for_evaluators_only(running, file):
    world, client = running
    folder = world.folder / "bundles" / "round-0003"
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"not yet")
    assert status_of(client, f"bundles/round-0003/{file}") == 404
    assert status_of(client, f"bundles/round-0003/{file}", signed_in(world, world.clients[0])) == 404
    answer = client.get(f"/api/bundles/round-0003/{file}", headers=signed_in(world, world.evaluators[0]))
    assert answer.content == b"not yet"


def test_before_the_end_a_client_gets_its_own_update_and_no_more(running):
    world, client = running
    own, other = world.clients[1], world.clients[2]
    headers = signed_in(world, own)
    assert status_of(client, f"bundles/round-0001/updates/{own.address}.blocks", headers) == 200
    answer = client.get(f"/api/bundles/round-0001/updates/{other.address}.blocks", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"the update of {other.address} is for its owner and the evaluators"
    for file in (*MODELS, "direction.blocks"):
        answer = client.get(f"/api/bundles/round-0001/{file}", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (403, f"{file} is revealed when the task is over")


def test_at_the_end_the_direction_is_everybodys_and_the_models_the_members(over, account):
    world, client = over
    assert status_of(client, "bundles/round-0001/direction.blocks") == 200
    for file in MODELS:
        assert status_of(client, f"bundles/round-0001/{file}") == 403
        assert status_of(client, f"bundles/round-0001/{file}", signed_in(world, account(19))) == 403
        assert status_of(client, f"bundles/round-0001/{file}", signed_in(world, world.clients[0])) == 200
    owner = world.addresses[0]
    assert status_of(client, f"bundles/round-0001/updates/{owner}.blocks", signed_in(world, world.clients[1])) == 403


def test_with_reveal_each_round_a_posted_direction_is_everybodys(open_archive):
    _, client = open_archive(posted=1, reveal_each_round=True)
    assert status_of(client, "bundles/round-0001/direction.blocks") == 200
    assert client.get("/api/rounds").json()[0]["revealed"] is True


def test_an_evaluator_gets_everything(running, tmp_path):
    world, client = running
    headers = signed_in(world, world.evaluators[0])
    for path in world.reports[1].bundle.rglob("*"):
        if path.is_file():
            name = path.relative_to(world.reports[1].bundle)
            target = tmp_path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(client.get(f"/api/bundles/round-0002/{name}", headers=headers).content)
    assert Bundle.read(tmp_path)[1] == world.reports[1].header.bundle


def test_the_validation_set_is_for_evaluators(running):
    world, client = running
    assert status_of(client, "validation") == 401
    assert status_of(client, "validation", signed_in(world, world.clients[0])) == 403
    answer = client.get("/api/validation", headers=signed_in(world, world.evaluators[0]))
    assert answer.content == validation_bytes(world.validation)


def test_evaluations_are_for_evaluators(running):
    world, client = running
    assert status_of(client, "evaluations") == 401
    assert status_of(client, "evaluations", signed_in(world, world.clients[0])) == 403
    assert status_of(client, "evaluations", signed_in(world, world.evaluators[0])) == 204
    answer = client.post("/api/evaluations/1", json={}, headers=signed_in(world, world.evaluators[0]))
    assert (answer.status_code, answer.json()["detail"]) == (409, "no round waits for evaluators")


def test_a_receipt_is_everybodys(running):
    world, client = running
    owner = world.addresses[0]
    (world.folder / "receipts").mkdir()
    (world.folder / "receipts" / f"{owner}.json").write_text('{"1": {}}')
    assert client.get(f"/api/receipts/{owner}").json() == {"1": {}}
    assert status_of(client, f"receipts/{world.addresses[1]}") == 404
    assert status_of(client, "receipts/..%2Finvite") == 404


@pytest.mark.parametrize(
    "path",
    [
        "bundles/round-0001/../../invite.json",
        "bundles/..%2f..%2f/invite.json",
        "bundles/round-0001/updates/..%2f..%2fheader.json",
        "bundles/round-0001/updates/0x12.blocks",
        "bundles/round-0001/refusals.json",
        "bundles/keys/header.json",
    ],
)
def test_nothing_else_of_the_folder_is_there(running, path):
    world, client = running
    assert status_of(client, path, signed_in(world, world.evaluators[0])) == 404


def test_a_file_that_was_pruned_is_not_there(over):
    world, client = over
    (world.reports[0].bundle / "next.safetensors").unlink()
    answer = client.get("/api/bundles/round-0001/next.safetensors", headers=signed_in(world, world.evaluators[0]))
    assert (answer.status_code, answer.json()["detail"]) == (404, "round-0001/next.safetensors is not here")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Authorization": "Basic abc"}, "send `Authorization: Bearer <token>`"),
        ({"Authorization": "Bearer abc"}, "access refused: the token is not address.expires.signature"),
    ],
)
def test_what_is_no_token_is_refused(running, headers, reason):
    _, client = running
    answer = client.get("/api/bundles/round-0001/header.json", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith(reason)


def test_an_old_token_and_one_of_another_task_are_refused(running):
    world, client = running
    old = signed_in(world, world.evaluators[0], expires=int(time.time()) - 5)
    foreign = signed_in(world, world.evaluators[0], task_id=b"\x01" * 32)
    for headers, reason in ((old, "the token expired"), (foreign, "is not signed by it for this task")):
        answer = client.get("/api/validation", headers=headers)
        assert answer.status_code == 401
        assert reason in answer.json()["detail"]


def test_of_a_strangers_answer_not_a_byte_is_read(running):
    _, client = running
    sent = []

    async def receive():
        sent.append("asked for")
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def heard(headers):
        said = []

        async def send(message):
            said.append(message)

        asked = scope_of("/api/evaluations/1", method="POST", scheme="https", headers=headers)
        await client.app(asked, receive, send)
        return said[0]["status"]

    assert asyncio.run(heard([])) == 401
    assert asyncio.run(heard([(b"authorization", b"Bearer x.1.y")])) == 401
    assert sent == []


@pytest.mark.parametrize(
    ("body", "problem"), [(b"[" * 200_000, "not JSON"), (b"x", "not JSON"), (b"[]", "not a JSON object")]
)
def test_an_evaluators_answer_that_is_none_is_refused(running, body, problem):
    world, client = running
    client.app.router.routes.clear()
    client.app.include_router(
        archive_router(
            world.folder,
            task=world.task,
            quorum=RemoteQuorum(world.task.terms.evaluators, domain=world.task.domain, here=[], deadline_s=1),
        )
    )
    answer = client.post("/api/evaluations/1", content=body, headers=signed_in(world, world.evaluators[0]))
    assert (answer.status_code, answer.json()["detail"]) == (422, f"the answer is {problem}")


def test_how_old_the_chain_s_word_is_stands_beside_it(running):
    _, client = running
    assert int(client.get("/api/rounds").headers["age"]) >= 0


def test_before_the_chain_was_read_one_is_told_to_ask_again(running, monkeypatch):
    world, _ = running
    app = FastAPI()
    app.include_router(archive_router(world.folder, task=world.task))
    monkeypatch.setattr("fl.chain.last_known._PATIENCE_S", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr(type(world.task), "state", lambda self: threading.Event().wait(5))
        answer = TestClient(app).get("/api/rounds")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
