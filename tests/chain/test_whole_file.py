"""Files that a kill, a full disk and a power cut leave whole."""

import os
import stat

import pytest

from fl.chain.json_file import write_json
from fl.chain.whole_file import sync_tree, write_new, write_whole


@pytest.fixture
def calls(monkeypatch):
    """What reaches the disk, in order: each file that is synced, by its inode, and each that is named."""
    seen = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def noting_fsync(descriptor):
        seen.append(("synced", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def noting(name, real):
        def call(source, target, *rest, **named):
            seen.append((name, os.stat(source).st_ino))
            real(source, target, *rest, **named)

        return call

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting("named", replace))
    monkeypatch.setattr(os, "link", noting("named", link))
    return seen


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_the_content_is_on_the_disk_before_the_name_and_the_name_after_it(tmp_path, calls, write):
    path = tmp_path / "file"
    write(path, b"content")
    inode, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("synced", inode), ("named", inode), ("synced", folder)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_synced_as_deep_as_it_goes(tmp_path, calls):
    (tmp_path / "deep").mkdir()
    files = [tmp_path / "file", tmp_path / "deep" / "file"]
    for path in files:
        path.write_bytes(b"content")
    sync_tree(tmp_path)
    assert {inode for _, inode in calls} == {path.stat().st_ino for path in (*files, tmp_path / "deep", tmp_path)}


def test_a_file_has_the_mode_that_it_is_given(tmp_path):
    (tmp_path / "file.partial").write_bytes(b"left from a kill, and readable by all")
    write_whole(tmp_path / "file", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE(_written(tmp_path / "open.json").stat().st_mode) & 0o044


def test_what_is_there_is_replaced_or_refused_as_asked(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"a deployment")
    assert os.read(reader, 100) == b"a deployment"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_on_a_full_disk_the_file_stays_as_it_was(tmp_path, no_room):
    path = _written(tmp_path / "file.json")
    before = path.read_bytes()
    no_room(True)
    with pytest.raises(OSError, match="File too large"):
        write_json(path, {"text": "x" * 200})
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def _written(path):
    write_json(path, {"a": 1})
    return path
