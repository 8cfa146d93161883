"""`fl run` as a person calls it: what it leaves behind when it succeeds, and when it fails."""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fl.chain.deployment import Deployment
from fl.cli.arguments.overrides import check
from fl.cli.commands.run import hide_key
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation

TINY = ["task.rounds=1", "task.steps=2", "data.limit=200", "partition=iid", "partition.clients=3", "model=logistic"]


def processes_of(folder):
    """Processes whose log is in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if os.readlink(path).startswith(str(folder)):
                found.append(path.parts[2])
        except OSError:  # ended, or another user's
            continue
    return found


def only(folder):
    """The one run in the folder."""
    (found,) = [path for path in (folder / "runs").iterdir() if path.name != "latest"]
    return found


@pytest.fixture(scope="module")
def good(fl_process, deployment, tmp_path_factory):
    """A run of one round on the session's chain."""
    folder = tmp_path_factory.mktemp("good")
    done = fl_process("run", *TINY, "name=first", f"chain.url={deployment.url}", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, done, json.loads((folder / "runs" / "latest" / "summary.json").read_text())


def test_a_run_ends_with_its_table(good):
    folder, done, summary = good
    for client in summary["clients"]:
        assert client["name"] in done.stdout
    assert f"{only(folder).name}/report.html" in done.stdout
    assert "Traceback" not in done.stderr
    assert "INFO" not in done.stdout + done.stderr  # logs are in the run's folder


def test_the_latest_run_is_linked(good):
    folder, _, _ = good
    assert (folder / "runs" / "latest").resolve() == only(folder)
    assert only(folder).name.endswith("-first")


def test_a_run_leaves_its_whole_folder(good):
    folder, _, _ = good
    run = only(folder)
    assert (run / "status").read_text() == "finished\n"
    for name in ("summary.json", "report.html", "run.log", "invite.json", "deployment.json"):
        assert (run / name).stat().st_size > 0
    assert (run / "bundles" / "round-0001" / "manifest.json").exists()
    assert not list(run.glob("*.partial"))


def test_the_summary_is_what_the_chain_says(good, deployment):
    _, _, summary = good
    task_id = bytes.fromhex(summary["task"]["id"][2:])
    escrow = Deployment(
        chain_id=31337, url=deployment.url, contract=summary["task"]["contract"], token=summary["task"]["token"]
    ).connect()[1]
    state = escrow.task(task_id)[1]
    paid = int(summary["totals"]["paid_wei"])
    assert paid == state.paid == state.cumulative > 0
    assert sum(int(client["paid_wei"]) for client in summary["clients"]) == paid
    for client in summary["clients"]:
        assert int(client["claimed_wei"]) == int(client["paid_wei"]) == escrow.claimed(task_id, client["account"])
    assert sum(int(pay) for pay in summary["rounds"][0]["pays_wei"].values()) == state.cumulative


def test_the_balance_of_a_client_holds_what_it_claimed(good):
    _, _, summary = good
    for client in summary["clients"]:
        assert int(client["balance_wei"]) >= int(client["claimed_wei"])


def test_the_summary_holds_the_configuration(good):
    _, _, summary = good
    assert summary["status"] == "finished"
    assert summary["config"]["task"]["steps"] == 2
    assert summary["config"]["partition"]["name"] == "iid"


def test_a_run_that_fails_says_why_and_where_its_logs_are(fl_process, tmp_path):
    done = fl_process("run", *TINY, "engine.client_app=nowhere:app", folder=tmp_path)
    assert done.returncode == 1
    run = only(tmp_path)
    assert done.stderr == (
        "fl run: engine.client_app is 'nowhere:app': No module named 'nowhere'; write it as package.module:Name, "
        f"importable from here\nlogs are in {run}\n"
    )
    assert (run / "status").read_text().startswith("failed: ConfigError: engine.client_app is 'nowhere:app'")
    assert "Traceback" in (run / "run.log").read_text()
    assert not (run / "summary.json").exists()
    assert not (tmp_path / "runs" / "latest").exists()


CRASHING = """
from flwr.clientapp import ClientApp
app = ClientApp()

@app.train()
def train(message, context):
    raise {what}
"""


def test_a_run_that_is_stopped_leaves_no_chain_and_is_not_finished(fl_process, tmp_path):
    (tmp_path / "mine.py").write_text(CRASHING.format(what="KeyboardInterrupt"))
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[3])])}
    done = fl_process("run", *TINY, "engine.client_app=mine:app", folder=tmp_path, **environment)
    assert done.returncode == 130
    run = only(tmp_path)
    assert (run / "status").read_text() == "failed: interrupted\n"
    assert f"logs are in {run}" in done.stderr
    assert "Listening on" in (run / "anvil.log").read_text()  # it had been started
    assert processes_of(run) == []
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    assert not (tmp_path / "runs" / "latest").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_run_that_is_killed_leaves_no_chain(python, environment, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os, signal\n" + CRASHING.format(what="SystemExit(os.kill(os.getpid(), 9))")
    )
    variables = {**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}
    command = [python, "-m", "fl.cli.main", "run", *TINY, "engine.client_app=mine:app"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    run = only(tmp_path)
    assert (run / "status").read_text() == "running\n"
    for _ in range(200):  # each look goes through /proc
        if not processes_of(run):
            return
    pytest.fail("Anvil outlived its run")


def test_of_a_sweep_each_point_has_its_folder_and_a_bad_point_is_marked(fl_process, deployment, tmp_path):
    done = fl_process("run", "-m", *TINY, f"chain.url={deployment.url}", "task.batch_size=8,0", folder=tmp_path)
    assert done.returncode == 1
    assert "task.batch_size is 0; set 1 or more" in done.stderr
    sweep = only(tmp_path)
    assert (sweep / "0" / "status").read_text() == "finished\n"
    assert (sweep / "0" / "summary.json").exists()
    assert (sweep / "1" / "status").read_text() == "failed: ConfigError: task.batch_size is 0; set 1 or more\n"
    assert not (sweep / "1" / "summary.json").exists()


def test_an_unknown_setting_makes_no_folder(fl_process, tmp_path):
    done = fl_process("run", "task.round=3", folder=tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == "fl run: task.round is not a setting, the nearest is task.rounds; `fl run --help` lists them all\n"
    )
    assert list(tmp_path.iterdir()) == []


# ---- a person's own data ---------------------------------------------------------------------------------------------


def runs_on(deployment, folder, *overrides):
    """One round on this data, on the session's chain; returns the result."""
    settings = ["task.rounds=1", "task.steps=3", "model=logistic", f"chain.url={deployment.url}", *overrides]
    result = run_federation(check(settings), folder=folder, watcher=Watcher())
    assert result.paid == sum(client.earned for client in result.clients)
    assert result.paid in (0, result.terms.budget)
    return result


def test_a_run_on_breast_cancer(deployment, tmp_path):
    result = runs_on(deployment, tmp_path, "data=breast_cancer", "partition=sizes")
    assert len(result.clients) == 6
    assert result.clients[5].samples > 4 * result.clients[0].samples


def test_a_run_on_a_table_of_ones_own(deployment, tmp_path):
    rng = np.random.default_rng(0)
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["height", "colour", "city", "ill"])
        for number in range(120):
            height = rng.normal()
            shown = "?" if number % 10 == 0 else f"{height:.3f}"
            table.writerow(
                [
                    shown,
                    "red" if height > 0 else "blue",
                    ("Bern", "Rome", "Oslo")[number % 3],
                    "yes" if height > 0 else "no",
                ]
            )
    path = f"data.path={tmp_path}/mine.csv"
    result = runs_on(deployment, tmp_path / "run", "data=csv", path, "data.target=ill", "partition=iid")
    assert result.spec.class_names == ("no", "yes")
    assert result.paid == result.terms.budget
    natural = runs_on(
        deployment, tmp_path / "natural", "data=csv", path, "data.target=ill", "data.group=city", "partition=natural"
    )
    assert [client.name for client in natural.clients] == ["Bern", "Oslo", "Rome"]


def test_a_run_on_four_hospitals(deployment, shared_data, tmp_path):
    hospitals = shared_data("heart-disease")
    result = runs_on(
        deployment, tmp_path, "data=folder", f"data.path={hospitals}", "data.target=-1", "data.positive_above=0",
        "data.header=false",
    )  # fmt: skip
    assert [client.name for client in result.clients] == ["cleveland", "hungarian", "switzerland", "va"]
    assert result.spec.num_classes == 2


def test_a_run_on_mnist(deployment, shared_data, tmp_path):
    images = shared_data("mnist10k")
    result = runs_on(
        deployment, tmp_path, "data=idx", f"data.path={images}", "data.limit=600", "data.validation=100", "data.test=100",
        "partition=labels",
    )  # fmt: skip
    assert result.spec.feature_shape == (1, 28, 28)
    assert all(sum(count > 0 for count in client.class_counts) == 2 for client in result.clients)


def test_the_settings_that_are_kept_beside_a_run_hold_no_key_of_a_node(tmp_path):
    url = "https://mainnet.example/v3/0123456789abcdef0123456789abcdef"
    for name in ("config.yaml", "overrides.yaml"):
        (tmp_path / name).write_text(f"chain:\n  url: {url}\n- chain.url={url},data=digits\n")
    hide_key(tmp_path, url=url)
    for name in ("config.yaml", "overrides.yaml"):
        assert (tmp_path / name).read_text() == (
            "chain:\n  url: https://mainnet.example/…\n- chain.url=https://mainnet.example/…,data=digits\n"
        )
    hide_key(tmp_path, url="http://127.0.0.1:8545")
    assert "mainnet.example/…" in (tmp_path / "config.yaml").read_text()
