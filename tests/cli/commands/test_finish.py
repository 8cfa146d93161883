"""`fl finish` on a folder that somebody gave."""

import json
import os

import pytest

from fl.cli.commands.finish import main
from fl.errors import ConfigError, FairshareError


@pytest.fixture
def folder(new_world, tmp_path):
    """A folder with an invite, of a task on a chain whose keys are nobody's secret."""
    world = new_world(joining=0)
    given = tmp_path / "given"
    given.mkdir()
    world.invite.write(given / "invite.json")
    return given


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("[" * 100_000, "deep"),
        ("{}", "'settings'"),
        ('{"settings": "chain.key=x"}', "is not a list"),
        ('{"settings": [7]}', "7, no text of at most"),
        ('["settings"]', "is not an object"),
        ("x" * ((1 << 20) + 1), "1,048,576 are the most"),
    ],
)
def test_settings_that_are_none_are_told_by_name(folder, settings, problem):
    (folder / "settings.json").write_text(settings)
    with pytest.raises(
        ConfigError, match=rf"settings.json cannot be read \(.*{problem}.*\); add key=KEYSTORE of the coordinator"
    ):
        main([str(folder)])


@pytest.mark.parametrize("name", ["settings.json", "invite.json"])
def test_neither_a_link_nor_a_pipe_is_read(folder, tmp_path, name):
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps({"settings": ["chain.key=wallet.json"]}))
    for plant in (lambda path: path.symlink_to(outside), os.mkfifo):
        (folder / name).unlink(missing_ok=True)
        plant(folder / name)
        with pytest.raises(FairshareError, match=r"is a link|a file is expected"):
            main([str(folder)])
