"""`fl recipient`, as a client types it whose wallet may have been stolen."""

import pytest
from eth_account import Account as Keys

from fl.chain.clock import pass_time

SAFE = Keys.from_key("0x" + "44" * 32)


@pytest.fixture
def task(new_world):
    """A task of one round with two clients, the accounts 5 and 6 of Anvil."""
    return new_world(joining=2, rounds=1)


def test_a_payee_is_named_once_gets_what_anybody_claims_and_alone_passes_it_on(task, account, fl, refuses):
    client = task.clients[0].address
    heir = account(14)
    asked = ("recipient", f"invite={task.invite_path}", "accept=true")
    refuses(*asked, f"to={client}", "anvil=12", saying=f"{account(12).address} never joined task {task.invite.task_id}")
    for nowhere in (task.escrow.address, task.token.address, "0x" + "00" * 20):
        refuses(*asked, f"to={nowhere}", "anvil=5", saying=f"to is {nowhere}, from where nobody could fetch the money")
    assert f"{client} is paid to {client} already" in fl(*asked, f"to={client}", "anvil=5").out
    done = fl(*asked, f"to={heir.address}", "anvil=5")
    assert done.code == 0, done.err
    assert f"only {heir.address} can change that again" in done.out
    assert task.escrow.client(task.task.task_id, client).recipient == heir.address
    # Whoever stole the client's key is too late; the payee moves on to a wallet that never had ether.
    refuses(
        *asked, f"to={client}", "anvil=5", saying=f"{client} is paid to {heir.address}, which alone can change that"
    )
    assert fl(*asked, f"to={SAFE.address}", f"account={client}", "anvil=14").code == 0
    task.run(task.app(task.downhill), grid=task.grid(task.app(task.downhill)))
    pass_time(task.w3, until=task.escrow.posted_at(task.task.task_id, 1) + 101)
    before = task.token.balance(client)
    claimed = fl("claim", f"invite={task.invite_path}", f"bundles={task.folder / 'bundles'}", f"account={client}")
    assert claimed.code == 0, claimed.err
    shown = fl("status", f"invite={task.invite_path}", f"account={client}").out
    assert f"pay and stake go to {SAFE.address}, its payee, which alone can change that" in shown
    assert task.token.balance(SAFE.address) == task.escrow.claimed(task.task.task_id, client) > 0
    assert task.token.balance(client) == before


def test_without_a_yes_or_with_what_is_no_address_nothing_is_sent(task, account, fl, refuses, monkeypatch):
    invite = f"invite={task.invite_path}"
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert fl("recipient", invite, f"to={SAFE.address}", "anvil=5").out.endswith("nothing was signed or sent\n")
    assert int(task.escrow.client(task.task.task_id, task.clients[0].address).recipient, 16) == 0
    refuses("recipient", invite, "to=home", "anvil=5", saying="to is 'home', which is not an address")
    refuses("recipient", invite, f"to={SAFE.address}", "account=me", saying="account is 'me', which is not an address")
    refuses("recipient", invite, f"to={SAFE.address}", saying="key is not set and there is no wallet.json here")
