"""Done is what the chain shows: a refusal is tried again, and what a reorganisation took back is filed again."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from audit.liar import TOKENS, Liar, bonded
from chain.providers import is_behind, running_provider
from web3.exceptions import TransactionNotFound

from fl.audit.disputes import proofs, submit
from fl.audit.disputes.findings import Finding
from fl.audit.disputes.proofs import Call
from fl.audit.disputes.submit import Filings
from fl.audit.disputes.watch import Watch
from fl.bundle.store import BundleStore
from fl.chain.errors import Refused
from fl.chain.provider import Patience
from fl.chain.record import TaskRecord
from fl.chain.task_state import Status
from fl.coordinator.lifecycle.refuter import ChallengeRefuter
from fl.rewards import Account
from fl.rewards.sums import fold

FINDING = Finding(round=1, what="wrong", call=Call(function="proveBadLeaf", arguments=()))


@pytest.fixture
def chain_that_says(monkeypatch):
    """Filings of a chain whose receipts and refusals the test chooses."""

    def made():
        said = SimpleNamespace(refuses=False, has=True, now=0.0)

        def file(finding, **_):
            if said.refuses:
                raise Refused(call=finding.call.function, name="RoundNotPosted", values={})
            return SimpleNamespace(hash="0x" + "ab" * 32)

        def receipt(_):
            if not said.has:
                raise TransactionNotFound("gone")
            return {"status": 1}

        monkeypatch.setattr(submit, "file_finding", file)
        record = SimpleNamespace(w3=SimpleNamespace(eth=SimpleNamespace(get_transaction_receipt=receipt)))
        return said, Filings(record, account=None, look_s=1.0, clock=lambda: said.now)

    return made


def test_a_refusal_is_no_end(chain_that_says):
    said, filings = chain_that_says()
    said.refuses = True
    for pause in (1, 2, 4):
        assert filings.is_due(FINDING)
        with pytest.raises(Refused, match="RoundNotPosted"):
            filings.file(FINDING)
        assert not filings.is_due(FINDING)
        said.now += pause
    assert filings.is_settled(FINDING)  # nobody is kept up by what a chain that is over refuses
    assert filings.is_due(FINDING)
    said.refuses = False
    filings.file(FINDING)
    assert not filings.is_due(FINDING)


def test_what_a_block_took_is_due_again_when_the_block_is_gone(chain_that_says):
    said, filings = chain_that_says()
    filings.file(FINDING)
    assert not filings.is_due(FINDING)
    assert filings.is_settled(FINDING)
    said.has = False
    assert not filings.is_settled(FINDING)
    assert filings.is_due(FINDING)
    filings.file(FINDING)


@pytest.fixture
def liar(new_world):
    return Liar(new_world(rounds=2, min_stake=TOKENS))


def false_challenge(liar, *, by):
    """A challenge of a right score; its round's coordinator is to refute it."""
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    blocks = next(
        participant.blocks for participant in made.participants if participant.account == posted.leaves[0].account
    )
    sums = fold(proofs.partials(blocks, made.direction), span=1)
    sums[1] += 1 << 55
    bonded(liar, by)
    call = proofs.challenge_with(posted, place=0, update=blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=by)
    return liar.escrow.challenges(liar.task.task_id)[-1]


def reorganised(w3, blocks):
    """Put the last blocks of a devnet away, with what was in them."""
    w3.provider.make_request("anvil_reorg", [blocks, []])


def test_a_refutation_that_a_reorganisation_took_back_is_filed_again(liar, account):
    opened = false_challenge(liar, by=account(16))
    refuter = ChallengeRefuter(
        TaskRecord(liar.world.invite), BundleStore.at(str(liar.bundles)), account=liar.world.coordinator
    )
    before = liar.world.w3.eth.block_number
    refuter.look()
    assert not liar.escrow.standing_of(opened.id)[0]
    reorganised(refuter.record.w3, liar.world.w3.eth.block_number - before)
    assert refuter.record.escrow.standing_of(opened.id)[0]
    refuter.look()
    assert not refuter.record.escrow.standing_of(opened.id)[0]


def test_a_refuter_behind_a_load_balancer_does_not_give_up(liar, account):
    opened = false_challenge(liar, by=account(16))
    with running_provider(liar.world.invite.url) as (provider, url):
        record = TaskRecord(replace(liar.world.invite, url=url))
        refuter = ChallengeRefuter(record, BundleStore.at(str(liar.bundles)), account=liar.world.coordinator)
        provider.habit = is_behind(1, times=60)
        for _ in range(20):
            refuter.look()
            if not liar.escrow.standing_of(opened.id)[0]:
                break
    assert not liar.escrow.standing_of(opened.id)[0]


def test_another_round_in_a_rounds_place_is_looked_at_anew(liar):
    record = TaskRecord(liar.world.invite)
    watch = Watch(record, BundleStore.at(str(liar.bundles)))
    before = liar.world.w3.eth.block_number
    liar.post_honest(1)
    assert watch.look().fine == (1,)
    reorganised(record.w3, liar.world.w3.eth.block_number - before)
    assert not watch.look().findings
    liar.previous, liar.leaves, liar.accounts = None, (), dict.fromkeys(liar.world.addresses, Account())
    made = liar.honest(1)
    liar.task._posted.clear()  # or it would put the first one back
    made.header = replace(made.header, next_model=bytes([7]) * 32)
    liar.post(made.header, made.settlement.tree.leaves)
    assert watch.look().fine == (1,)
    assert watch._scores._right == {(1, leaf.account) for leaf in watch._reader.read(1).published.leaves}


def test_a_tree_that_was_made_without_a_client_whose_leave_was_reorganised_is_refused_and_convicts_nobody(new_world):
    made = new_world(rounds=2, min_stake=TOKENS)
    before = made.w3.eth.block_number
    made.escrow.leave(made.task.task_id, account=made.clients[2])
    made.task.start()
    without = made.task.state().enrolment
    reorganised(made.w3, made.w3.eth.block_number - before)
    liar = Liar(made)  # starts the task again, with everybody
    assert made.task.state().enrolment != without
    right = liar.honest(1)
    wrong = [leaf for leaf in right.settlement.tree.leaves if leaf.account != made.clients[2].address]
    header = replace(right.header, enrolment=without, leaf_count=len(wrong))
    with pytest.raises(Refused, match="WrongEnrolment"):
        liar.post(header, wrong)
    assert (made.task.state().status, made.task.state().posted) == (Status.STARTED, 0)
    liar.previous, liar.leaves, liar.accounts = None, (), dict.fromkeys(made.addresses, Account())
    liar.post_honest(1)
    assert Watch(TaskRecord(made.invite), BundleStore.at(str(liar.bundles))).look().fine == (1,)


def test_a_post_that_a_reorganisation_took_back_is_posted_again(new_world):
    made = new_world(rounds=2)
    first = []

    def note(report):
        first.append(report)
        if report.round == 1:
            # Everything since the first post is put away; the second round's post finds it gone.
            reorganised(made.w3, made.w3.eth.block_number - report_block(made, 1) + 1)
            assert made.escrow.posted_at(made.task.task_id, 1) == 0

    made.run(made.app(made.downhill), on_round=note)
    assert made.task.state().posted == 2
    assert [made.task.posting(number).header for number in (1, 2)] == [report.header for report in first]


def report_block(made, number):
    """In which block a round was posted."""
    return made.task.posting(number).sent.block


def test_a_task_that_is_over_is_over_some_blocks_later(liar):
    record = TaskRecord(liar.world.invite)
    assert record.is_deep(Status.STARTED)  # a devnet is not reorganised by itself
    record.w3.provider.patience = Patience(depth=3)
    liar.world.w3.provider.make_request("anvil_mine", ["0x5"])
    assert record.is_deep(Status.STARTED)
    liar.post_honest(1)
    liar.post_honest(2)
    liar.world.w3.provider.make_request("evm_increaseTime", [200])
    liar.world.w3.provider.make_request("evm_mine", [])
    liar.escrow.close(liar.task.task_id, account=liar.world.coordinator)
    watch = Watch(record, BundleStore.at(str(liar.bundles)))
    assert not watch.look().over
    liar.world.w3.provider.make_request("anvil_mine", ["0x3"])
    assert watch.look().over
