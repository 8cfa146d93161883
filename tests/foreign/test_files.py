"""A folder that somebody gave: nothing in it leads out of it, and nothing but a file is read."""

import os
import socket

import pytest

from fl.foreign.files import Absent, GivenFolder, Outside, Unreadable, expanded, read_file


@pytest.fixture
def given(tmp_path):
    """A folder with a file, one further down, and a secret beside it."""
    folder = tmp_path / "given"
    (folder / "updates").mkdir(parents=True)
    (folder / "a.json").write_bytes(b"content")
    (folder / "updates" / "b.blocks").write_bytes(b"blocks")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def test_files_are_read_as_deep_as_they_lie(given):
    assert GivenFolder(given).read("a.json", most=7) == b"content"
    assert GivenFolder(given).read("updates/b.blocks", most=100) == b"blocks"
    assert GivenFolder(given).has("updates/b.blocks")
    assert not GivenFolder(given).has("updates")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "updates/../../secret", "", ".", "..\\secret"])
def test_a_name_that_leads_out_is_refused(given, name):
    with pytest.raises(Outside, match="lies outside of its folder; ask for it again"):
        GivenFolder(given).read(name, most=100)
    assert not GivenFolder(given).has(name)


def test_links_are_not_followed_wherever_they_lead(given, tmp_path):
    (given / "link").symlink_to(tmp_path / "secret")
    (given / "inner").symlink_to("a.json")
    (given / "behind").symlink_to(tmp_path)
    (given / "round").symlink_to("round")
    for name in ("link", "inner", "behind/secret", "round"):
        with pytest.raises(Outside, match="is a link, or lies behind one; links are not followed"):
            GivenFolder(given).read(name, most=100)
        assert not GivenFolder(given).has(name)


def test_the_folder_itself_may_be_a_link(given, tmp_path):
    (tmp_path / "here").symlink_to(given)
    assert GivenFolder(tmp_path / "here").read("a.json", most=100) == b"content"


def test_a_pipe_is_not_waited_for(given):
    os.mkfifo(given / "pipe")
    with pytest.raises(Unreadable, match="is a pipe, and a file is expected"):
        GivenFolder(given).read("pipe", most=100)
    with pytest.raises(Unreadable, match="is a pipe, and a file is expected"):
        read_file(given / "pipe", most=100)


def test_a_socket_and_a_device_are_no_files(given, monkeypatch):
    monkeypatch.chdir(given)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(Unreadable, match="is a pipe, a socket or a device, and a file is expected"):
            GivenFolder(given).read("socket", most=100)
    with pytest.raises(Unreadable, match="is a device, and a file is expected"):
        read_file("/dev/zero", most=100)


def test_a_folder_is_no_file(given):
    with pytest.raises(Unreadable, match="is a folder, and a file is expected"):
        read_file(given / "updates", most=100)


def test_a_file_that_is_too_large_is_not_read(given):
    with pytest.raises(Unreadable, match=r"a\.json has 7 bytes, 6 are the most"):
        GivenFolder(given).read("a.json", most=6)
    with (given / "hole").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Unreadable, match="are the most"):
        GivenFolder(given).read("hole", most=100)


def test_what_is_not_there_is_said_so(given):
    for read in (lambda: GivenFolder(given).read("none/deep", most=1), lambda: read_file(given / "none", most=1)):
        with pytest.raises(Absent, match="is not there"):
            read()
    with pytest.raises(Unreadable, match="embedded null byte"):
        GivenFolder(given).read("a\0b", most=1)
    with pytest.raises(Outside, match="is a link, or lies behind one"):
        GivenFolder(given).read("a.json/b", most=1)


def test_home_is_where_it_stands_and_a_sign_where_there_is_none(monkeypatch):
    monkeypatch.setenv("HOME", "/far/home")
    assert str(expanded("~/t.csv")) == "/far/home/t.csv"
    assert str(expanded("~nobody-of-this-name/t.csv")) == "~nobody-of-this-name/t.csv"
    assert str(expanded("t~.csv")) == "t~.csv"
