"""A task's folder that somebody gave: nothing in it is followed, and nothing but files is read."""

import os

import pytest
from some_invite import INVITE

from fl.chain.errors import ChainUnreachable
from fl.chain.invite import BadInvite
from fl.cli.arguments.task import NamedTask, open_task, record_of
from fl.foreign.files import Unreadable


@pytest.fixture
def given(tmp_path):
    """A folder with an invite."""
    folder = tmp_path / "given"
    INVITE.write(folder / "invite.json")
    return folder


def test_a_folder_is_named_by_its_invite(given):
    assert open_task(str(given)) == NamedTask(invite=INVITE, folder=given)


def test_an_invite_that_is_a_link_is_refused(given, tmp_path):
    (given / "invite.json").rename(tmp_path / "elsewhere.json")
    (given / "invite.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BadInvite, match=r"invite invite\.json is not one \(is a link, or lies behind one"):
        open_task(str(given))
    # Whoever names a link to an invite of its own means it.
    assert open_task(str(given / "invite.json")).invite == INVITE


def test_an_invite_that_is_a_pipe_is_not_waited_for(given):
    (given / "invite.json").unlink()
    os.mkfifo(given / "invite.json")
    with pytest.raises(BadInvite, match=r"invite invite\.json is not one \(is a pipe, and a file is expected\)"):
        open_task(str(given))


def test_a_kept_chain_that_is_a_link_is_not_copied(given, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("secret")
    (given / "chain.json").symlink_to(tmp_path / "secret")
    monkeypatch.setattr("fl.cli.arguments.task.CHAIN_STATE", "chain.json")

    def away(invite):
        raise ChainUnreachable(url=invite.url, reason="test")

    monkeypatch.setattr("fl.cli.arguments.task.TaskRecord", away)
    with pytest.raises(Unreadable, match="is a link"), record_of(open_task(str(given))):
        pass
