"""What the chain may do to a transaction, on an Anvil of this file's own: mined when the test says so."""

import logging
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from chain.wires import Wire
from eth_account import Account
from web3.exceptions import TransactionNotFound

from fl.chain import inclusion
from fl.chain.anvil import running_anvil
from fl.chain.errors import ChainUnreachable
from fl.chain.inclusion import NotIncluded, TransactionTaken, include
from fl.chain.provider import Patience
from fl.chain.rpc_transport import RpcAnswer
from fl.chain.sender import connect, transfer_ether

HASTY = Patience(outage_s=60, stuck_s=0.3, give_up_s=60, look_s=0.1)
CALM = Patience(outage_s=60, stuck_s=60, give_up_s=60, look_s=0.1)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running_anvil(accounts=20, log=tmp_path_factory.mktemp("anvil") / "anvil.log") as found:
        yield found


@pytest.fixture
def sender(url, account, devnet):
    """A funded account that nobody used before, so that each test has nonces of its own."""
    fresh = Account.create()
    transfer_ether(connect(url), account=account(0), to=fresh.address, amount=10**18)
    yield fresh
    devnet(connect(url), "evm_setAutomine", True)
    devnet(connect(url), "evm_mine")


@pytest.fixture
def pair(sender):
    """Who sends, and the address of who receives and has nothing yet."""
    return sender, Account.create().address


@pytest.fixture
def wire(url):
    made = Wire(url)
    yield made
    made.close()


@pytest.fixture
def by_hand(url, devnet):
    """Blocks are made when the test says so."""
    w3 = connect(url)
    devnet(w3, "evm_setAutomine", False)
    yield lambda: devnet(w3, "evm_mine")
    devnet(w3, "evm_setAutomine", True)
    devnet(w3, "evm_mine")


@pytest.fixture
def beside():
    """Runs something in another thread."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool.submit


def waiting(w3):
    return [
        transaction for by_nonce in w3.geth.txpool.content()["pending"].values() for transaction in by_nonce.values()
    ]


def until(found):
    for _ in range(3000):
        if value := found():
            return value
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")


def test_reads_wait_out_an_outage_and_say_so_once(wire, beside, caplog):
    w3 = connect(wire.url)
    wire.cut()
    with caplog.at_level(logging.INFO, logger="fl.chain.provider"):
        reading = beside(lambda: w3.eth.chain_id)
        until(lambda: caplog.records)
        wire.mend()
        assert reading.result(60) == 31337
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith(f"no chain answers at {wire.url} (")
    assert told[0].endswith("trying again for 120 s")
    assert told[1] == f"the chain at {wire.url} answers again"
    assert len(told) == 2


def test_an_outage_that_does_not_end_is_unreachable(wire):
    w3 = connect(wire.url, patience=Patience(outage_s=0.2))
    wire.cut()
    with pytest.raises(ChainUnreachable, match=f"no chain answers at {wire.url}"):
        _ = w3.eth.block_number


def test_a_chain_that_is_away_at_the_start_is_told_at_once(wire):
    wire.cut()
    with pytest.raises(ChainUnreachable):
        connect(wire.url)


def test_an_outage_in_the_middle_of_sending_costs_nothing(wire, url, pair, beside, by_hand):
    sender, receiver = pair
    w3, straight = connect(wire.url, patience=CALM), connect(url)
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    until(lambda: waiting(straight))
    wire.cut()
    by_hand()
    wire.mend()
    sent = sending.result(60)
    assert sent.hash in [transaction.to_0x_hex() for transaction in straight.eth.get_block("latest")["transactions"]]
    assert (straight.eth.get_balance(receiver), straight.eth.get_transaction_count(sender.address)) == (5, 1)


def test_a_transaction_whose_answer_was_lost_is_not_sent_twice(wire, url, pair, beside, monkeypatch):
    sender, receiver = pair
    w3, straight = connect(wire.url, patience=CALM), connect(url)
    real = w3.provider._transport.ask

    def ask(data, **settings):
        if b"eth_sendRawTransaction" in data and not posts:
            posts.append(data)
            wire.eat_answers = True
            try:
                return real(data, **settings)
            finally:
                wire.mend()
        return real(data, **settings)

    posts = []
    monkeypatch.setattr(w3.provider._transport, "ask", ask)
    transfer_ether(w3, account=sender, to=receiver, amount=5)
    assert len(posts) == 1
    assert (straight.eth.get_balance(receiver), straight.eth.get_transaction_count(sender.address)) == (5, 1)


def test_a_stuck_transaction_is_replaced_at_its_nonce_with_a_higher_fee(url, pair, beside, by_hand):
    sender, receiver = pair
    w3 = connect(url, patience=HASTY)
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    first = until(lambda: waiting(w3))[0]
    replaced = until(lambda: [transaction for transaction in waiting(w3) if transaction["hash"] != first["hash"]])[0]
    assert replaced["nonce"] == first["nonce"]
    assert int(replaced["maxFeePerGas"], 16) >= int(first["maxFeePerGas"], 16) * 1.1
    by_hand()
    sent = sending.result(60)
    assert sent.hash != first["hash"]
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction_receipt(first["hash"])
    assert (w3.eth.get_balance(receiver), w3.eth.get_transaction_count(sender.address)) == (5, 1)


def test_a_transaction_that_the_node_forgot_is_sent_again(url, pair, beside, by_hand, devnet):
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    first = until(lambda: waiting(w3))[0]
    devnet(w3, "anvil_dropAllTransactions")
    again = until(lambda: waiting(w3))[0]
    assert again["hash"] == first["hash"]
    by_hand()
    assert sending.result(60).hash == first["hash"]


def test_the_same_call_from_another_wallet_is_not_ours(url, pair, beside, by_hand):
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    first = until(lambda: waiting(w3))[0]
    faster = _signed(
        w3, sender, to=receiver, value=5, nonce=int(first["nonce"], 16), fee=10 * int(first["maxFeePerGas"], 16)
    )
    w3.eth.send_raw_transaction(faster.raw_transaction)
    by_hand()
    until(lambda: waiting(w3))
    by_hand()
    assert sending.result(60).hash != faster.hash.to_0x_hex()
    assert w3.eth.get_balance(receiver) == 10


def test_processes_with_one_key_that_make_the_same_call_each_make_it_once(url, pair, monkeypatch):
    sender, receiver = pair
    monkeypatch.setattr("fl.chain.sender._turns", defaultdict(nullcontext))  # as if each thread were a process
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = [pool.submit(transfer_ether, connect(url), account=sender, to=receiver, amount=5) for _ in range(8)]
        assert len({each.result(60).hash for each in made}) == 8
    assert connect(url).eth.get_balance(receiver) == 40


def test_processes_that_wait_for_a_block_queue_and_none_pushes_out_another(url, pair, by_hand, monkeypatch):
    sender, receiver = pair
    monkeypatch.setattr("fl.chain.sender._turns", defaultdict(nullcontext))
    w3 = connect(url, patience=CALM)
    with ThreadPoolExecutor(max_workers=3) as pool:
        made = [
            pool.submit(transfer_ether, connect(url, patience=CALM), account=sender, to=receiver, amount=5)
            for _ in range(3)
        ]
        while not all(each.done() for each in made):
            if waiting(w3):
                by_hand()
            threading.Event().wait(0.02)
        assert len({each.result().hash for each in made}) == 3
    assert w3.eth.get_balance(receiver) == 15


def test_a_nonce_that_was_used_up_before_anything_was_sent_is_anothers(url, pair):
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    transfer_ether(w3, account=sender, to=receiver, amount=1)
    late = {"to": receiver, "value": 1, "gas": 21_000, "nonce": 0, "chainId": 31337, "from": sender.address}
    late |= {"maxFeePerGas": 3 * w3.eth.gas_price, "maxPriorityFeePerGas": 1}
    with pytest.raises(TransactionTaken, match="another transaction of .* took its nonce 0"):
        include(w3, late, account=sender, name="a transfer of ETH")


def test_a_nonce_that_a_node_shows_as_used_by_nothing_is_looked_up_again(url, pair, monkeypatch):
    """The node that counts is ahead of the one that shows the blocks: nothing is sent twice on a guess."""
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    real, hidden = inclusion._receipt_of_any, [True] * 3
    monkeypatch.setattr(inclusion, "_receipt_of_any", lambda *given: None if hidden and hidden.pop() else real(*given))
    monkeypatch.setattr(inclusion, "_LOOK_BACK", 0)
    transfer_ether(w3, account=sender, to=receiver, amount=5)
    assert (w3.eth.get_balance(receiver), w3.eth.get_transaction_count(sender.address)) == (5, 1)


def test_a_nonce_that_something_else_took_is_made_up_for(url, pair, beside, by_hand):
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    other = Account.create().address
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    first = until(lambda: waiting(w3))[0]
    taking = _signed(
        w3, sender, to=other, value=1, nonce=int(first["nonce"], 16), fee=10 * int(first["maxFeePerGas"], 16)
    )
    w3.eth.send_raw_transaction(taking.raw_transaction)
    by_hand()
    until(lambda: waiting(w3))
    by_hand()
    sending.result(60)
    assert (w3.eth.get_balance(receiver), w3.eth.get_balance(other)) == (5, 1)


def test_what_an_earlier_program_left_stuck_is_replaced(url, pair, beside, by_hand):
    sender, receiver = pair
    w3 = connect(url, patience=HASTY)
    left = _signed(w3, sender, to=Account.create().address, value=1, nonce=0, fee=3 * w3.eth.gas_price)
    w3.eth.send_raw_transaction(left.raw_transaction)
    sending = beside(transfer_ether, w3, account=sender, to=receiver, amount=5)
    until(lambda: [transaction for transaction in waiting(w3) if transaction["hash"] != left.hash.to_0x_hex()])
    by_hand()
    sending.result(60)
    assert (w3.eth.get_balance(receiver), w3.eth.get_transaction_count(sender.address)) == (5, 1)


def test_transactions_of_one_account_go_one_after_the_other(url, pair, beside):
    sender, receiver = pair
    w3 = connect(url, patience=CALM)
    sending = [beside(transfer_ether, w3, account=sender, to=receiver, amount=5) for _ in range(4)]
    assert len({future.result(60).hash for future in sending}) == 4
    assert w3.eth.get_balance(receiver) == 20


def test_a_transaction_that_never_gets_in_is_told_with_its_hash(url, pair, by_hand):
    sender, receiver = pair
    w3 = connect(url, patience=Patience(stuck_s=60, give_up_s=0.3, look_s=0.1))
    with pytest.raises(NotIncluded) as caught:
        transfer_ether(w3, account=sender, to=receiver, amount=5)
    assert caught.value.transaction == waiting(w3)[0]["hash"]
    assert str(caught.value).startswith(
        f"a transfer of ETH was sent as {caught.value.transaction} and is in no block after"
    )


def test_the_error_of_a_taken_nonce_says_what_to_do():
    assert str(TransactionTaken(name="join", nonce=4, address="0xAB")) == (
        "join did not happen: another transaction of 0xAB took its nonce 4; use the account in one program at a time, and "
        "try again"
    )


def test_a_node_that_is_busy_is_asked_again(url, monkeypatch):
    w3 = connect(url)
    real, statuses = w3.provider._transport.ask, [429, 503]
    monkeypatch.setattr(
        w3.provider._transport,
        "ask",
        lambda data, **_: RpcAnswer(status=statuses.pop(), body=b"") if statuses else real(data, **_),
    )
    assert w3.eth.chain_id == 31337
    statuses.append(401)
    with pytest.raises(ChainUnreachable, match=r"\(HTTP 401\)"):
        _ = w3.eth.chain_id


def _signed(w3, sender, *, to, value, nonce, fee):
    return sender.sign_transaction(
        {
            "to": to,
            "value": value,
            "gas": 21_000,
            "nonce": nonce,
            "chainId": 31337,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": fee // 3,
        }
    )
