"""Starting over: a task that was opened and not used is found again, and any other stays what it is."""

from dataclasses import replace

import pytest

from fl.chain.paid_task import PaidTask
from fl.coordinator.lifecycle.open import salt_of, salt_under, terms_that_differ


@pytest.fixture
def opened(new_world, account):
    """Opens a task under a name, as a start does that is killed before it tells anybody."""
    world = new_world(joining=0)

    def open_under(named, **changes):
        terms = replace(world.task.terms, **changes)
        sponsor = account(0)
        salt, is_open = salt_under(world.escrow, named, terms=terms, sponsor=sponsor.address)
        if is_open:
            return salt, "found"
        world.token.mint(sponsor.address, terms.budget, account=sponsor)
        PaidTask.open(world.deployment, terms=replace(terms, salt=salt), sponsor=sponsor, coordinator=world.coordinator)
        return salt, "opened"

    return open_under


def test_a_second_start_finds_the_task_of_the_first(opened):
    assert opened("a folder") == (salt_of("a folder"), "opened")
    assert opened("a folder") == (salt_of("a folder"), "found")
    assert opened("another folder")[1] == "opened"


def test_other_rounds_or_another_budget_are_another_task(opened):
    opened("a folder")
    other = salt_of("a folder", attempt=1)
    assert opened("a folder", rounds=7) == (other, "opened")
    assert opened("a folder", rounds=7) == (other, "found")
    assert opened("a folder", rounds=7, budget=5 * 10**18) == (salt_of("a folder", attempt=2), "opened")
    assert opened("a folder") == (salt_of("a folder"), "found")


def test_what_a_second_start_says_otherwise_is_named(new_world, account):
    held = new_world().task.terms
    changed = replace(held, rounds=5, budget=7 * 10**18, evaluators=(account(9).address,), quorum=1)
    assert terms_that_differ(held, changed) == [
        f"evaluators was {held.evaluators[0]} and is {account(9).address} now",
        "rounds was 2 and is 5 now",
        "budget was 1,000 and is 7 now",
    ]
    assert terms_that_differ(held, held) == []
