import http.server
import threading

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from web3.exceptions import Web3RPCError

from fl.chain.erc20 import Token
from fl.chain.errors import ChainUnreachable, NoContract, NoFunds, Refused, TokenTooLow, WrongChain
from fl.chain.escrow import Escrow
from fl.chain.inclusion import MOST_TIP, include
from fl.chain.sender import Sent, connect, transfer_ether

NOBODY = "0x" + "77" * 20


@pytest.fixture
def web_page():
    """A web server that knows no JSON-RPC."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_that_nobody_listens_at_is_unreachable():
    url = "http://127.0.0.1:9"
    with pytest.raises(ChainUnreachable) as caught:
        connect(url)
    assert caught.value.url == url
    assert str(caught.value) == (
        f"no chain answers at {url} (ConnectionRefusedError); start it there (`fl devnet` does), or name the machine that it runs on"
    )


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "http://",
            "http:// is not the URL of a node; write one such as http://127.0.0.1:8545 (http, https, ws or wss)",
        ),
        (
            "ftp://127.0.0.1",
            "ftp://127.0.0.1 is not the URL of a node; write one such as http://127.0.0.1:8545 (http, https, ws or wss)",
        ),
        ("nonsense", "the chain's URL has no http:// or https:// in front; write https://nonsense"),
    ],
)
def test_a_text_that_is_no_url_is_unreachable(url, told):
    with pytest.raises(ChainUnreachable) as caught:
        connect(url)
    assert str(caught.value) == told


def test_a_web_page_is_no_chain(web_page):
    with pytest.raises(ChainUnreachable, match=f"no chain answers at {web_page}"):
        connect(web_page)


def test_another_chain_id_is_refused(anvil):
    with pytest.raises(WrongChain) as caught:
        connect(anvil, chain_id=1)
    assert (caught.value.seen, caught.value.expected) == (31337, 1)
    assert (
        str(caught.value)
        == f"{anvil} is chain 31337, chain 1 is expected; name a node of chain 1, or the id that is meant"
    )


@pytest.mark.parametrize(("cls", "what"), [(Escrow, "Fairshare contract"), (Token, "token")])
def test_an_address_without_code_is_no_contract(anvil, cls, what):
    with pytest.raises(NoContract) as caught:
        cls(connect(anvil), NOBODY)
    assert caught.value.chain_id == 31337
    assert str(caught.value).startswith(f"no {what} at 0x7777777777777777777777777777777777777777 on chain 31337; ")


def test_an_account_without_ether_cannot_send(chain):
    poor = Account.create()
    w3, _, token = chain.connect()
    with pytest.raises(NoFunds) as caught:
        token.mint(poor.address, 1, account=poor)
    assert caught.value.address == poor.address
    assert str(caught.value) == (f"{poor.address} has no ETH on chain 31337 to pay for gas; send it some and try again")
    with pytest.raises(NoFunds):
        transfer_ether(w3, account=poor, to=NOBODY, amount=1)
    with pytest.raises(NoFunds):
        Escrow.deploy(w3, account=poor)


def test_ether_arrives(chain, account):
    w3, _, _ = chain.connect()
    before = w3.eth.get_balance(NOBODY)
    sent = transfer_ether(w3, account=account(0), to=NOBODY, amount=5)
    assert sent.gas == 21_000
    assert w3.eth.get_balance(NOBODY) == before + 5


def test_a_transaction_has_gas_to_spare_for_what_changes_until_its_block(chain, account):
    w3, _, token = chain.connect()
    sent = token.mint(NOBODY, 5, account=account(0))
    # Found as a `start` that ran out of gas: in the second of its `open` the estimate did not see `since` change.
    assert w3.eth.get_transaction(sent.hash)["gas"] > 1.15 * sent.gas


def test_a_node_that_names_a_tip_without_measure_gets_none_of_it(chain, account, monkeypatch, caplog):
    """A hostile RPC node in league with whoever makes blocks: a tip goes to them, to the last wei of the account."""
    w3, _, token = chain.connect()
    monkeypatch.setattr(type(w3.eth), "max_priority_fee", property(lambda self: 10**15))
    base = w3.eth.get_block("latest")["baseFeePerGas"]
    for sent in (
        transfer_ether(w3, account=account(0), to=NOBODY, amount=5),
        token.mint(NOBODY, 5, account=account(0)),
    ):
        transaction = w3.eth.get_transaction(sent.hash)
        assert transaction["maxPriorityFeePerGas"] == MOST_TIP
        assert transaction["maxFeePerGas"] <= 4 * base + 2 * MOST_TIP
    assert "the node asks for a tip of 1000000 gwei a gas; 100 are offered" in caplog.text


def test_a_node_that_finds_every_fee_too_low_drives_it_no_higher(chain, account, monkeypatch):
    w3, _, _ = chain.connect()
    signed = []

    def never(self, raw):
        signed.append(raw)
        raise Web3RPCError("replacement transaction underpriced")

    monkeypatch.setattr(type(w3.eth), "send_raw_transaction", never)
    told = {
        "to": NOBODY, "value": 1, "gas": 21_000, "nonce": 0, "chainId": 31337, "maxPriorityFeePerGas": 10**9, "maxFeePerGas": 2 * 10**9,
    }  # fmt: skip
    with pytest.raises(Web3RPCError, match="underpriced"):
        include(w3, told, account=account(0), name="a transfer", outbid=True)
    fees = [TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["maxPriorityFeePerGas"] for raw in signed]
    assert 1 < len(fees) < 50
    assert max(fees) == MOST_TIP


def test_approving_more_than_one_holds_is_refused_before_it_is_sent(chain):
    poor = Account.create()
    _, escrow, token = chain.connect()
    with pytest.raises(TokenTooLow) as caught:
        token.approve(escrow.address, 7, purpose="stake", account=poor)
    assert (caught.value.balance, caught.value.needed, caught.value.purpose) == (0, 7, "stake")
    assert str(caught.value) == (
        f"{poor.address} holds 0 tokens and the stake takes 7e-18; get tokens first (on a devnet anybody may "
        "mint: `fl mint`)"
    )


def test_an_error_of_the_token_is_told_with_its_values(new_world):
    world = new_world(joining=0)
    member = world.clients[0]
    world.token.mint(member.address, 10, account=world.sponsor)
    with pytest.raises(Refused) as caught:  # nothing was approved
        world.escrow.submit("join", (world.task.task_id, 10, b"", bytes(32), []), account=member)
    assert caught.value.name == "ERC20InsufficientAllowance"
    assert caught.value.values == {"spender": world.escrow.address, "allowance": 0, "needed": 10}


def test_another_contract_is_not_taken_for_fairshare(chain):
    w3, _, token = chain.connect()
    with pytest.raises(NoContract) as caught:
        Escrow(w3, token.address)
    assert (caught.value.address, caught.value.what) == (token.address, "Fairshare contract")


def test_a_value_that_is_no_number_is_not_taken_for_one():
    refused = Refused(call="post", name="NotCovered", values={"pay": 3, "reason": "none"})
    assert refused.number("pay") == 3
    with pytest.raises(TypeError, match="reason of NotCovered is 'none', and no number"):
        refused.number("reason")


def test_a_call_creates_no_contract():
    with pytest.raises(ValueError, match="0x12 created no contract"):
        _ = Sent(hash="0x12", gas=1, block=1, contract=None).created
