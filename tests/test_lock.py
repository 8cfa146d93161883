"""What the set-up commands install: every direct dependency, in its range, with the hash of each file; and the list of it."""

import importlib.util
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sources import imported

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHOSEN = {"torch", "fairshare"}  # by the machine, and ours


def locked(name):
    """Package → its versions, of which a lock may have one for each Python."""
    found = {}
    for line in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            package, _, version = line.split(" ")[0].partition("==")
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), package
            found.setdefault(canonicalize_name(package), []).append(version)
    return found


@pytest.mark.parametrize(("name", "extras"), [("requirements.lock", ()), ("requirements-test.lock", ("test",))])
def test_a_lock_holds_every_direct_dependency_in_its_range(name, extras):
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    wanted += [Requirement(line) for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    held = locked(name)
    for requirement in wanted:
        package = canonicalize_name(requirement.name)
        if package in CHOSEN:
            assert package not in held
            continue
        assert any(requirement.specifier.contains(version, prereleases=True) for version in held.get(package, ())), (
            package
        )
    assert {"hatchling", "editables"} <= held.keys()  # which build it without a look at the registry


def test_every_package_that_the_code_imports_is_declared():
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = PROJECT["optional-dependencies"]
    for extra in extras.keys() - {"docs", "bench", "test"}:
        declared |= {canonicalize_name(Requirement(line).name) for line in extras[extra]}
    known, ours = packages_distributions(), {"fl", "clients"}
    for path in (*(ROOT / "fl").rglob("*.py"), *(ROOT / "clients").rglob("*.py")):
        tops = {name.split(".")[0] for name in imported(path)}
        for name in tops - ours - set(sys.stdlib_module_names) - {"ray", "_typeshed"}:
            packages = {canonicalize_name(package) for package in known.get(name, ())}
            assert packages & declared, f"{path} imports {name}, of {packages or 'nobody'}"


def test_the_list_of_what_it_runs_with_is_whole_and_the_same_each_time():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "scripts" / "sbom.py")
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    told = sbom.document()
    assert json.dumps(told) == json.dumps(sbom.document())
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.5")
    names = {component["name"] for component in told["components"]}
    assert {"torch", "flwr", "web3", "numpy"} <= names
    refs = {component["bom-ref"] for component in told["components"]} | {told["metadata"]["component"]["bom-ref"]}
    assert all({dependency["ref"], *dependency["dependsOn"]} <= refs for dependency in told["dependencies"])
