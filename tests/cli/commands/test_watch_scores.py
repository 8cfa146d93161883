"""`fl watch` challenges false scores, sees right challenges through, and refutes false ones."""

from audit.liar import TOKENS, Liar, bonded, outscored
from cli.commands.watching import WATCHER, unchecked

from fl.audit.disputes import proofs
from fl.chain.clock import pass_time
from fl.chain.task_state import Status
from fl.rewards.sums import fold


def test_a_false_score_is_challenged_and_seen_through(liar, watch, account):
    made = liar.honest(2)
    liar.post_leaves(made, outscored(made))
    watcher = account(WATCHER)
    done = watch(liar)
    assert done.code == 1
    assert f"round 2 FRAUD: the score of {made.settlement.tree.leaves[0].account} is wrong" in done.out
    assert "not filed yet: " in done.out  # the watcher does not have the bond
    liar.world.token.mint(watcher.address, 100 * TOKENS, account=watcher)
    assert "filed challengeScore in 0x" in watch(liar).out
    again = watch(liar)
    assert "filed" not in again.out  # nobody challenges twice, or refutes what is right
    challenged = made.settlement.tree.leaves[0].account
    assert unchecked(again, 2) == f"the score of {challenged} (our challenge of it is open)"
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    pass_time(liar.world.w3, until=liar.escrow.standing_of(opened.id)[1] + 1)
    done = watch(liar)
    assert "filed uphold in 0x" in done.out
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 1)
    assert liar.world.token.balance(watcher.address) == 101 * TOKENS


def test_a_right_challenge_of_somebody_else_is_no_reason_to_stand_back(liar, watch, account):
    made = liar.honest(2)
    posted = liar.post_leaves(made, outscored(made))
    update = next(
        participant.blocks for participant in made.participants if participant.account == posted.leaves[0].account
    )
    friend, watcher = account(16), account(WATCHER)
    for party in (friend, watcher):
        bonded(liar, party)
    call = proofs.challenge_score(posted, account=posted.leaves[0].account, update=update, direction=made.direction)
    liar.escrow.submit(call.function, call.arguments, account=friend)  # and may be meant to fail
    assert "filed challengeScore in 0x" in watch(liar).out
    opened = liar.escrow.challenges(liar.task.task_id)
    assert [challenged.challenge.challenger for challenged in opened] == [friend.address, watcher.address]
    assert opened[0].sums == opened[1].sums


def test_a_false_challenge_is_refuted(liar, watch, account):
    made = liar.honest(2)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant = next(
        participant for participant in made.participants if participant.account == posted.leaves[1].account
    )
    sums = fold(proofs.partials(participant.blocks, made.direction), span=1)
    sums[2] += 1 << 50
    challenger = account(16)
    bonded(liar, challenger)
    call = proofs.challenge_with(posted, place=1, update=participant.blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=challenger)
    done = watch(liar)
    assert done.code == 0  # the round is honest
    assert f"round 2: the challenge of {participant.account} is false" in done.out
    assert "filed refute in 0x" in done.out
    assert not liar.escrow.standing_of(liar.escrow.challenges(liar.task.task_id)[0].id)[0]
    assert liar.task.state().status == Status.STARTED


def test_a_false_challenge_over_many_blocks_is_broken_down_and_refuted(new_world, watch, account):
    liar = Liar(new_world(rounds=2, clients=1), values=4097 * 256)
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant, challenger, watcher = made.participants[0], account(16), account(WATCHER)
    bonded(liar, challenger)
    liar.world.token.mint(watcher.address, TOKENS, account=watcher)
    parts = proofs.partials(participant.blocks, made.direction)
    sums = fold(parts, span=2)
    sums[1000] += 1 << 55
    call = proofs.challenge_with(posted, place=0, update=participant.blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=challenger)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    assert "filed demand in 0x" in watch(liar).out
    honest = proofs.answer(
        opened.challenge, place=1000, sums=opened.sums, update=participant.blocks, direction=made.direction
    )
    false = proofs.sums_bytes([parts[2000] + (1 << 55), parts[2001]])
    liar.escrow.submit("answer", (*honest.arguments[:4], false), account=challenger)
    assert "filed refute in 0x" in watch(liar).out
    assert not liar.escrow.standing_of(opened.id)[0]


def test_a_challenge_that_nobody_breaks_down_is_dismissed(new_world, watch, account):
    liar = Liar(new_world(rounds=2, clients=1), values=4097 * 256)
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant, challenger, watcher = made.participants[0], account(16), account(WATCHER)
    bonded(liar, challenger)
    liar.world.token.mint(watcher.address, TOKENS, account=watcher)
    sums = fold(proofs.partials(participant.blocks, made.direction), span=2)
    sums[7] -= 1
    sums[8] -= 1 << 40
    call = proofs.challenge_with(posted, place=0, update=participant.blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=challenger)
    assert "filed demand in 0x" in watch(liar).out
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    pass_time(liar.world.w3, until=liar.escrow.standing_of(opened.id)[1] + 1)
    done = watch(liar)
    assert "nobody broke down sum 7" in done.out
    assert "filed dismiss in 0x" in done.out
    assert not liar.escrow.standing_of(opened.id)[0]
    assert liar.task.state().status == Status.STARTED


def test_a_right_challenge_of_ours_is_broken_down_when_somebody_asks(new_world, watch, account):
    liar = Liar(new_world(rounds=2, clients=2), values=4097 * 256)
    made = liar.honest(1)
    liar.post_leaves(made, outscored(made))
    watcher, doubter = account(WATCHER), account(16)
    liar.world.token.mint(watcher.address, 100 * TOKENS, account=watcher)
    assert "filed challengeScore in 0x" in watch(liar).out
    bonded(liar, doubter)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    asked = proofs.demand(opened.challenge, place=3)
    liar.escrow.submit(asked.function, asked.arguments, account=doubter)
    assert "filed answer in 0x" in watch(liar).out
    assert liar.escrow.standing_of(opened.id)[2] == 0
