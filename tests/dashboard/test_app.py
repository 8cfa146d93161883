"""The page's server: what it gives to everybody, and what it keeps."""

import asyncio
import json
import socket
import ssl
import subprocess
import threading

import httpx
import numpy as np
import pytest
from asgi_scope import scope_of
from report.run_summary import run_summary
from starlette.testclient import TestClient

from fl.bundle.round_record import VERSION, leaf_to_json
from fl.chain.json_file import write_json
from fl.cli.commands.dashboard import _Server, main
from fl.codec import Blocks
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls
from fl.dashboard.app import dashboard_app
from fl.errors import ConfigError
from fl.rewards import Leaf
from fl.rewards.score import score


@pytest.fixture
def folder(tmp_path):
    """A run's folder with a summary and no chain."""
    write_json(tmp_path / "summary.json", run_summary(clients=3))
    return tmp_path


@pytest.fixture
def page(folder):
    with TestClient(dashboard_app(folder)) as client:
        yield client


def test_the_page_and_its_parts_are_served_with_a_policy_that_asks_no_other_host(page):
    for path in ("/", "/static/page.js", "/static/charts.js", "/static/page.css", "/static/report.css", "/data/view"):
        answer = page.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_before_the_first_numbers_the_page_waits(tmp_path):
    page = TestClient(dashboard_app(tmp_path))
    assert page.get("/").status_code == 200
    assert page.get("/data/view").json() == {"status": "waiting"}
    assert page.get("/data/standing").status_code == 404


def test_a_chain_that_is_gone_is_said_to_be_gone_and_its_address_is_kept(page, folder):
    write_json(
        folder / "deployment.json",
        {
            "chain_id": 31337,
            "url": "http://127.0.0.1:9/secret-key",
            "contract": "0x" + "11" * 20,
            "token": "0x" + "22" * 20,
        },
    )
    answer = page.get("/data/standing")
    assert answer.json() == {"reachable": False, "reason": "ChainUnreachable"}
    assert "secret-key" not in answer.text


def bundle_of(folder, *, weight: int = 1 << 31):
    """The files of a round with one update of 300 values."""
    rng = np.random.default_rng(1)
    update, direction = (Blocks.encode(rng.normal(size=300).astype(np.float32)) for _ in range(2))
    account = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
    leaf = Leaf(account=account, update_root=bytes(32), weight=weight, score=0, total=0, cumulative=0)
    bundle = folder / "bundles" / "round-0001"
    (bundle / "updates").mkdir(parents=True)
    (bundle / "updates" / f"{account}.blocks").write_bytes(update.to_bytes())
    (bundle / "direction.blocks").write_bytes(direction.to_bytes())
    listed = {"account": account, "stake": "1", "weight": str(weight), "selected": weight > 0, "root": "00" * 32,
              "signature": "00" * 65}  # fmt: skip
    told = {
        "version": VERSION, "taskId": "00" * 32, "round": 1, "names": ["weight", "bias"], "shapes": [[100, 2], [100]],
        "updates": [listed], "previous": [], "leaves": [leaf_to_json(leaf)], "price": "0", "length": "0", "public": None,
    }  # fmt: skip
    (bundle / "round.json").write_text(json.dumps(told))
    return account, score(update, direction, weight=weight)


def test_only_the_public_files_of_a_bundle_are_given(page, folder):
    account, _ = bundle_of(folder)
    assert page.get("/data/rounds/1/round.json").status_code == 200
    for path in (
        "1/direction.blocks",
        f"1/updates/{account}.blocks",
        f"1/updates%2F{account}.blocks",
        "1/base.safetensors",
        "1/..%2f..%2fsummary.json",
        "1/header.json",  # not written yet
        "2/round.json",
        "x/round.json",
    ):
        assert page.get(f"/data/rounds/{path}").status_code in (404, 422), path


def test_files_of_a_round_that_is_not_posted_are_not_served(page, folder):
    account, _ = bundle_of(folder)
    posted = folder / "bundles" / "round-0001"
    posted.rename(folder / "bundles" / "round-0009")
    assert page.get("/data/rounds/9/round.json").status_code == 404
    assert page.get(f"/data/rounds/9/raw/{account}").json()["detail"] == "round 9 is not posted yet"


def test_one_address_cannot_take_all_live_feeds(folder, monkeypatch):
    monkeypatch.setattr("fl.dashboard.app._FEEDS_OF_ONE", 2)
    monkeypatch.setattr("fl.dashboard.app._FEEDS", 3)
    app = dashboard_app(folder)

    async def statuses(hosts):
        begun, tasks, said = asyncio.Event(), [], []

        async def receive():
            await begun.wait()
            return {"type": "http.disconnect"}

        async def watch(host):
            async def send(message):
                if message["type"] == "http.response.start":
                    said.append((host, message["status"]))

            await app(scope_of("/data/feed", host=host), receive, send)

        for host in hosts:
            tasks.append(asyncio.create_task(watch(host)))
            async with asyncio.timeout(60):
                while len(said) < len(tasks):
                    await asyncio.sleep(0.01)
        begun.set()
        await asyncio.gather(*tasks)
        return said

    hosts = ["a", "a", "a", "b", "b"]
    assert asyncio.run(statuses(hosts)) == [("a", 200), ("a", 200), ("a", 503), ("b", 200), ("b", 503)]
    assert asyncio.run(statuses(["b", "b"])) == [("b", 200), ("b", 200)]  # those of before are over


def test_the_product_behind_a_score_is_told_and_gives_the_score(page, folder):
    account, expected = bundle_of(folder)
    raw = int(page.get(f"/data/rounds/1/raw/{account}").json()["raw"])
    assert (raw * (1 << 31)) >> 32 == expected


def test_products_are_made_one_at_a_time_and_the_page_answers_meanwhile(folder, monkeypatch):
    account, _ = bundle_of(folder)
    app, running, most, let_go = dashboard_app(folder), [], [], threading.Event()

    def slow(files, account):
        running.append(account)
        most.append(len(running))
        let_go.wait(60)
        running.pop()
        return 1

    monkeypatch.setattr("fl.dashboard.app._raw", slow)

    async def answer(path):
        said = []

        async def send(message):
            said.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        await app(scope_of(path, host="a"), receive, send)
        return said[0]["status"]

    async def all_of_them():
        asked = [
            asyncio.create_task(answer(f"/data/rounds/1/raw/{account}")) for _ in range(60)
        ]  # more than there are threads
        async with asyncio.timeout(60):
            while not running:
                await asyncio.sleep(0.01)
            view = await answer("/data/view")
        let_go.set()
        return view, await asyncio.gather(*asked)

    assert asyncio.run(all_of_them()) == (200, [200] * 60)
    assert max(most) == 1


@pytest.mark.parametrize("linked", ["bundles", "bundles/round-0001", "bundles/round-0001/round.json"])
def test_no_link_in_a_given_folder_is_followed(page, folder, tmp_path, linked):
    account, _ = bundle_of(folder)
    place, away = folder / linked, tmp_path / "away"
    place.rename(away)
    place.symlink_to(away)
    assert page.get("/data/rounds/1/round.json").status_code == 404
    assert page.get(f"/data/rounds/1/raw/{account}").status_code == 404


def test_the_product_of_an_update_that_the_strategy_left_out_is_not_told(page, folder):
    account, _ = bundle_of(folder, weight=0)
    assert page.get(f"/data/rounds/1/raw/{account}").status_code == 404


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/data/clients/0x12", "'0x12' is not an address; write 0x and 40 hex digits"),
        ("/data/clients/0x" + "99" * 20, "0x" + "99" * 20 + " is not a client of this task"),
        ("/data/rounds/1/raw/0x" + "99" * 20, "round 1 has no update of 0x" + "99" * 20 + " here, or no direction"),
        ("/data/rounds/7/header.json", "round 7 has no header.json that is for everybody"),
        ("/static/secrets", "there is no secrets"),
    ],
)
def test_what_is_not_there_is_refused_with_a_reason(page, path, reason):
    answer = page.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"] == reason


def test_claims_go_to_the_tasks_contract_by_its_own_abi(page, folder):
    told = page.get("/data/contract").json()
    task = json.loads((folder / "summary.json").read_text())["task"]
    assert (told["contract"], told["id"], told["chain_id"]) == (task["contract"], task["id"], task["chain_id"])
    assert "claim" in [entry["name"] for entry in told["abi"]]


@pytest.mark.parametrize("half", [b"", b'{"status": "runn'])
def test_a_summary_that_is_half_there_leaves_what_was_read_before(page, folder, caplog, half):
    before, text = page.get("/data/view").json(), (folder / "summary.json").read_bytes()
    for _ in range(2):
        (folder / "summary.json").write_bytes(half)
        assert page.get("/data/view").json() == before
        assert page.get("/data/rounds/1/header.json").status_code == 404
    told = [record.getMessage() for record in caplog.records if record.name == "fl.dashboard.app"]
    assert all("summary.json: it is not JSON" in line and "shows what was read before" in line for line in told), told
    assert told
    changed = text.replace(b'"finished"', b'"running"', 1)
    assert changed != text
    (folder / "summary.json").write_bytes(changed)
    assert page.get("/data/view").json()["status"] == "running"


def test_the_feed_tells_each_new_summary_and_what_of_it_is_new(folder):
    async def heard():
        app, events = dashboard_app(folder), []
        disconnected = asyncio.Event()

        async def receive():
            await disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            for line in message.get("body", b"").decode().splitlines():
                if line.startswith("data: ") and '"content"' in line:
                    events.append(json.loads(line.removeprefix("data: ")))

        scope = scope_of("/data/feed", headers=[(b"host", b"127.0.0.1")])
        task = asyncio.create_task(app(scope, receive, send))

        async def until(count):
            async with asyncio.timeout(60):
                while len(events) < count:
                    await asyncio.sleep(0.02)

        await until(1)
        summary = run_summary(clients=3)
        summary.update(status="running", live={"round": 5, "phase": "scoring", "since": 1, "nodes": []})
        write_json(folder / "summary.json", summary)
        await until(2)
        summary["live"]["phase"] = "posting"
        write_json(folder / "summary.json", summary)
        await until(3)
        disconnected.set()
        await task
        return events

    finished, scoring, posting = asyncio.run(heard())
    assert (finished["status"], finished["live"], finished["rounds"]) == ("finished", None, 4)
    assert [view["live"]["phase"] for view in (scoring, posting)] == ["scoring", "posting"]
    assert finished["content"] != scoring["content"] == posting["content"]  # a phase alone fetches nothing


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["run=nowhere"],
            "run is nowhere, and there is no such folder; name one that `fl run` made, such as runs/latest",
        ),
        (["run=.", "port=door"], "port is 'door'; set a number from 0 to 65535"),
        (["run=.", "port=70000"], "port is '70000'; set a number from 0 to 65535"),
        (["run=.", "open=maybe"], "open is 'maybe'; set true or false"),
        ([], "run is not set"),
    ],
)
def test_the_command_refuses_what_it_cannot_serve(arguments, reason):
    with pytest.raises(ConfigError) as refusal:
        main(arguments)
    assert str(refusal.value).startswith(reason)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} cannot be taken .*; set another one, or port=0"):
            main(["run=.", f"port={port}"])


def test_a_feed_ends_when_its_server_is_about_to(folder):
    app = dashboard_app(folder)
    app.state.closing.set()
    assert TestClient(app).get("/data/feed").text == ""  # without it, this would not return


def test_a_site_that_points_its_own_name_here_is_not_served(folder):
    served = TestClient(_Server(dashboard_app(folder)).config.app, base_url="http://evil.example")
    assert served.get("/data/view").status_code == 400
    assert served.get("/data/view", headers={"host": "127.0.0.1:8700"}).status_code == 200


def test_looking_at_a_run_needs_no_pytorch(python, environment):
    script = "import sys, fl.cli.commands.dashboard; print({'torch', 'flwr', 'sklearn'} & sys.modules.keys())"
    done = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_gateway_shows_the_page_and_stops_while_it_is_watched(folder, tmp_path_factory):
    app = dashboard_app(folder)
    tls = own_tls(tmp_path_factory.mktemp("tls"), names=["127.0.0.1"])
    trust = ssl.create_default_context(cadata=tls.ca)
    with running_gateway("127.0.0.1", 0, tls=tls, superlink=None, routers=[], pages=app) as gateway:
        url = f"https://127.0.0.1:{gateway.port}"
        with httpx.Client(verify=trust, timeout=60, base_url=url) as client:
            assert "page.js" in client.get("/").text
            assert client.get("/data/view").json()["status"] == "finished"
            with client.stream("GET", "/data/feed") as feed:
                lines = feed.iter_lines()
                assert next(lines) == "event: run"
                app.state.closing.set()  # as the coordinator does before the gateway stops
                list(lines)  # ends by itself
