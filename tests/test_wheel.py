"""The wheel, installed away from the checkout: it carries configurations and artifacts, and needs no compiler."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fl.chain.anvil import find_anvil

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("fairshare-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)], check=True
    )
    return folder / "site"


def run(installed: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run `fl` from the wheel, in another folder; its dependencies come from this environment."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PATH": f"{find_anvil().parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "fl.cli.main", *arguments],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_wheel_holds_packages_configurations_and_artifacts_and_no_tests(installed):
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert {"fl/configs/run.yaml", "fl/chain/artifacts/Fairshare.json", "clients/app.py"} <= names
    assert {"fl/report/page.css", "fl/report/static/charts.js"} <= names
    assert {f"fl/dashboard/static/{name}" for name in ("index.html", "page.css", "page.js")} <= names
    assert not [name for name in names if name.startswith(("tests", "scripts", "contracts"))]


def test_a_federation_runs_from_the_wheel(installed, tmp_path):
    result = run(installed, tmp_path, "run", "task.rounds=1", "task.steps=2", "partition.clients=2")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["totals"]["paid_wei"] == summary["totals"]["budget_wei"]


def test_its_code_is_the_wheels(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    script = "import fl, clients; print(fl.__file__, clients.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(Path(path).is_relative_to(installed) for path in found)
