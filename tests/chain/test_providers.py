"""Providers as they are: some drip, some limit, some lag; and their URLs hold keys."""

import logging
import threading
from dataclasses import replace

import pytest
from chain.providers import (
    drips,
    drips_its_head,
    endless,
    is_behind,
    redirects,
    refusal,
    refuses_ranges,
    running_provider,
)
from eth_account import Account
from web3.exceptions import Web3RPCError

from fl.chain.anvil import running_anvil
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.errors import AnswerTooLarge, ChainUnreachable, NotAnRpcUrl
from fl.chain.history import read_history
from fl.chain.invite import Invite
from fl.chain.last_known import LastKnown
from fl.chain.log_ranges import HistoryUnread, LogSpan
from fl.chain.provider import Patience, _asks_to_wait
from fl.chain.rpc_transport import _Http
from fl.chain.rpc_url import carries_key, key_note, shown, with_key, without_key
from fl.chain.sender import connect, transfer_ether

KEY = "https://mainnet.example/v3/0123456789abcdef0123456789abcdef"


@pytest.fixture
def provider(anvil):
    with running_provider(anvil) as (made, url):
        made.entry = url
        yield made


def impatient(url, **changes):
    """A connection that gives up soon."""
    w3 = connect(url, patience=Patience(outage_s=0, limit_s=0, **changes))
    w3.provider.timeout_s = 0.3
    return w3


# ---- hostile ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", [drips, drips_its_head])
@pytest.mark.parametrize("pooled", [False, True])  # without detours, or as any other host
def test_a_node_that_drips_is_given_up(provider, habit, pooled, monkeypatch):
    if pooled:
        monkeypatch.setattr("fl.chain.rpc_transport._Direct", through_the_pool)
    w3 = impatient(provider.entry)
    provider.habit = habit
    with pytest.raises(ChainUnreachable, match="no chain answers at"):
        _ = w3.eth.block_number


def through_the_pool(url):
    """The way to a node that is not this machine's own."""
    return _Http(url, wait_s=5)


@pytest.mark.parametrize("pooled", [False, True])
def test_an_answer_without_end_is_cut_off_and_not_asked_for_again(provider, pooled, monkeypatch):
    if pooled:
        monkeypatch.setattr("fl.chain.rpc_transport._Direct", through_the_pool)
    w3 = connect(provider.entry)
    monkeypatch.setattr("fl.chain.rpc_transport.MOST_BYTES", 3 << 20)
    provider.habit, provider.asked = endless, []
    with pytest.raises(AnswerTooLarge, match="more than the 3,145,728 bytes that there can be; name another node"):
        _ = w3.eth.block_number
    assert len(provider.asked) == 1


def test_a_redirect_is_not_followed(provider, anvil):
    w3 = connect(provider.entry)
    with running_provider(anvil) as (inside, url):
        provider.habit = redirects(url)
        with pytest.raises(ChainUnreachable, match=r"HTTP 307, to another address"):
            _ = w3.eth.block_number
        assert inside.asked == []


@pytest.mark.parametrize("body", [[], "x", {"jsonrpc": "2.0"}, 7])
def test_what_is_no_json_rpc_is_no_answer(provider, body):
    w3 = impatient(provider.entry)
    provider.habit = lambda *_: body
    with pytest.raises(ChainUnreachable, match="no JSON-RPC"):
        _ = w3.eth.block_number


def test_a_url_of_another_kind_is_refused():
    for url in ("ftp://127.0.0.1:1", "http://", "http://x:notaport"):
        with pytest.raises(ChainUnreachable, match="is not the URL of a node"):
            connect(url)


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        (429, {}),
        (429, "Too Many Requests"),
        (200, {"code": -32005, "message": "daily request count exceeded, request rate limited"}),
        (200, {"code": 429, "message": "Your app has exceeded its compute units per second capacity"}),
        (200, {"code": -32007, "message": "25/second request limit reached - reduce calls per second"}),
        (403, {"code": -32000, "message": "over rate limit"}),
        (200, {"code": -32000, "message": "Too many requests, reason: call rate limit exhausted, retry in 10s"}),
        (400, {"code": -32603, "message": "service temporarily unavailable. The network may be overloaded"}),
    ],
)
def test_a_limit_is_waited_for_in_whatever_words_it_is_told_and_from_the_first_call_on(provider, told):
    limits = [told, told]

    def habit(_, call):
        if not limits:
            return None
        status, error = limits.pop()
        return status, {"jsonrpc": "2.0", "id": call["id"], "error": error} if isinstance(
            error, dict
        ) and error else error

    provider.habit = habit
    assert connect(provider.entry).eth.chain_id == 31337
    assert limits == []


def test_a_limit_that_does_not_end_is_told_in_the_nodes_words(provider):
    w3 = connect(provider.entry, patience=Patience(limit_s=0))
    provider.habit = lambda _, call: refusal(call, "rate limit of this plan")
    with pytest.raises(Web3RPCError, match="rate limit of this plan"):
        _ = w3.eth.block_number
    with pytest.raises(ChainUnreachable, match=r"no chain answers at .* \(rate limit of this plan\)"):
        connect(provider.entry, patience=Patience(limit_s=0))


@pytest.mark.parametrize(
    "message",
    [
        "execution reverted: TooEarly",
        "nonce too low",
        "replacement transaction underpriced",
        "insufficient funds for gas * price + value",
        "gas required exceeds allowance (30000000)",
        "exceeds block gas limit",
        "method not found",
    ],
)
def test_what_a_node_says_of_a_call_is_no_limit(message):
    assert not _asks_to_wait("eth_call", {"code": -32000, "message": message})
    assert not _asks_to_wait("eth_estimateGas", {"code": 3, "message": "retry"})


# ---- logs in ranges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "range 5000 exceeds limit of 7",
        "query returned more than 10000 results",
        "block range is too wide",
        "Log response size exceeded",
        "query timeout exceeded",
        "eth_getLogs is limited to a 7 range",
    ],
)
def test_logs_come_in_ranges_that_the_node_takes_and_that_are_remembered(provider, new_world, words):
    made = new_world()
    whole = read_history(made.w3, made.escrow.address, made.task.task_id)
    w3 = connect(provider.entry)
    provider.habit = refuses_ranges(7, words)
    pieces = read_history(w3, made.escrow.address, made.task.task_id, from_block=made.task.block)
    assert {table.name: table.rows for table in pieces} == {table.name: table.rows for table in whole}
    span = replace(w3.provider.log_span)
    assert span.refused <= 28
    provider.asked = []
    read_history(w3, made.escrow.address, made.task.task_id, from_block=made.task.block)
    assert w3.provider.log_span.refused in (span.refused, span.blocks)  # what was found out before is not tried again


def test_a_width_that_was_taken_grows_to_just_below_what_was_refused():
    span = LogSpan(blocks=64)
    while span.blocks > 10:
        span.was_refused(span.blocks)
    for _ in range(20):
        span.was_refused(span.blocks) if span.blocks > 10 else span.taken(span.blocks)
    assert 5 <= span.blocks <= 10


def test_a_single_block_that_is_refused_is_named(provider, new_world):
    made = new_world()
    provider.habit = refuses_ranges(0, "pruned history: no logs")
    with pytest.raises(HistoryUnread, match=r"returns no logs for blocks .* \(pruned history"):
        read_history(connect(provider.entry), made.escrow.address, made.task.task_id, from_block=made.task.block)


def test_a_look_at_the_enrolments_asks_for_what_came_since(provider, new_world, late_join):
    made = new_world(joining=2)
    _, escrow, _ = replace(made.deployment, url=provider.entry).connect()
    first = escrow.enrolments(made.task.task_id, from_block=made.task.block)
    made.w3.provider.make_request("anvil_mine", [hex(100)])
    escrow.enrolments(made.task.task_id, from_block=made.task.block)
    ranges = []

    def note(_, call):
        if call["method"] == "eth_getLogs":
            ranges.append(int(call["params"][0]["toBlock"], 16) - int(call["params"][0]["fromBlock"], 16) + 1)

    provider.habit = note
    assert escrow.enrolments(made.task.task_id, from_block=made.task.block) is first  # nothing was read at all
    assert ranges == []
    late_join(made, 2)
    assert list(escrow.enrolments(made.task.task_id, from_block=made.task.block)) == made.addresses
    assert max(ranges) < 100


# ---- blocks behind ---------------------------------------------------------------------------------------------------


def test_behind_a_load_balancer_one_reads_what_one_has_written(provider, chain, account):
    w3 = connect(provider.entry)
    provider.habit = is_behind(1, times=40)
    for _ in range(3):  # each next one would fail on a nonce or a balance of before
        receiver = Account.create().address
        transfer_ether(w3, account=account(3), to=receiver, amount=7)
        assert w3.eth.get_balance(receiver) == 7
    token, _ = Token.deploy(w3, account=account(3))  # "no token at" its address, on a node that is behind
    token.mint(account(4).address, 5, account=account(3))
    assert token.balance(account(4).address) == 5


def test_a_command_that_follows_a_deployment_waits_for_a_node_that_is_behind(provider, chain, account):
    here = connect(chain.url)
    token, sent = Token.deploy(here, account=account(3))
    provider.habit = is_behind(1, times=8)
    found = replace(chain, url=provider.entry, token=token.address, block=sent.block)
    assert found.connect()[2].balance(account(4).address) == 0  # "no token at" its address, on a node that is behind


def test_a_block_that_is_gone_is_not_waited_for_for_ever(anvil):
    w3 = connect(anvil, patience=Patience(lag_s=0.3))
    w3.provider.saw(w3.eth.block_number + 1000)
    assert w3.eth.get_balance("0x" + "11" * 20) == 0
    w3.provider._highest.block = 0  # or whoever comes next waits for it with more patience


# ---- habits of machines ----------------------------------------------------------------------------------------------


def test_a_chain_of_authority_is_read(provider):
    def habit(made, call):
        answer = made.forward(call)
        if call["method"].startswith("eth_getBlockBy") and answer.get("result"):
            answer["result"]["extraData"] = "0x" + "d8" * 97
        return answer

    provider.habit = habit
    assert connect(provider.entry).eth.get_block("latest")["number"] >= 0


def test_a_proxy_of_the_environment_does_not_catch_loopback(anvil, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(anvil).eth.chain_id == 31337
    monkeypatch.setattr("fl.chain.rpc_transport._Direct", through_the_pool)
    assert connect(anvil).eth.chain_id == 31337
    assert connect(anvil.replace("http", "ws")).eth.chain_id == 31337


def test_a_websocket_is_asked_like_any_other(anvil, account, chain):
    w3 = connect(anvil.replace("http", "ws"))
    receiver = Account.create().address
    transfer_ether(w3, account=account(3), to=receiver, amount=7)
    assert w3.eth.get_balance(receiver) == 7
    w3.provider.close()
    assert w3.eth.get_balance(receiver) == 7  # on a new connection


def test_a_websocket_that_nobody_opens_is_unreachable():
    with pytest.raises(ChainUnreachable, match="ConnectionRefusedError"):
        connect("ws://127.0.0.1:9")


def test_a_devnet_listens_on_the_other_loopback(tmp_path):
    with running_anvil(log=tmp_path / "anvil.log", host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert connect(url).eth.chain_id == 31337


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (KEY, "https://mainnet.example"),
        ("https://user:word@node.example:8545/", "https://node.example:8545"),
        ("https://node.example/?apikey=1", "https://node.example"),
        ("wss://node.example/ws/abcdefghijklmnopqrstuvwxyz", "wss://node.example"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://rpc.example/ext/bc/C/rpc", "https://rpc.example/ext/bc/C/rpc"),
        ("https://rpc.example/ethereum-mainnet", "https://rpc.example/ethereum-mainnet"),
    ],
)
def test_what_of_a_url_is_a_key_is_kept_by_nobody(url, kept):
    assert (without_key(url), carries_key(url)) == (kept, url != kept)
    assert shown(url) == (f"{kept}/…" if url != kept else url)


def test_a_key_stands_in_no_invite_deployment_file_error_or_log(new_world, tmp_path, provider, caplog):
    made = new_world()
    secret = "0123456789abcdef0123456789abcdef"
    keyed = f"{provider.entry}/v3/{secret}"
    invite = replace(made.invite, url=keyed)
    invite.write(tmp_path / "invite.json")
    replace(made.deployment, url=keyed).write(tmp_path / "deployment.json")
    assert Invite.load(invite.to_string()).url == provider.entry
    kept = (tmp_path / "invite.json").read_text() + (tmp_path / "deployment.json").read_text()
    w3 = connect(keyed, patience=Patience(outage_s=0.2, limit_s=0.2))
    provider.habit = drips
    w3.provider.timeout_s = 0.1
    with caplog.at_level(logging.DEBUG), pytest.raises(ChainUnreachable) as refusal_:
        _ = w3.eth.block_number
    assert secret not in kept + str(refusal_.value) + "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("fl")
    )
    # The process that was given the key goes on using it.
    assert with_key(Deployment.read(tmp_path / "deployment.json").url) == keyed


def test_whoever_gives_a_key_hears_where_it_stays():
    assert key_note(KEY).startswith("the URL of https://mainnet.example holds a key, which is kept out of every file;")
    assert key_note("http://127.0.0.1:8545") == ""


def test_who_has_the_key_sets_it_in_the_environment(monkeypatch):
    monkeypatch.setenv("FAIRSHARE_RPC_URL", f"https://other.example/{'k1' * 16}, {KEY}")
    assert with_key("https://mainnet.example") == KEY
    assert with_key("https://third.example") == "https://third.example"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("localhost:8545", "http://localhost:8545"),
        ("localhost", "http://localhost"),
        ("hub.example.org:8545", "http://hub.example.org:8545"),
        ("rpc.example.org", "https://rpc.example.org"),
        (KEY.removeprefix("https://"), "https://mainnet.example/…"),
    ],
)
def test_a_url_without_its_scheme_is_told_whole(url, meant):
    with pytest.raises(NotAnRpcUrl) as refusal:
        connect(url)
    assert str(refusal.value) == f"the chain's URL has no http:// or https:// in front; write {meant}"


# ---- what is known ---------------------------------------------------------------------------------------------------


def test_nobody_waits_for_a_chain_that_is_slow():
    slow, read = threading.Event(), []

    def ask():
        read.append(1)
        if len(read) > 1:
            slow.wait(60)
        return len(read)

    known = LastKnown(ask, every_s=0.01)
    assert known.get().value == 1
    until(lambda: len(read) > 1)
    for _ in range(100):
        told = known.get()
    assert (told.value, told.problem) == (1, "SlowChain")
    assert told.age_s > 0
    slow.set()
    until(lambda: known.get().value > 1)


def test_a_chain_that_is_away_is_told_by_kind_beside_what_was_known():
    answers = [1, ValueError("https://key.example")]

    def ask():
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    known = LastKnown(ask, every_s=0.01)
    until(lambda: known.get().problem)
    assert (known.get().value, known.get().problem) == (1, "ValueError")


def test_a_reading_that_is_ended_is_told_and_begins_again(caplog):
    raised = [SystemExit("https://key.example")]

    def ask():
        if raised:
            raise raised.pop()
        return 1

    known = LastKnown(ask, every_s=0.01)
    until(lambda: known.get().value == 1)
    assert "reading the chain stopped (SystemExit); it starts again when somebody asks" in caplog.text
    assert "key.example" not in caplog.text


def test_without_a_thread_to_read_in_it_says_so_and_tries_again(monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    known = LastKnown(lambda: 1, every_s=0.01)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_thread)
        assert known.get().problem == "RuntimeError"
    until(lambda: known.get().value == 1)


def until(holds):
    turn = threading.Event()
    for _ in range(1200):
        if holds():
            return
        turn.wait(0.05)
    raise AssertionError("it did not come to hold")
