"""The examples of deploy/: units that systemd takes, and commands and files that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fl.cli.commands.client import KNOWN
from fl.cli.main import COMMANDS
from fl.coordinator.config import CoordinatorConfig

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_takes_the_unit_and_finds_it_safe(unit, tmp_path):
    # What it starts is not installed here; all else is as shipped.
    path = tmp_path / unit.name.replace("@", "@heart")
    path.write_text(unit.read_text().replace("/opt/fairshare/bin/fl ", "/bin/true "))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(path)], capture_output=True, text=True, check=False
    ).stdout
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", told)[1]) < 2.5


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_an_outage_of_any_length_does_not_leave_a_unit_down(unit):
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    assert settings["Restart"] == "on-failure"
    assert (settings["StartLimitIntervalSec"], "StartLimitBurst" in settings) == ("0", False)


def commands(text):
    """What follows the `fl` of a unit's or an image's start: the command and its keys."""
    starts = [line.partition("bin/fl ")[2].split() for line in text.splitlines() if line.startswith("ExecStart=")]
    starts += [re.findall(r'"([^"]*)"', line) for line in text.splitlines() if line.startswith("CMD ")]
    return [(words[0], [word.partition("=")[0] for word in words[1:] if "=" in word]) for words in starts]


@pytest.mark.parametrize("file", [*UNITS, DEPLOY / "Containerfile"], ids=lambda path: path.name)
def test_what_is_started_is_a_command_with_settings_that_it_has(file):
    found = commands(file.read_text())
    assert found
    for command, keys in found:
        assert command in COMMANDS
        known = KNOWN if command == "client" else CoordinatorConfig.__dataclass_fields__
        assert set(keys) <= set(known), (command, keys)


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Containerfile").read_text(), re.M)
    names = [name for line in copied for name in line.split()]
    assert {"fl", "clients", "configs", "pyproject.toml"} <= set(names)
    assert all((REPOSITORY / name).exists() for name in names)


def test_what_is_fetched_for_a_build_is_named_by_what_it_holds():
    """A tag can point at other bytes tomorrow: the base image has its digest, an action of the workflow its commit."""
    bases = re.findall(r"^ARG BASE=(.+)$", (DEPLOY / "Containerfile").read_text(), re.M)
    assert [re.fullmatch(r"[\w.:-]+@sha256:[0-9a-f]{64}", base) is not None for base in bases] == [True]
    actions = re.findall(
        r"uses: (\S+)", "".join(path.read_text() for path in (REPOSITORY / ".github/workflows").glob("*.yml"))
    )
    assert actions
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in actions)


@pytest.mark.parametrize("file", ["nginx.conf", "Caddyfile"])
def test_a_proxy_opens_no_connection_of_a_node(file):
    text = (DEPLOY / "proxies" / file).read_text()
    assert "127.0.0.1:8443" in text
    assert not re.search(r"ssl_certificate|proxy_ssl\b|terminate|reverse_proxy", text)
