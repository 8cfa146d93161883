"""A hostile node of the chain: whatever it answers to whatever it is asked, what comes is a sentence that says what to do."""

import os
import random
import time

import pytest
from chain.hostile_node import HOSTILE, LyingNode, changed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.joining.purse import Purse
from clients.node.folder import NodeFolder
from clients.payments.follower import Payee, PayFollower
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.checked_requests import BadCallOutput, BlockUnknown, NodeRefused, Reverted, TransactionUnknown
from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, Refused, UnusableAnswerOfNode, WrongChain
from fl.chain.escrow import Escrow
from fl.chain.fork import check_fork
from fl.chain.history import read_history
from fl.chain.membership import check_invite
from fl.chain.provider import Patience
from fl.chain.record import TaskRecord
from fl.chain.sender import connect, send, transfer_ether
from fl.cli.commands.audit import main as audit
from fl.cli.commands.doctor import main as doctor
from fl.cli.commands.events import main as events
from fl.cli.commands.join import main as join
from fl.cli.commands.status import main as status
from fl.errors import FairshareError

LIES = 400 if os.environ.get("LONG_TESTS") else 12  # told to each command
ENVELOPE = {"jsonrpc": "2.0", "id": 1}
HASTE = Patience(
    outage_s=0, limit_s=0, lag_s=0, give_up_s=0, stuck_s=0, look_s=0
)  # nobody waits for it to come to its senses
_LONGEST_S = 5.0  # of this process's own time, and a command of its own takes half a second


@pytest.fixture(scope="module")
def played(lasting_world):
    """Two rounds that are on chain."""
    world = lasting_world(rounds=2, clients=2)
    world.run(world.app(world.downhill))
    write_validation(world.folder / VALIDATION, world.validation)
    return world


@pytest.fixture(scope="module")
def remembered():
    """What an honest node answers, kept over the tests of this file."""
    return LyingNode()


@pytest.fixture
def node(remembered, monkeypatch):
    """A node that lies as `node.lie` says; nobody waits for it to come to its senses."""
    monkeypatch.setattr(
        "fl.chain.sender.Patience", lambda: Patience(outage_s=0, limit_s=0, give_up_s=0, stuck_s=0, look_s=0)
    )
    monkeypatch.setattr("fl.chain.escrow_reader._LAG_S", 0)
    remembered.lie, remembered.asked = None, []
    with remembered.instead():
        yield remembered


def always(method, result):
    """Lies about one method."""
    return lambda asked, honest: {**ENVELOPE, "result": result} if asked == method else honest


def says(method, error):
    """Refuses one method."""
    return lambda asked, honest: {**ENVELOPE, "error": error} if asked == method else honest


# ---- forms -----------------------------------------------------------------------------------------------------------

QUESTIONS = {
    "eth_chainId": lambda w3: w3.eth.chain_id,
    "eth_blockNumber": lambda w3: w3.eth.block_number,
    "eth_gasPrice": lambda w3: w3.eth.gas_price,
    "eth_getBalance": lambda w3: w3.eth.get_balance("0x" + "11" * 20),
    "eth_getTransactionCount": lambda w3: w3.eth.get_transaction_count("0x" + "11" * 20),
    "eth_getCode": lambda w3: w3.eth.get_code("0x" + "11" * 20),
    "eth_getBlockByNumber": lambda w3: w3.eth.get_block("latest"),
    "eth_getTransactionByHash": lambda w3: w3.eth.get_transaction("0x" + "11" * 32),
    "eth_getTransactionReceipt": lambda w3: w3.eth.get_transaction_receipt("0x" + "11" * 32),
    "eth_getLogs": lambda w3: w3.eth.get_logs({"fromBlock": 0, "toBlock": 1}),
    "eth_call": lambda w3: w3.eth.call({"to": "0x" + "11" * 20}),
    "eth_estimateGas": lambda w3: w3.eth.estimate_gas({"to": "0x" + "11" * 20}),
    "eth_sendRawTransaction": lambda w3: w3.eth.send_raw_transaction(b"\x01"),
}


@pytest.mark.parametrize("method", QUESTIONS)
def test_an_answer_of_another_shape_is_refused_by_name_and_nothing_else_leaves_the_family(node, deployment, method):
    w3 = connect(deployment.url, patience=HASTE)
    refused = []
    for value in HOSTILE:
        node.lie = always(method, value)
        try:
            QUESTIONS[method](w3)
        except UnusableAnswerOfNode as error:
            refused.append(str(error))
        except (BlockUnknown, TransactionUnknown, WrongChain):
            pass
    assert len(refused) > len(HOSTILE) / 2
    for words in refused:
        assert f"answers {method} with what cannot be used (" in words
        assert words.endswith("; name another node")
        assert words.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        None, "no", 7, [], {}, {"code": "x", "message": 7}, {"code": 2**99, "message": None}, {"code": True, "message": ["a"]},
        {"code": 3, "message": "execution reverted", "data": []}, {"code": 3, "message": "execution reverted", "data": {"a": 1}},
        {"code": -32000, "message": "execution reverted", "data": "0x4e487b71ff"},  # a panic that there is not
        {"code": 3, "message": "x", "data": "Reverted 0xzz"}, {"code": 3, "message": "x", "data": "0x08c379a0ff"},
        {"code": 3, "message": "x", "data": "0x" + "ab" * 40_000}, {"code": -32601, "message": "method not found"},
        {"code": -32000, "message": "transaction not found"}, {"code": -32000, "message": "indexing is in progress"},
        {"code": -32000, "message": "\x1b[31mheader not found\n" + "x" * 5000}, {"code": -32000, "message": "\ud800"},
    ],
)  # fmt: skip
def test_an_error_of_any_shape_is_one_of_ours(node, deployment, error):
    w3 = connect(deployment.url, patience=HASTE)
    for method, question in QUESTIONS.items():
        if method != "eth_chainId":
            node.lie = says(method, error)
            with pytest.raises(ChainError) as caught:
                question(w3)
            assert len(str(caught.value)) < 5000
            assert str(caught.value).isprintable()


def test_a_refusal_is_told_in_the_nodes_words_with_what_to_do(node, deployment):
    w3 = connect(deployment.url)
    node.lie = says("eth_gasPrice", {"code": -32000, "message": "nobody asks me that"})
    with pytest.raises(
        NodeRefused, match=r"refused eth_gasPrice: nobody asks me that; try again later, or name another node"
    ):
        _ = w3.eth.gas_price
    node.lie = says("eth_call", {"code": 3, "message": "execution reverted: not today"})
    with pytest.raises(
        Reverted, match=r"gave up \(.*not today\); check that the invite and the node are of the same chain"
    ):
        w3.eth.call({"to": "0x" + "11" * 20})


def test_an_answer_that_names_addresses_to_fetch_from_is_not_followed(node, deployment, monkeypatch):
    fetched = []
    monkeypatch.setattr("requests.sessions.Session.request", lambda *given, **also: fetched.append(given))
    w3 = connect(deployment.url)
    sender = "11" * 20
    words = [sender.rjust(64, "0"), *(f"{at:064x}" for at in (0xA0, 0x120, 0, 0x140)), f"{1:064x}", f"{0x20:064x}"]
    url = b"https://127.0.0.1/inside"
    words += [f"{len(url):064x}", url.hex().ljust(64, "0"), f"{0:064x}", f"{0:064x}"]
    node.lie = says("eth_call", {"code": 3, "message": "execution reverted", "data": "0x556f1830" + "".join(words)})
    with pytest.raises(ChainError):
        w3.eth.call({"to": "0x" + sender})
    assert fetched == []


def test_a_node_that_becomes_another_chain_half_way_gets_no_signature(node, deployment, account):
    w3 = connect(deployment.url)
    node.lie = always("eth_chainId", "0x1")
    with pytest.raises(WrongChain, match="is chain 1, chain 31337 is expected"):
        transfer_ether(w3, account=account(1), to=account(2).address, amount=1)
    assert "eth_sendRawTransaction" not in node.asked


def test_a_permit_is_signed_for_the_token_that_is_asked_and_for_no_other(node, deployment, account):
    token = Token(connect(deployment.url), deployment.token)
    _, name, version, chain_id, contract, salt, extensions = token._contract.functions.eip712Domain().call()
    for changes in ({"chain": 1}, {"contract": "0x" + "22" * 20}):
        told = token.w3.codec.encode(
            ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"],
            [
                b"\x0f",
                name,
                version,
                changes.get("chain", chain_id),
                changes.get("contract", contract),
                salt,
                extensions,
            ],
        )
        node.lie = lambda asked, honest, told=told: (
            {**honest, "result": "0x" + told.hex()} if asked == "eth_call" and len(honest["result"]) > 66 else honest
        )
        with pytest.raises(BadCallOutput, match="answers eip712Domain with what cannot be used"):
            token.permit("0x" + "33" * 20, 5, deadline=9, account=account(1))


def test_a_status_or_rounds_that_no_contract_has_are_refused(node, played):
    escrow = Escrow(connect(played.invite.url), played.invite.contract)
    data = escrow._contract.encode_abi("task", args=[played.task.task_id])
    honest = escrow.w3.eth.call({"to": escrow.address, "data": data}).hex()
    words, problems = [honest[at : at + 64] for at in range(0, len(honest), 64)], []
    for place in range(len(words)):
        node.lie = always("eth_call", "0x" + "".join([*words[:place], f"{99:064x}", *words[place + 1 :]]))
        try:
            escrow.task(played.task.task_id)
        except BadCallOutput as error:
            problems.append(error.reason)
    assert "status 99, 2 of 2 rounds" in problems
    assert "status 2, 99 of 2 rounds" in problems


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda log: {**log, "address": "0x" + "22" * 20}, "a log that was not asked for"),
        (lambda log: {**log, "blockNumber": "0x3ffffffff"}, "a log that was not asked for"),
        (lambda log: {**log, "topics": ["0x" + "22" * 32, *log["topics"][1:]]}, "a log that was not asked for"),
        (lambda log: {**log, "topics": log["topics"][:1]}, "a log that was not asked for"),
        (lambda log: {**log, "topics": []}, "a log that was not asked for"),
        (lambda log: {**log, "topics": log["topics"] * 3}, "a log that is not an event|topics: a list of"),
        (lambda log: {**log, "data": "0x" + "ff" * 64}, "a log that is not an event of the contract"),
        (lambda log: {**log, "data": "0x12"}, "a log that is not an event of the contract"),
        (lambda log: {**log, "data": 5}, "data: 5 is not the hex of bytes"),
        (lambda log: "0x", "'0x' is not an object"),
    ],
)  # fmt: skip
def test_logs_that_nobody_asked_for_or_that_are_no_events_are_refused(node, played, change, problem):
    def lie(asked, honest):
        return {**honest, "result": [change(log) for log in honest["result"]]} if asked == "eth_getLogs" else honest

    node.lie = lie
    with pytest.raises(UnusableAnswerOfNode, match=problem):
        read_history(connect(played.invite.url), played.invite.contract, played.task.task_id)


def test_a_chain_of_as_many_blocks_as_there_can_be_is_looked_through_in_a_few_questions(node, played):
    def lie(asked, honest):
        if asked == "eth_getBlockByNumber":
            return {**ENVELOPE, "result": {"number": hex((1 << 34) - 1), "hash": "0x" + "11" * 32, "timestamp": "0x1"}}
        return {**ENVELOPE, "result": []} if asked == "eth_getLogs" else honest

    node.lie = lie
    assert all(
        not table.rows
        for table in read_history(connect(played.invite.url), played.invite.contract, played.task.task_id)
    )
    assert node.asked.count("eth_getLogs") < 100


def test_a_contracts_error_that_is_cut_short_is_still_a_refusal(node, deployment, account):
    token = Token(connect(deployment.url), deployment.token)
    node.lie = says("eth_estimateGas", {"code": 3, "message": "execution reverted", "data": "0xe450d38c0102"})
    with pytest.raises(Refused, match=r"refused mint: error 0xe450d38c\(\)"):
        send(token.w3, token._contract.functions.mint(account(2).address, 1), account=account(1), name="mint")


# ---- against the commands themselves -----------------------------------------------------------------------------------


def _preview(played):
    escrow, token, _ = check_invite(played.invite)
    check_fork(escrow.w3)
    Purse.of(escrow, token, account=played.addresses[0], stake=1)
    escrow.joining(played.task.task_id, played.addresses[0], from_block=played.invite.block)
    escrow.client(played.task.task_id, played.addresses[0])


def _record(played):
    record = TaskRecord(played.invite)
    record.state(), record.schedule(), record.posted(), record.enrolments()
    record.escrow.challenges(record.task_id)


def _follow(played, folder):
    said = []
    follower = PayFollower(
        played.invite,
        Payee(account=played.clients[0], claims=False),
        folder=NodeFolder(path=folder),
        gateway=None,
        say=said.append,
    )
    follower._stop.wait = lambda seconds: follower._over.set() if seconds else False
    follower._run()
    assert not any("following the rounds failed" in line for line in said), said


COMMANDS = {
    "status": lambda played, folder: status([f"invite={played.invite_path}", f"account={played.addresses[0]}"]),
    "status of the coordinator": lambda played, folder: status(
        [f"invite={played.invite_path}", f"account={played.task.coordinator.address}"]
    ),
    "audit": lambda played, folder: audit([str(played.folder), f"invite={played.invite_path}"]),
    "events": lambda played, folder: events([str(played.invite_path), f"out={folder / 'events'}"]),
    "join": lambda played, folder: join([f"invite={played.invite_path}", "anvil=7", "stake=5"]),
    "doctor": lambda played, folder: doctor([f"invite={played.invite_path}"]),
    "the preview of a client": lambda played, folder: _preview(played),
    "a record": lambda played, folder: _record(played),
    "a node's follower": _follow,
}


@pytest.fixture
def attempt(played, tmp_path, monkeypatch, capsys):
    """Runs a command, whose owner says no to every question; returns how it ended."""
    monkeypatch.setattr("builtins.input", lambda question: "n")

    def run(command):
        try:
            COMMANDS[command](played, tmp_path)
        except SystemExit:
            return "status 1"
        except FairshareError as error:
            return str(error)
        finally:
            capsys.readouterr()
        return ""

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_a_node_answers_a_command_ends_with_a_sentence(node, command, attempt):
    attempt(command)
    questions = len(node.asked)

    @settings(
        max_examples=LIES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32), st.floats(0, 1))
    def tried(seed, place):
        rng, number = random.Random(seed), int(place * questions)
        node.asked = []

        def lie(method, honest):
            if len(node.asked) < number or rng.random() < 0.5:
                return honest
            if rng.random() < 0.2:
                return changed(honest, rng)
            return {**honest, "result": changed(honest.get("result"), rng)}

        node.lie, started = lie, time.process_time()
        attempt(command)
        assert time.process_time() - started < _LONGEST_S

    tried()
