"""What comes back to sponsor and coordinator, and what is said of what has to wait."""

import pytest

from fl.chain.task_state import Status
from fl.coordinator.lifecycle.bring_back import BringBack

TOKENS = 10**18


@pytest.fixture
def later(devnet):
    """Lets time pass on a world's chain."""

    def pass_s(world, seconds):
        devnet(world.w3, "evm_increaseTime", seconds)
        devnet(world.w3, "evm_mine")

    return pass_s


def lines(world):
    """What `fl finish` says of a world's task."""
    return list(BringBack(task=world.task, bundles=world.folder / "bundles").lines())


def test_a_task_that_never_started_is_cancelled_once_it_may_be(new_world, later):
    world = new_world(joining=1)
    said = lines(world)
    assert said[0].startswith("the task cannot be ended before 20")
    assert said[1] == "the contract owes sponsor and coordinator nothing right now"
    before = world.token.balance(world.sponsor.address)
    later(world, 1001)
    said = lines(world)
    assert said == ["the task is cancelled: it never started", f"{world.sponsor.address} got 1,000 tokens back"]
    assert world.token.balance(world.sponsor.address) == before + 1000 * TOKENS
    assert world.task.state().status == Status.CLOSED


def test_a_complete_task_is_closed_and_what_nobody_claimed_is_swept(new_world, later):
    world = new_world(rounds=1)
    world.run(world.app(world.downhill))
    said = lines(world)
    assert said[0].startswith("the task cannot be ended before 20")
    assert said[-1] == "the bond of 1,000 tokens comes back when the task is closed"
    later(world, 101)
    said = lines(world)
    assert said[0] == "the task is closed: all its rounds are final"
    assert said[1].startswith(
        "1,000 tokens are for clients who have not claimed yet; what is left comes to the sponsor by "
    )
    assert said[2] == f"{world.coordinator.address} got 1,000 tokens back"
    later(world, 10_001)
    assert lines(world) == [
        "1,000 tokens that nobody claimed in time are the sponsor's",
        f"{world.sponsor.address} got 1,000 tokens back",
    ]
    assert lines(world) == ["the contract owes sponsor and coordinator nothing right now"]


def test_a_task_under_way_is_left_alone(new_world):
    world = new_world(rounds=2)
    world.task.start()
    said = lines(world)
    assert said[0].startswith("the task is under way, 0 of 2 rounds are posted; `fl coordinator` goes on with it.")
    assert said[-1] == "the bond of 1,000 tokens comes back when the task is closed"
