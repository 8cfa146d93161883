import os
import shutil
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest

from fl.chain import anvil as module
from fl.chain.anvil import find_anvil, running_anvil
from fl.chain.errors import AnvilFailed, AnvilMissing, ChainUnreachable
from fl.chain.sender import connect


def _listens(url: str) -> bool:
    try:
        connect(url)
    except ChainUnreachable:
        return False
    return True


def test_anvil_listens_while_the_context_lasts_and_not_after(tmp_path):
    with running_anvil(accounts=3, log=tmp_path / "anvil.log") as url:
        assert url.startswith("http://127.0.0.1:")
        assert connect(url).eth.chain_id == 31337
        assert len(connect(url).eth.accounts) == 3
    assert not _listens(url)


def test_anvil_stops_when_the_block_raises(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), running_anvil(log=tmp_path / "anvil.log") as url:
        raise RuntimeError("boom")
    assert not _listens(url)


def test_two_anvils_take_two_ports(tmp_path):
    with running_anvil(log=tmp_path / "one.log") as first, running_anvil(log=tmp_path / "two.log") as second:
        assert first != second


@pytest.mark.skipif(not Path("/proc").exists(), reason="the kernel's parent-death signal is Linux's")
def test_anvil_dies_with_a_parent_that_is_killed(tmp_path, python, environment):
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from fl.chain.anvil import running_anvil
        with running_anvil(log=Path({str(tmp_path / "anvil.log")!r})) as url:
            print(url, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    # Anvil inherits none of our pipes, so this returns when the parent is gone.
    done = subprocess.run(
        [python, "-c", script], check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    url = done.stdout.strip()
    assert url, done.stderr
    for _ in range(1000):  # the signal is on its way; each look takes a millisecond or so
        if not _listens(url):
            return
    pytest.fail(f"Anvil at {url} outlived the process that started it")


def test_a_port_that_is_taken_fails_with_anvils_own_words(anvil, tmp_path):
    port = int(anvil.rpartition(":")[2])
    with pytest.raises(AnvilFailed) as caught, running_anvil(log=tmp_path / "anvil.log", port=port):
        pass
    assert "Address already in use" in caught.value.output
    assert str(caught.value).startswith("Anvil did not start; its last words: ")


def test_an_anvil_that_ends_at_once_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_anvil", lambda: Path(shutil.which("true")))
    with pytest.raises(AnvilFailed) as caught, running_anvil(log=tmp_path / "anvil.log"):
        pass
    assert str(caught.value) == "Anvil did not start; its last words: none"


def test_anvil_on_path_comes_first(tmp_path, monkeypatch):
    own = tmp_path / "anvil"
    own.write_text("#!/bin/sh\n")
    own.chmod(own.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_anvil() == own


def test_a_machine_without_anvil_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "CHECKOUT_CONTRACTS", tmp_path)
    with pytest.raises(AnvilMissing) as caught:
        find_anvil()
    assert str(caught.value) == (
        "a chain on this machine needs Anvil, which is neither on PATH nor in a checkout's contracts/node_modules; run "
        "`npm install -g @foundry-rs/anvil` (in a checkout, `npm ci` in contracts/), or name a chain that runs"
    )


def test_the_states_of_a_long_chain_are_gone_with_it(tmp_path, monkeypatch):
    home, folder = tmp_path / "home", tmp_path / "temporary"
    for place in (home, folder):
        place.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with running_anvil(log=tmp_path / "anvil.log") as url:
        w3 = connect(url)
        for _ in range(8):
            w3.provider.make_request("anvil_mine", ["0x64"])
        assert w3.eth.block_number == 800
        assert list(folder.rglob("anvil-state*"))  # more than it keeps in memory
    assert not list(folder.iterdir())
    assert not list(home.rglob("anvil-state*"))
