"""A coordinator's refuter: false challenges of its scores are refuted while it does something else, right ones are left alone."""

import shutil
import time

import pytest
from audit.liar import TOKENS, Liar, bonded, outscored

from fl.audit.disputes import proofs
from fl.bundle.store import BundleStore
from fl.chain.task_state import Status
from fl.coordinator.lifecycle import refuter
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.rewards.sums import fold


@pytest.fixture
def liar(new_world, monkeypatch):
    """A task of three clients whose first round is honest; half of a false challenge's bond is what its refuter gets."""
    monkeypatch.setattr(refuter, "_LOOK_S", 0.1)
    return Liar(new_world(rounds=2, min_stake=TOKENS))


def challenge(liar, made, posted, *, place, by, wrong):
    """A client's false challenge of a score, with one sum changed."""
    account = posted.leaves[place].account
    blocks = next(participant.blocks for participant in made.participants if participant.account == account)
    sums = fold(proofs.partials(blocks, made.direction), span=proofs.span_of(len(blocks)))
    sums[wrong] += 1 << 55
    bonded(liar, by)
    call = proofs.challenge_with(posted, place=place, update=blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=by)
    return liar.escrow.challenges(liar.task.task_id)[-1]


def until(true, *, seconds=60):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_clients_false_challenge_of_its_own_score_is_refuted(liar):
    made, client = liar.honest(1), liar.world.clients[1]
    posted = liar.post(made.header, made.settlement.tree.leaves)
    coordinator, token = liar.world.coordinator, liar.world.token
    place = next(place for place, leaf in enumerate(posted.leaves) if leaf.account == client.address)
    with refuting_challenges(liar.world.invite, bundles=liar.bundles, account=coordinator):
        opened = challenge(liar, made, posted, place=place, by=client, wrong=2)
        until(lambda: not liar.escrow.standing_of(opened.id)[0])
        until(lambda: token.balance(coordinator.address) == 125 * TOKENS // 4)  # of a sixteenth of the coordinator's
    assert token.balance(client.address) == 100 * TOKENS - 125 * TOKENS // 2
    assert liar.task.state().status == Status.STARTED


def test_what_was_dropped_from_the_folder_comes_from_the_archive(liar, tmp_path):
    made, client = liar.honest(1), liar.world.clients[1]
    posted = liar.post(made.header, made.settlement.tree.leaves)
    archive = BundleStore.at(str(tmp_path / "archive"))
    archive.put(1, liar.bundles / "round-0001")
    shutil.rmtree(liar.bundles / "round-0001" / "updates")
    (liar.bundles / "round-0001" / "direction.blocks").unlink()
    opened = challenge(liar, made, posted, place=0, by=client, wrong=0)
    with refuting_challenges(
        liar.world.invite, bundles=liar.bundles, archive=archive.url, account=liar.world.coordinator
    ):
        until(lambda: not liar.escrow.standing_of(opened.id)[0])


def test_what_is_nowhere_is_said(liar, caplog):
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    (liar.bundles / "round-0001" / "direction.blocks").unlink()
    challenge(liar, made, posted, place=0, by=liar.world.clients[1], wrong=0)
    with refuting_challenges(liar.world.invite, bundles=liar.bundles, account=liar.world.coordinator):
        until(lambda: "it cannot be refuted from here" in caplog.text)
    assert "the challenge of round 1: direction.blocks cannot be read" in caplog.text


def test_a_right_challenge_is_left_alone(liar, account):
    lie = liar.post_leaves(made := liar.honest(1), outscored(made))
    victim = next(participant for participant in made.participants if participant.account == lie.leaves[0].account)
    bonded(liar, account(16))
    call = proofs.challenge_score(lie, account=victim.account, update=victim.blocks, direction=made.direction)
    liar.escrow.submit(call.function, call.arguments, account=account(16))
    challenge_refuter = refuter.ChallengeRefuter(
        refuter.TaskRecord(liar.world.invite), BundleStore.at(str(liar.bundles)), account=account(17)
    )
    before = liar.world.w3.eth.get_transaction_count(account(17).address)
    assert not challenge_refuter.look()
    assert liar.world.w3.eth.get_transaction_count(account(17).address) == before
    assert liar.escrow.standing_of(liar.escrow.challenges(liar.task.task_id)[0].id)[0]


def test_sums_of_many_blocks_are_demanded_and_refuted_and_the_bond_comes_back(new_world, monkeypatch, account):
    monkeypatch.setattr(refuter, "_LOOK_S", 0.1)
    opened = new_world(rounds=2, clients=1, stakes=[TOKENS], min_stake=TOKENS)
    liar = Liar(opened, values=4097 * 256)
    made, coordinator, challenger = liar.honest(1), opened.coordinator, account(16)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    opened.token.mint(coordinator.address, TOKENS, account=coordinator)
    with refuting_challenges(opened.invite, bundles=liar.bundles, account=coordinator):
        false = challenge(liar, made, posted, place=0, by=challenger, wrong=1000)
        until(lambda: liar.escrow.standing_of(false.id)[2] == 1)  # a sum is demanded
        blocks, direction = made.participants[0].blocks, made.direction
        honest = proofs.answer(false.challenge, place=1000, sums=false.sums, update=blocks, direction=direction)
        parts = proofs.partials(blocks, direction)[2000:2002]
        told = proofs.sums_bytes([parts[0] + (1 << 55), parts[1]])
        liar.escrow.submit("answer", (*honest.arguments[:4], told), account=challenger)
        until(lambda: not liar.escrow.standing_of(false.id)[0])
        until(lambda: opened.token.balance(coordinator.address) == TOKENS + 125 * TOKENS // 4)


def test_a_leaf_that_is_asked_for_is_shown(liar, account):
    posted, asker = liar.post_honest(1), account(16)
    bonded(liar, asker)
    with refuting_challenges(liar.world.invite, bundles=liar.bundles, account=liar.world.coordinator):
        liar.escrow.submit("requestLeaf", (posted.header.as_tuple(), liar.world.addresses[0]), account=asker)
        until(lambda: liar.task.state().open_challenges == 0)
        until(lambda: liar.world.token.balance(liar.world.coordinator.address) == TOKENS)  # the asker's bond
    assert liar.task.state().status == Status.STARTED


def test_it_ends_with_the_task(liar):
    liar.post_honest(1)
    record = refuter.TaskRecord(liar.world.invite)
    challenge_refuter = refuter.ChallengeRefuter(
        record, BundleStore.at(str(liar.bundles)), account=liar.world.coordinator
    )
    assert not challenge_refuter.look()
    liar.post_honest(2)
    state = liar.task.state()
    liar.world.w3.provider.make_request("evm_increaseTime", [200])
    liar.world.w3.provider.make_request("evm_mine", [])
    liar.escrow.close(liar.task.task_id, account=liar.world.coordinator)
    assert state.status == Status.STARTED
    assert challenge_refuter.look()
