"""The scripts that are committed are those of the sources and of the pinned versions beside them."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
BUNDLES = [ROOT / "fl" / "report" / "static" / "charts.js", ROOT / "fl" / "dashboard" / "static" / "page.js"]
BUILD = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json"]


def told_by(bundle: Path) -> tuple[list[str], str, dict[str, str]]:
    """The sources, their hash, and the versions that a bundle's first line names."""
    line = bundle.read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"/\* from (.+), sha256 ([0-9a-f]{64}); with (.+) \*/", line)
    assert found, line
    return found[1].split(), found[2], dict(part.rsplit(" ", 1) for part in found[3].split(", "))


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_is_that_of_the_committed_sources(bundle):
    sources, told, _ = told_by(bundle)
    total = hashlib.sha256()
    for name in sorted([*BUILD, *sources]):
        total.update(f"{name}\0".encode() + (WEB / name).read_bytes() + b"\0")
    assert told == total.hexdigest(), "run `npm run build` in web/ and commit what it writes"


def test_every_source_is_in_a_bundle():
    sources = {f"src/{path.name}" for path in (WEB / "src").iterdir()}
    assert sources == {name for bundle in BUNDLES for name in told_by(bundle)[0]}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_holds_the_versions_that_are_locked_and_their_licences(bundle):
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    licences = bundle.read_text(encoding="utf-8").rpartition("/*\n")[2]
    _, _, versions = told_by(bundle)
    for name, version in versions.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert f"{name} {version}, {locked[f'node_modules/{name}']['license']}" in licences
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())  # pinned, no range


def test_nothing_of_a_bundle_is_fetched_from_elsewhere():
    for bundle in BUNDLES:
        assert not re.search(r"\bimport\(|importScripts|sourceMappingURL", bundle.read_text(encoding="utf-8"))


def test_building_anew_gives_the_same_bytes():
    if not (WEB / "node_modules" / "esbuild").exists():
        pytest.skip("the tools are not installed; npm install in web/ fetches them")
    done = subprocess.run(
        ["node", "build.mjs", "--check"], cwd=WEB, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
