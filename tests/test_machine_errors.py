"""What a machine refuses is told in one line, whatever the command was writing."""

import errno
import io
import logging
import os
import sys

import pytest

from fl.cli.commands import shards
from fl.cli.main import main
from fl.machine_errors import LogFile, told


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; make room there and try again"),
        (errno.EDQUOT, "make room there and try again"),
        (errno.EROFS, "Read-only file system; start in a folder that you may write to, or change whose it is"),
        (errno.EACCES, "Permission denied; start in a folder that you may write to, or change whose it is"),
        (errno.EMFILE, "raise the number of open files (`ulimit -n`) and try again"),
        (errno.ENAMETOOLONG, "choose shorter names of files and folders"),
        (errno.EFBIG, "raise the largest size of a file there (`ulimit -f`) and try again"),
        (errno.ENOENT, "look at the path and what lies there"),
        (errno.ENOTDIR, "look at the path and what lies there"),
        (errno.EIO, "the disk may be broken: look at the system's log"),
    ],
)
def test_each_refusal_has_its_advice_and_names_the_file(number, advice, monkeypatch, capsys):
    def fails(arguments):
        raise OSError(number, os.strerror(number), "/far/höhe 1/file")

    monkeypatch.setattr(shards, "main", fails)
    monkeypatch.setattr(sys, "argv", ["fl", "shards"])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert said.startswith("fl shards: /far/höhe 1/file: ")
    assert said.endswith(f"{advice}\n")
    assert said.count("\n") == 1


def test_an_error_of_another_kind_keeps_its_traceback(monkeypatch):
    def fails(arguments):
        raise OSError(errno.EINVAL, "Invalid argument", "x")

    monkeypatch.setattr(shards, "main", fails)
    monkeypatch.setattr(sys, "argv", ["fl", "shards"])
    with pytest.raises(OSError, match="Invalid argument"):
        main()
    assert told(OSError("without a number")) is None
    assert told(OSError(errno.ENOENT, "No such file or directory")) is None
    assert told(OSError(errno.ENOSPC, "full")) == "full; make room there and try again"


def test_a_log_on_a_full_disk_is_cut_short_without_a_word(tmp_path, no_room, capsys):
    handler = LogFile(tmp_path / "run.log")
    record = logging.LogRecord("fl", logging.INFO, "", 0, "%s", ("a line " * 40,), None)
    no_room(True)
    handler.handle(record)
    no_room(False)
    handler.handle(logging.LogRecord("fl", logging.INFO, "", 0, "%d", ("no number",), None))
    told_by_logging = capsys.readouterr().err
    handler.close()
    assert told_by_logging.count("--- Logging error ---") == 1  # a mistake of ours is still told
    assert "TypeError" in told_by_logging


def test_a_question_that_nobody_answers_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(shards, "main", lambda arguments: input())
    monkeypatch.setattr(sys, "argv", ["fl", "shards"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith(
        "fl shards: a question was asked and nobody is there to answer; set FAIRSHARE_PASSWORD"
    )


def test_a_log_goes_on_in_a_new_file_and_keeps_one_of_those_before(tmp_path, monkeypatch):
    monkeypatch.setattr("fl.machine_errors._MOST_LOG", 1000)
    handler = LogFile(tmp_path / "node.log")
    for number in range(1000):
        handler.handle(logging.LogRecord("a", logging.INFO, "", 1, f"line {number}", (), None))
    handler.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node.log", "node.log.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert (tmp_path / "node.log").read_text().endswith("line 999\n")
