import subprocess
import sys
from types import SimpleNamespace

import pytest
from warm_process import warm_process

from fl.cli.main import main


@pytest.fixture
def fl(monkeypatch, capsys):
    """Runs `fl ...` in this process: exit status and what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return call


@pytest.fixture(scope="session")
def forked(environment, tmp_path_factory):
    """The beginning of a command line that runs `fl ...` in a process forked from one that has imported everything."""
    with warm_process(tmp_path_factory.mktemp("warm") / "socket", environment=environment) as call:
        yield [*call, "fl"]


@pytest.fixture(scope="session")
def fl_process(forked, environment):
    """Runs `fl ...` as a process of its own, in a folder."""

    def call(*arguments, folder, **variables):
        return subprocess.run(
            [*forked, *map(str, arguments)],
            cwd=folder,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture
def refuses(fl):
    """Runs a command that has to fail with one line that begins like this, and status 1."""

    def call(*arguments, saying):
        done = fl(*arguments)
        assert done.code == 1
        assert done.err.startswith(f"fl {arguments[0]}: {saying}"), done.err
        assert "Traceback" not in done.err
        assert done.out == ""
        return done.err

    return call
