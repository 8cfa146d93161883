"""A disk that is full: the coordinator says so in one line, and the folder's own notes of it hide nothing."""

import os
import shutil
import subprocess

import pytest

from .conftest import left_behind


@pytest.fixture
def small_disk(tmp_path):
    """The coordinator's folder on a disk of its own, of 4 MiB; the SuperLink's database is elsewhere."""
    folder = tmp_path / "coordinator"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting takes root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.strip()}")
    (tmp_path / "superlink").mkdir()
    (folder / "superlink").symlink_to(tmp_path / "superlink")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_a_full_disk_is_told_in_one_line_and_hides_no_other(small_disk, town):
    first = town.coordinator(*town.settings(rounds=1, enrolment=5))
    first.says("waiting for clients: 0 of 2")
    fill(small_disk / "ballast")
    assert first.ends() == 1
    # The folder's own notes of the end cannot be written; what ended it is told all the same.
    assert told_by(first) == [
        "fl coordinator: 0 of 2 clients joined within 5 s; let them run `fl join` or lower the number"
    ]

    second = town.coordinator()
    assert second.ends() == 1
    assert told_by(second) == [
        f"fl coordinator: {small_disk} cannot be written to (No space left on device); make room there and start again, "
        "nothing that was written before is lost"
    ]
    assert left_behind(town.folder) == []


def told_by(command):
    """What went wrong, by the command's own words."""
    lines = command.said().splitlines()
    assert not [line for line in lines if "Traceback" in line or "Logging error" in line], command.said()
    return [line for line in lines if line.startswith("fl coordinator: ")]
