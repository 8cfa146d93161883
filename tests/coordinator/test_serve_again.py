"""A finished task is served from its folder: without its data, and without the chain of its time."""

import ssl

import httpx
import pytest

from fl.chain.json_file import write_json
from fl.coordinator.config import CoordinatorConfig
from fl.coordinator.serve import ServiceWatcher, Surfaces
from fl.coordinator.serve_again import FinishedTask, serve_again
from fl.dashboard.app import dashboard_app
from fl.errors import ConfigError


@pytest.fixture(scope="module")
def finished(lasting_world):
    """A task's folder as its coordinator leaves it, and the world that it was in."""
    world = lasting_world(rounds=2)
    world.run(world.app(world.downhill))
    summary = {
        "status": "finished",
        "task": {"id": world.invite.task_id, "evaluators": [], "rounds": 2, "reveal": "end"},
        "rounds": [{"round": 1}, {"round": 2}],
        "clients": [{"account": account} for account in world.addresses],
    }
    write_json(world.folder / "summary.json", summary)
    (world.folder / "archive.zip").write_bytes(b"the archive")
    return world


@pytest.fixture
def serve():
    """Serves a folder until it says that it does; returns what it said, and the answers to what was asked then."""

    def run(folder, paths):
        said, answers = [], {}

        def heard(line):
            said.append(line)
            if "until Ctrl-C" not in line:
                return
            invite = said_invite[0]
            trusted = ssl.create_default_context(cadata=invite.ca)
            for path in paths:
                answers[path] = httpx.get(f"{invite.gateway}{path}", verify=trusted)
            raise KeyboardInterrupt

        said_invite = []
        watcher = ServiceWatcher(on_setup=heard, on_invite=lambda invite, path: said_invite.append(invite))
        page = dashboard_app(folder)
        surfaces = Surfaces(pages=page, on_close=page.state.closing.set)
        with pytest.raises(KeyboardInterrupt):
            serve_again(CoordinatorConfig(port=0, host="127.0.0.1"), folder=folder, watcher=watcher, surfaces=surfaces)
        return said, answers

    return run


def without_its_chain(world):
    """The folder's invite names a chain that is gone."""
    invite = (world.folder / "invite.json").read_text()
    (world.folder / "invite.json").write_text(invite.replace(world.deployment.url, "http://127.0.0.1:9"))


def test_a_task_that_goes_on_is_not_taken_for_a_finished_one(finished):
    with pytest.raises(
        ConfigError, match="is marked finished, and its task is not over on chain; remove its status file"
    ):
        serve_again(
            CoordinatorConfig(port=0, host="127.0.0.1"),
            folder=finished.folder,
            watcher=ServiceWatcher(),
            surfaces=Surfaces(),
        )


def test_its_page_rounds_and_archive_are_there_without_the_chain(finished, serve):
    without_its_chain(finished)
    public = ["/", "/api/invite", "/api/archive", "/api/bundles/round-0002/header.json", "/data/invite"]
    revealed, own = (
        "/api/bundles/round-0001/direction.blocks",
        f"/api/bundles/round-0001/updates/{finished.addresses[0]}.blocks",
    )
    said, answers = serve(finished.folder, [*public, revealed, own, "/api/rounds"])
    assert said[0].startswith(
        "the chain at http://127.0.0.1:9 does not answer for this task (ChainUnreachable); serving all the"
    )
    assert {path: answer.status_code for path, answer in answers.items()} == {
        **dict.fromkeys([*public, revealed, "/api/rounds"], 200),
        own: 403,  # an update is its owner's, then as before
    }
    assert answers["/api/archive"].content == b"the archive"
    assert [round_["round"] for round_ in answers["/api/rounds"].json()] == [1, 2]


def test_what_the_archive_asks_of_it_comes_from_the_folder(finished):
    task = FinishedTask.of(finished.folder)
    assert task.task_id == finished.invite.id_bytes
    assert task.state().posted == 2
    assert list(task.enrolments()) == finished.addresses
