"""What the page says of an account and of joining: who left, whose stake is back, whom a task waits for."""

import pytest
from starlette.testclient import TestClient

from fl.chain.json_file import write_json
from fl.dashboard.app import WAITING, dashboard_app
from fl.dashboard.chain_status import ChainStatus


@pytest.fixture(scope="module")
def task(lasting_world):
    """A task that has started, and one of its three clients left."""
    world = lasting_world(rounds=2)
    world.run(world.app(world.downhill), on_round=lambda report: leave_once(world, report))
    return world


def leave_once(world, report):
    """The first client leaves after round 1."""
    if report.round == 1:
        world.escrow.leave(world.task.task_id, account=world.clients[0])


def test_who_left_is_told_with_the_round(task, devnet):
    standing = ChainStatus(task.folder, task.deployment)
    assert standing.of_task(task.task.task_id)["left"] == {task.addresses[0]: 3}
    own = standing.of_client(task.task.task_id, task.addresses[0])
    assert (own["left_round"], own["returned_wei"], own["claimed_wei"]) == (3, "0", "0")
    assert standing.of_client(task.task.task_id, task.addresses[1])["left_round"] == 0


def test_how_to_join_is_told_to_whoever_looks(task):
    page = TestClient(dashboard_app(task.folder))
    told = page.get("/data/invite").json()
    assert told == {"name": "", "description": "", "link": "", "waiting": None}  # on one machine: nobody's to join
    write_json(task.folder / WAITING, {"wanted": 4, "joined": 1, "connected": 0})
    assert page.get("/data/invite").json()["waiting"] == {"wanted": 4, "joined": 1, "connected": 0}


def test_a_folder_without_an_invite_says_so(tmp_path):
    assert TestClient(dashboard_app(tmp_path)).get("/data/invite").json()["link"] == ""
