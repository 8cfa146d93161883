"""A program that is started again while the transaction of its last life is in no block yet goes on with that one."""

from dataclasses import replace

import pytest
from chain.mempool import blocks_come_again, dying_after_sending

from fl.chain.errors import Refused
from fl.chain.membership import join
from fl.chain.paid_task import PaidTask
from fl.chain.task_state import Status


@pytest.fixture
def opening(new_world):
    """A world, and the terms of a task that is not open yet."""
    world = new_world(joining=0)
    terms = replace(world.task.terms, salt=b"\xee" * 32)
    world.token.mint(world.sponsor.address, terms.budget, account=world.sponsor)

    def again(**changes):
        return PaidTask.open(
            world.deployment, terms=replace(terms, **changes), sponsor=world.sponsor, coordinator=world.coordinator
        )

    return world, again


def test_a_task_is_opened_once(opening):
    world, again = opening
    with dying_after_sending(world.w3, "open"):
        again()
    with blocks_come_again(world.w3):
        task, sent = again()
    assert task.state().status == Status.OPEN
    assert task.terms.salt == b"\xee" * 32
    assert sent == {}
    # And a program that comes later still: the tokens are escrowed, and it needs none.
    assert world.token.balance(world.sponsor.address) == 0
    later, sent = again()
    assert (later.task_id, sent) == (task.task_id, {})


def test_a_task_with_other_terms_is_not_taken_for_ours(opening):
    world, again = opening
    with dying_after_sending(world.w3, "open"):
        again()
    with blocks_come_again(world.w3), pytest.raises(Refused) as caught:
        again(budget=1, bond=1)
    assert caught.value.name == "TaskExists"


def test_a_task_is_started_once(new_world):
    world = new_world()
    with dying_after_sending(world.w3, "start"):
        world.task.start()
    with blocks_come_again(world.w3):
        assert world.task.start() is None
    assert world.task.state().status == Status.STARTED


@pytest.fixture
def joining(new_world):
    """A world, and the call that its first client joins with."""
    world = new_world(joining=0)
    member = world.clients[0]
    world.token.mint(member.address, world.stakes[0], account=world.sponsor)

    def again(**changes):
        values = {"stake": world.stakes[0], "node_key": b"node", "dataset": b"\x07" * 32, **changes}
        return join(world.invite, account=member, **values)

    return world, again


def test_a_client_joins_once(joining):
    world, again = joining
    with dying_after_sending(world.w3, "join"):
        again()
    with blocks_come_again(world.w3):
        approved, joined = again()
    assert approved is None
    (enrolment,) = world.task.enrolments().values()
    assert (enrolment.stake, enrolment.node_key, enrolment.dataset) == (world.stakes[0], b"node", b"\x07" * 32)
    assert world.w3.eth.get_transaction_receipt(joined.hash)["gasUsed"] == joined.gas
    # And a client whose join was in a block before it looked: its tokens are staked, and it needs none.
    assert again() == (None, joined)


def test_a_membership_with_another_commitment_is_not_taken_for_ours(joining):
    world, again = joining
    with dying_after_sending(world.w3, "join"):
        again()
    with blocks_come_again(world.w3), pytest.raises(Refused) as caught:
        again(dataset=b"\x08" * 32)
    assert caught.value.name == "AlreadyJoined"
