"""The faucet of a devnet's coordinator: stake and gas once, and no more than that."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from eth_account import Account
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fl.coordinator.gateway.faucet import faucet_router


@pytest.fixture
def tap(new_world):
    """A task's faucet, its clock, and a call that asks it."""
    world = new_world(joining=0, max_stake=5 * 10**18)
    clock = SimpleNamespace(now=0.0)
    app = FastAPI()
    app.include_router(faucet_router(world.task, account=world.sponsor, clock=lambda: clock.now))
    client = TestClient(app)
    return (
        world,
        clock,
        lambda account, stake: client.post("/api/faucet", json={"account": account, "stake": str(stake)}),
    )


def test_it_gives_what_is_missing_of_the_stake_and_gas(tap):
    world, _, ask = tap
    new = Account.create().address
    answer = ask(new, 3 * 10**18)
    assert (answer.status_code, answer.json()) == (200, {"tokens_wei": str(3 * 10**18), "ether_wei": str(5 * 10**16)})
    assert (world.token.balance(new), world.w3.eth.get_balance(new)) == (3 * 10**18, 5 * 10**16)
    assert ask(new, 4 * 10**18).json() == {"tokens_wei": str(10**18), "ether_wei": "0"}
    # Never more than the task takes from one client.
    assert ask(new, 10**24).json() == {"tokens_wei": str(10**18), "ether_wei": "0"}
    assert world.token.balance(new) == world.task.terms.max_stake


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


def test_a_whole_ipv6_network_is_one_peer(new_world, monkeypatch):
    monkeypatch.setattr("fl.coordinator.gateway.faucet._MOST_OF_PEER", 2)
    world = new_world(joining=0)
    app = FastAPI()
    app.include_router(faucet_router(world.task, account=world.sponsor))
    given = [
        TestClient(app, client=(f"2001:db8:1:2::{number}", 1)).post(
            "/api/faucet", json={"account": Account.create().address, "stake": "1"}
        )
        for number in range(1, 4)
    ]
    assert [answer.status_code for answer in given] == [200, 200, 429]


def test_who_asked_too_often_costs_no_look_at_the_chain(tap, monkeypatch):
    world, _, ask = tap
    monkeypatch.setattr("fl.coordinator.gateway.faucet._MOST_OF_PEER", 0)
    monkeypatch.setattr(type(world.task), "state", lambda self: pytest.fail("the chain was asked"))
    assert ask(Account.create().address, 1).status_code == 429


def test_those_that_wait_leave_threads_to_the_page(new_world, monkeypatch):
    monkeypatch.setattr("fl.coordinator.gateway.faucet._MOST_WAITING", 1)
    world = new_world(joining=0)
    app, asked, go_on = FastAPI(), threading.Event(), threading.Event()
    app.include_router(faucet_router(world.task, account=world.sponsor))
    state = type(world.task).state

    def slow(self):
        if self is world.task:  # other tests' gateways may still be reading their chains
            asked.set()
            assert go_on.wait(60)
        return state(self)

    monkeypatch.setattr(type(world.task), "state", slow)
    words = {"account": Account.create().address, "stake": "1"}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(TestClient(app).post, "/api/faucet", json=words)
        try:
            assert asked.wait(60)
            second = TestClient(app).post("/api/faucet", json=words)
        finally:
            go_on.set()
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert first.result().status_code == 200


@pytest.mark.parametrize(
    ("account", "stake"),
    [("0x12", 1), ("0x" + "ab" * 20, 1), (None, 1), ("0x000000000000000000000000000000000000dEaD", "1e18")],
)
def test_what_is_no_account_or_stake_is_refused(tap, account, stake):
    assert tap[2](account, stake).status_code == 422


def test_it_is_shut_when_the_task_is_over(tap, devnet):
    world, _, ask = tap
    devnet(world.w3, "evm_increaseTime", 2000)
    devnet(world.w3, "evm_mine")
    world.escrow.expire(world.task.task_id, account=world.sponsor)
    answer = ask(Account.create().address, 1)
    assert (answer.status_code, answer.json()["detail"]) == (409, "the task takes no more clients")


def test_there_is_none_where_money_may_be_worth_something(tap):
    world, *_ = tap
    elsewhere = replace(world.task, escrow=SimpleNamespace(chain_id=11155111))
    assert faucet_router(elsewhere, account=world.sponsor) is None
