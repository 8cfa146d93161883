"""The faucet of a devnet's coordinator: stake and gas once, and no more than that."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from eth_account import Account
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fl.coordinator.gateway.faucet import faucet_router


@pytest.fixture
def tap(world):
    """A task's faucet, its clock, and a call that asks it."""
    one = world(joining=0, max_stake=5 * 10**18)
    clock = SimpleNamespace(now=0.0)
    app = FastAPI()
    app.include_router(faucet_router(one.task, account=one.sponsor, clock=lambda: clock.now))
    client = TestClient(app)
    return one, clock, lambda account, stake: client.post("/api/faucet", json={"account": account, "stake": str(stake)})


def test_it_gives_what_is_missing_of_the_stake_and_gas(tap):
    one, _, ask = tap
    new = Account.create().address
    answer = ask(new, 3 * 10**18)
    assert (answer.status_code, answer.json()) == (200, {"tokens_wei": str(3 * 10**18), "ether_wei": str(5 * 10**16)})
    assert (one.token.balance(new), one.w3.eth.get_balance(new)) == (3 * 10**18, 5 * 10**16)
    assert ask(new, 4 * 10**18).json() == {"tokens_wei": str(10**18), "ether_wei": "0"}
    # Never more than the task takes from one client.
    assert ask(new, 10**24).json() == {"tokens_wei": str(10**18), "ether_wei": "0"}
    assert one.token.balance(new) == one.task.terms.max_stake


def test_an_account_is_served_three_times_an_hour(tap):
    _, clock, ask = tap
    new = Account.create().address
    assert [ask(new, 1).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask(new, 1).json() == {"detail": "that was asked for too often; try again in an hour"}
    clock.now = 3601.0
    assert ask(new, 1).status_code == 200


def test_a_peer_cannot_have_more_by_making_accounts(tap, monkeypatch):
    _, _, ask = tap
    monkeypatch.setattr("fl.coordinator.gateway.faucet._MOST_OF_PEER", 2)
    assert [ask(Account.create().address, 1).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("account", "stake"),
    [("0x12", 1), ("0x" + "ab" * 20, 1), (None, 1), ("0x000000000000000000000000000000000000dEaD", "1e18")],
)
def test_what_is_no_account_or_stake_is_refused(tap, account, stake):
    assert tap[2](account, stake).status_code == 422


def test_it_is_shut_when_the_task_is_over(tap, devnet):
    one, _, ask = tap
    devnet(one.w3, "evm_increaseTime", 2000)
    devnet(one.w3, "evm_mine")
    one.escrow.expire(one.task.task_id, account=one.sponsor)
    answer = ask(Account.create().address, 1)
    assert (answer.status_code, answer.json()["detail"]) == (409, "the task takes no clients any more")


def test_there_is_none_where_money_may_be_worth_something(tap):
    one, *_ = tap
    elsewhere = replace(one.task, escrow=SimpleNamespace(chain_id=11155111))
    assert faucet_router(elsewhere, account=one.sponsor) is None
