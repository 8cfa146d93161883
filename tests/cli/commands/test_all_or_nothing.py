"""`fl mint` and `fl deploy` do all that they are asked for, or nothing, and say what it cost."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from eth_account import Account

from fl.chain import deploying
from fl.chain.anvil import find_anvil, running_anvil
from fl.chain.erc20 import Token
from fl.chain.errors import NoFunds
from fl.chain.escrow import PARTS
from fl.chain.fork import OldChain, check_fork
from fl.chain.sender import connect, transfer_ether
from fl.cli.commands import deploy, mint
from fl.coordinator import run
from fl.coordinator.lifecycle.accounts import Roles, fund, gas_money
from fl.coordinator.service import opening

TOKENS = 10**18


@pytest.fixture
def poor(chain, account, monkeypatch):
    """A wallet of one ETH, which both commands sign with."""
    wallet = Account.create()
    transfer_ether(connect(chain.url), account=account(0), to=wallet.address, amount=10**18)
    for command in (mint, deploy):
        monkeypatch.setattr(command, "signer", lambda key, chain_id: wallet)
    return wallet


def test_a_mint_that_cannot_send_the_ether_along_mints_nothing(refuses, fl, chain, poor, tmp_path):
    chain.write(tmp_path / "d.json")
    w3, _, token = chain.connect()
    to = Account.create().address
    told = refuses(
        "mint", f"deployment={tmp_path}/d.json", f"to={to}", "tokens=5",
        saying=f"{poor.address} has 1 ETH on chain 31337, and sending 1 ETH along (ether=0 sends none) takes up to 1.00",
    )  # fmt: skip
    assert told.endswith("nothing was sent; send it more and try again\n")
    assert (token.balance(to), w3.eth.get_transaction_count(poor.address)) == (0, 0)
    done = fl("mint", f"deployment={tmp_path}/d.json", f"to={to}", "tokens=5", "ether=0.25")
    assert done.out.startswith(f"{to} holds 5 tokens and 0.25 ETH\nspent ")
    spent = 10**18 - 25 * 10**16 - w3.eth.get_balance(poor.address)
    assert f"spent {spent / 10**18:.6g} ETH on gas, and sent 0.25 along\n" in done.out


def test_ether_that_does_not_get_there_all_the_same_is_told_beside_the_tokens(refuses, chain, tmp_path, monkeypatch):
    def fails(w3, *, account, to, amount):
        raise NoFunds(address=account.address, chain_id=31337)

    monkeypatch.setattr(mint, "transfer_ether", fails)
    chain.write(tmp_path / "d.json")
    to = Account.create().address
    told = refuses(
        "mint", f"deployment={tmp_path}/d.json", f"to={to}", "tokens=5",
        saying=f"minted 5 tokens to {to}, but 1 ETH did not get there: ",
    )  # fmt: skip
    assert told.endswith("; send the ETH alone, with tokens=0\n")
    assert chain.connect()[2].balance(to) == 5 * TOKENS


def test_a_deployment_that_the_wallet_cannot_pay_for_sends_nothing(refuses, chain, poor, tmp_path, monkeypatch):
    w3 = connect(chain.url)
    monkeypatch.setattr(deploying, "gas_of", lambda names: 4 * 10**18 // (3 * w3.eth.gas_price))
    refuses(
        "deploy", f"chain={chain.url}", f"out={tmp_path}/new.json",
        saying=f"{poor.address} has 1 ETH on chain 31337, and a deployment takes up to 2 ETH; nothing was sent",
    )  # fmt: skip
    assert w3.eth.get_transaction_count(poor.address) == 0
    assert list(tmp_path.iterdir()) == []


def test_gas_that_a_deployment_is_held_to_is_more_than_it_takes(fl, chain, account, tmp_path):
    w3 = connect(chain.url)
    before = w3.eth.block_number
    assert fl("deploy", f"chain={chain.url}", f"out={tmp_path}/new.json").code == 0
    gas = [
        w3.eth.get_transaction_receipt(sent)["gasUsed"]
        for number in range(before + 1, w3.eth.block_number + 1)
        for sent in w3.eth.get_block(number)["transactions"]
    ]
    assert len(gas) == 4
    assert sum(gas) < deploying.gas_of(["DevToken", *PARTS]) < 2 * sum(gas)


@pytest.mark.parametrize("out", ["", "file/d.json"])
def test_a_deployment_whose_file_cannot_be_written_sends_nothing(refuses, chain, tmp_path, out):
    (tmp_path / "file").write_text("not a folder")
    w3 = connect(chain.url)
    before = w3.eth.block_number
    refuses("deploy", f"chain={chain.url}", f"out={tmp_path}/{out}", saying=f"out is {tmp_path}")
    assert w3.eth.block_number == before


def test_a_disk_that_fills_up_after_a_deployment_costs_the_file_alone(fl, chain, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deploy.Deployment, "write", full)
    done = fl("deploy", f"chain={chain.url}", f"out={tmp_path}/new.json")
    assert done.code == 1
    assert "contract 0x" in done.out
    assert "new.json cannot be written (No space left on device); the contract is there all the same: write" in done.err


@pytest.mark.parametrize("fork", ["berlin", "paris", "shanghai"])
def test_a_chain_before_cancun_is_told_before_anything_is_sent(refuses, tmp_path, fork, monkeypatch):
    older = tmp_path / "anvil"
    older.write_text(f'#!/bin/sh\nexec "{find_anvil()}" --hardfork {fork} "$@"\n')
    older.chmod(0o755)
    monkeypatch.setattr("fl.chain.anvil.find_anvil", lambda: older)
    with running_anvil(log=tmp_path / "anvil.log", accounts=1) as url:
        refuses(
            "deploy", f"chain={url}", f"out={tmp_path}/d.json",
            saying="chain 31337 does not know instructions that the contract is made of (PUSH0, MCOPY, TLOAD); it takes a",
        )  # fmt: skip
        w3 = connect(url)
        with pytest.raises(OldChain, match="a chain that has had the Cancun fork, of March 2024"):
            check_fork(w3)
        assert w3.eth.block_number == 0


def test_a_node_that_refuses_the_probe_for_another_reason_is_no_old_chain(anvil, monkeypatch):
    w3 = connect(anvil)
    check_fork(w3)

    def refuse(transaction):
        raise ValueError("from address is required")

    monkeypatch.setattr(w3.eth, "call", refuse)
    check_fork(w3)


def test_a_token_that_is_given_is_looked_at_before_anything_is_sent(refuses, chain, tmp_path):
    nobody = Account.create().address
    w3 = connect(chain.url)
    before = w3.eth.block_number
    refuses("deploy", f"chain={chain.url}", f"token={nobody}", f"out={tmp_path}/d.json", saying=f"no token at {nobody}")
    assert w3.eth.block_number == before
    assert Token(w3, chain.token).balance(nobody) == 0


@pytest.fixture
def without_contracts(chain, account, tmp_path, monkeypatch):
    """A run's settings on a chain without its contracts, and a sponsor of 0.01 ETH with a client that has none."""
    wallet, client = Account.create(), Account.create()
    transfer_ether(connect(chain.url), account=account(0), to=wallet.address, amount=10**16)
    roles = Roles(sponsor=wallet, coordinator=wallet, evaluators=(), clients=(client,), client_keys=({},))
    for module in (run, opening):
        monkeypatch.setattr(module, "roles_for", lambda **_: roles)
    settings = SimpleNamespace(url=chain.url, public_url=None, id=None, key="key.json", deployment=None)
    return SimpleNamespace(
        config=SimpleNamespace(chain=settings, task=SimpleNamespace(evaluators=0)),
        settings=SimpleNamespace(evaluators=()),
        folder=tmp_path,
        wallets=[],
        watcher=SimpleNamespace(on_setup=lambda words: None),
        roles=roles,
    )


def open_chain_of_a_run(setup):
    with ExitStack() as stack:
        return run._open_chain(setup, stack, gas={}).deployment


def open_chain_of_a_coordinator(setup):
    return opening._reach_contracts(setup)[0]


@pytest.mark.parametrize("opens", [open_chain_of_a_run, open_chain_of_a_coordinator])
def test_a_run_checks_chain_and_wallet_before_it_puts_its_contracts(without_contracts, account, monkeypatch, opens):
    setup, w3 = without_contracts, connect(without_contracts.config.chain.url)
    roles = setup.roles
    sponsor = roles.sponsor.address
    with pytest.raises(NoFunds, match=rf"{sponsor} has 0\.01 ETH .* a deployment takes up to .* ETH; nothing was sent"):
        opens(setup)
    with pytest.raises(NoFunds, match="and sending ETH for gas to 1 accounts takes up to 0.01.* nothing was sent"):
        fund(w3, roles)
    transfer_ether(w3, account=account(0), to=sponsor, amount=10**18)
    with monkeypatch.context() as patch:
        patch.setattr("fl.chain.fork._PROBE", bytes.fromhex("fc"))  # which no chain knows yet
        with pytest.raises(OldChain, match="chain 31337 does not know instructions that the contract is made of"):
            opens(setup)
    assert w3.eth.get_transaction_count(sponsor) == 0
    assert list(setup.folder.iterdir()) == []
    deployment = opens(setup)
    assert deployment.connect()[1].address == deployment.contract
    assert w3.eth.get_transaction_count(sponsor) == 5  # token, three parts, and ETH for the client
    assert w3.eth.get_balance(roles.clients[0].address) == 10**16
    assert gas_money(w3, roles) == 0
