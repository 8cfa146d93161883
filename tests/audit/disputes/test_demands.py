"""What it costs to ask a challenger for the parts of its sums, and who has that in the end."""

from __future__ import annotations

import pytest
from audit.liar import Liar, bonded, outscored

from fl.audit.disputes import proofs
from fl.chain.clock import pass_time
from fl.chain.errors import Refused
from fl.rewards.sums import fold


@pytest.fixture
def liar(new_world):
    """A task of two clients whose updates have sums of two blocks."""
    return Liar(new_world(rounds=2, clients=2), values=4097 * 256)


def challenged(liar, call, challenger):
    bonded(liar, challenger)
    liar.escrow.submit(call.function, call.arguments, account=challenger)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    return opened


def test_the_parts_of_a_right_challenge_s_sums_earn_it_a_bond_that_grows(liar, account):
    made = liar.honest(1)
    lie = liar.post_leaves(made, outscored(made))
    participant = next(participant for participant in made.participants if participant.account == lie.leaves[0].account)
    call = proofs.challenge_score(lie, account=participant.account, update=participant.blocks, direction=made.direction)
    challenger, doubter = account(16), account(17)
    opened = challenged(liar, call, challenger)
    bonded(liar, doubter)
    token, least = liar.world.token, liar.task.terms.min_stake
    for number, place in enumerate((3, 1000), start=1):
        assert liar.escrow.next_demand(liar.task.task_id, opened.id, doubter.address) == number
        held = token.balance(doubter.address)
        liar.escrow.submit("demand", (opened.challenge.as_tuple(), place), account=doubter)
        assert held - token.balance(doubter.address) == number * least
    for place in (3, 1000):
        call = proofs.answer(
            opened.challenge, place=place, sums=opened.sums, update=participant.blocks, direction=made.direction
        )
        with pytest.raises(Refused, match="NotChallenger"):
            liar.escrow.submit(call.function, call.arguments, account=doubter)
        liar.escrow.submit(call.function, call.arguments, account=challenger)
    pass_time(liar.world.w3, until=liar.escrow.standing_of(opened.id)[1] + 1)
    liar.escrow.submit("uphold", (opened.challenge.as_tuple(), lie.header.as_tuple()), account=challenger)
    assert liar.escrow.was_upheld(opened.id)
    before = liar.escrow.credit(token.address, challenger.address)
    for place in (3, 1000):
        liar.escrow.submit("dismiss", (opened.challenge.as_tuple(), place), account=challenger)
    assert liar.escrow.credit(token.address, challenger.address) - before == 3 * least


def test_a_demand_that_ends_a_false_challenge_gives_its_bond_back(liar, account):
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant, challenger, doubter = made.participants[0], account(16), account(17)
    place = next(place for place, leaf in enumerate(posted.leaves) if leaf.account == participant.account)
    sums = fold(proofs.partials(participant.blocks, made.direction), span=2)
    sums[7] += 1 << 55
    call = proofs.challenge_with(posted, place=place, update=participant.blocks, sums=sums)
    opened = challenged(liar, call, challenger)
    bonded(liar, doubter)
    liar.escrow.submit("demand", (opened.challenge.as_tuple(), 7), account=doubter)
    pass_time(liar.world.w3, until=liar.escrow.standing_of(opened.id)[1] + 1)
    liar.escrow.submit("dismiss", (opened.challenge.as_tuple(), 7), account=challenger)
    assert not liar.escrow.was_upheld(opened.id)
    least = liar.task.terms.min_stake
    assert (
        liar.escrow.credit(liar.world.token.address, doubter.address)
        == least + liar.escrow.challenge_bond(liar.task.task_id) // 2
    )
