import logging
from types import SimpleNamespace

import pytest

from fl.chain.enrolment import Enrolment
from fl.coordinator.superlink.node_registry import NodeRegistry, Registration

A, B, C = (f"0x{digit * 40}" for digit in "abc")


def member(account, node_key, *, left=0):
    return Enrolment(account=account, first_round=1, left_round=left, stake=1, node_key=node_key, dataset=bytes(32))


@pytest.fixture
def registry(superlink):
    """A registry that takes nothing that is missing for gone, and how to ask which of some keys are registered."""
    found = NodeRegistry(superlink)
    return SimpleNamespace(
        follow=found.follow,
        accounts=found.accounts,
        known=lambda *keys: [key in {node.node_key for node in superlink.nodes()} for key in keys],
    )


def test_those_who_join_are_registered_and_those_who_leave_are_not_any_more(registry, keys):
    _, (first, second) = keys(2)
    assert registry.follow([member(A, first)]).registered == (A,)
    assert registry.follow([member(A, first), member(B, second)]).registered == (B,)
    assert registry.follow([member(A, first), member(B, second)]) == Registration()
    left = [member(A, first), member(B, second, left=3)]
    assert registry.follow(left, round_number=2) == Registration()  # it takes part in round 2
    assert registry.follow(left, round_number=3).unregistered == (B,)
    assert registry.known(first, second) == [True, False]
    assert set(registry.accounts([member(A, first)]).values()) == {(A,)}


def test_a_key_that_is_no_key_is_refused_once_and_costs_nobody_else_anything(registry, keys, caplog):
    _, (good,) = keys(1)
    members = [member(A, b"node"), member(B, good)]
    with caplog.at_level(logging.WARNING, logger="fl.coordinator.superlink.node_registry"):
        assert registry.follow(members) == Registration(registered=(B,), refused=(A,))
        assert registry.follow(members).refused == (A,)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"{A} cannot connect a node: node key 0x6e6f6465… is not a compressed point of P-384 (4 bytes)"
    )


def test_a_stranger_who_names_somebodys_key_and_leaves_does_not_lock_its_owner_out(registry, keys):
    _, (key,) = keys(1)
    assert registry.follow([member(C, key), member(A, key)]) == Registration(registered=(C, A))
    left = [member(C, key, left=1), member(A, key)]
    assert registry.follow(left, round_number=5) == Registration()
    assert registry.known(key) == [True]
    assert set(registry.accounts(left).values()) == {(C, A)}


def test_a_chain_that_is_behind_for_a_moment_locks_nobody_out(registry, superlink, keys):
    _, (key,) = keys(1)
    registry.follow([member(A, key)])
    assert registry.follow([]) == Registration()
    assert registry.known(key) == [True]
    # Missing for long, it is not a member's.
    assert "" in NodeRegistry(superlink, missing_s=0).follow([]).unregistered
    assert registry.known(key) == [False]


def test_a_key_that_was_unregistered_is_refused_for_good(registry, keys):
    _, (key,) = keys(1)
    registry.follow([member(A, key)])
    registry.follow([member(A, key, left=1)], round_number=1)
    assert registry.follow([member(B, key)]).refused == (B,)
