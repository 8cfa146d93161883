import json
import os
import re
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fl.chain.devnet import DevnetFailed, running_devnet
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.sender import connect, transfer_ether
from fl.cli.commands.devnet import main
from fl.errors import ConfigError

NOBODY = "0x" + "77" * 20


def until(found, *, what):
    for _ in range(3000):
        if value := found():
            return value
        threading.Event().wait(0.02)
    raise AssertionError(f"{what} did not happen")


def test_a_chain_is_as_it_was_after_a_restart(tmp_path, account):
    with running_devnet(tmp_path, port=0, accounts=3) as url:
        w3 = connect(url)
        token, _ = Token.deploy(w3, account=account(0))
        escrow, _ = Escrow.deploy(w3, account=account(0))
        sent = token.mint(NOBODY, 5, account=account(1))
        last = w3.eth.get_block("latest")
    with running_devnet(tmp_path, port=0, accounts=3) as url:
        w3 = connect(url, chain_id=31337)
        assert Token(w3, token.address).balance(NOBODY) == 5
        assert Escrow(w3, escrow.address).address == escrow.address
        assert w3.eth.get_block("latest")["hash"] == last["hash"]
        assert w3.eth.get_transaction_count(account(1).address) == 1
        # Who joined is read from events, and a receipt is looked up after a coordinator's own restart.
        assert [log["transactionHash"].to_0x_hex() for log in w3.eth.get_logs({"fromBlock": sent.block})] == [sent.hash]
        assert w3.eth.get_transaction_receipt(sent.hash)["status"] == 1
        assert Token(w3, token.address).mint(NOBODY, 1, account=account(1)).block == sent.block + 1


def test_a_transaction_outlives_a_chain_that_is_restarted(tmp_path, account):
    with ThreadPoolExecutor(max_workers=1) as beside:
        with running_devnet(tmp_path, port=0, block_time_s=3600) as url:
            w3 = connect(url)
            sending = beside.submit(transfer_ether, w3, account=account(0), to=NOBODY, amount=5)
            until(lambda: w3.eth.get_transaction_count(account(0).address, "pending") == 1, what="sending")
        # It was in no block, so the chain that comes back knows nothing of it.
        with running_devnet(tmp_path, port=int(url.rpartition(":")[2])):
            sent = sending.result(120)
            assert w3.eth.get_balance(NOBODY) == 5
            assert w3.eth.get_transaction(sent.hash)["nonce"] == 0
            assert w3.eth.get_transaction_count(account(0).address) == 1


def test_a_folder_is_one_devnets(tmp_path):
    with (
        running_devnet(tmp_path, port=0),
        pytest.raises(DevnetFailed) as caught,
        running_devnet(tmp_path, port=0),
    ):
        pass
    assert str(caught.value) == (
        f"the devnet cannot start: folder {tmp_path} is in use by another devnet; stop it, or name another folder"
    )


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problem = f"port {port} of 127.0.0.1 is in use; stop what listens there"
        with pytest.raises(DevnetFailed, match=problem), running_devnet(tmp_path, port=port):
            pass


def test_a_chain_that_was_damaged_goes_on_from_the_start_before(tmp_path, account):
    with running_devnet(tmp_path, port=0) as url:
        token, _ = Token.deploy(connect(url), account=account(0))
    with running_devnet(tmp_path, port=0):
        pass
    state = tmp_path / "state.json"
    state.write_bytes(state.read_bytes()[:1000])
    with running_devnet(tmp_path, port=0) as url:
        assert Token(connect(url), token.address).address == token.address


def test_a_chain_that_cannot_be_read_at_all_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("{")
    problem = r"state\.json is damaged; remove it to start a new chain"
    with pytest.raises(DevnetFailed, match=problem), running_devnet(tmp_path, port=0):
        pass


@pytest.fixture
def command(tmp_path, python, environment):
    """Starts `fl devnet` with what it is given; the chain is kept in `chain`."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [python, "-m", "fl.cli.main", "devnet", f"folder={tmp_path / 'chain'}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def url_of(process):
    return re.search(r"chain 31337 at (http://127\.0\.0\.1:\d+), (\S+)", process.stdout.readline()).groups()


def test_the_command_says_where_it_listens_and_saves_when_it_is_stopped(command, account):
    first = command("port=0", "accounts=3")
    url, how = url_of(first)
    assert how == "new"
    token, _ = Token.deploy(connect(url), account=account(0))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 0
    assert "saving the chain" in first.stdout.read()
    second = command("port=0")
    url, how = url_of(second)
    assert how == "resumed"
    assert Token(connect(url), token.address).address == token.address
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


@pytest.mark.parametrize("cut", [False, True])
def test_a_kill_costs_a_few_seconds_of_the_chain_at_most(command, tmp_path, account, cut):
    first = command("port=0")
    url, _ = url_of(first)
    token, _ = Token.deploy(connect(url), account=account(0))
    state = tmp_path / "chain" / "state.json"
    saved = state.with_name("state-before.json") if cut else state

    def kept():
        try:
            return token.address.lower() in json.loads(saved.read_text())["accounts"]
        except (OSError, ValueError):
            return False

    until(kept, what="saving")
    first.kill()
    first.wait()
    until(lambda: not _runs_on(state), what="the end of Anvil")
    if cut:  # Anvil writes in place, and may be killed half-way
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    second = command("port=0")
    assert Token(connect(url_of(second)[0]), token.address).address == token.address


def _runs_on(state):
    """Whether a process names the file."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(state).encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("port=70000", "port is '70000'; write a whole number up to 65535"),
        ("accounts=many", "accounts is 'many'; write a whole number up to 1000"),
        ("block_time=0", "block_time is '0'; write seconds, more than 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(argument, problem):
    with pytest.raises(ConfigError) as caught:
        main([argument])
    assert str(caught.value) == problem


def test_no_anvil_outlives_the_command(command):
    process = command("port=0")
    url, _ = url_of(process)
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: not _listens(url), what="the end of Anvil")


def _listens(url):
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
