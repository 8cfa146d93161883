"""Which task `fl status` and `fl leave` are about: one word, a folder or an invite in any of its forms."""

from pathlib import Path

import pytest
from some_invite import INVITE

from fl.cli.arguments.key_value import parse
from fl.cli.arguments.node import by_place, folder_of, invite_of
from fl.errors import ConfigError

KNOWN = {"folder": "a folder", "invite": "an invite"}


def named(*words):
    """The invite that a command finds by these words."""
    values = parse(by_place(words, command="status"), known=KNOWN, command="status")
    return invite_of(values, folder_of(values))


def test_a_folder_a_file_and_the_one_line_name_the_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    INVITE.write(tmp_path / "node" / "invite.json")
    INVITE.write(tmp_path / "other" / "invite.json")
    for words in (
        [],
        ["other"],
        ["folder=other"],
        ["other/invite.json"],
        ["invite=other/invite.json"],
        [INVITE.to_string()],
    ):
        assert named(*words) == INVITE, words
    with pytest.raises(ConfigError, match="fl status takes folder without a key, and other, node are named"):
        named("other", "node")


def test_a_folder_from_which_nothing_was_joined_is_told_from_one_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match="/node is not a folder of a task, and no invite is named; add folder=… or invite=…"
    ):
        named()
    Path("node").mkdir()
    with pytest.raises(ConfigError, match="/node has no task, as nothing was joined from it, and no invite is named"):
        named()
