"""Evaluators' stakes on a real chain: staked before a signature counts, taken for what its signer could have seen, brought home."""

from dataclasses import replace

import pytest
from chain.test_life import header_of, leaves_of, signed, wait
from chain.wallet import deployed_wallet
from eth_account import Account
from world import FIRST_CLIENT, SPONSOR, test_key

from fl.chain.errors import Refused, TokenTooLow
from fl.chain.evaluator_stake import (
    StakedByAnother,
    StakeGone,
    can_go_home,
    release_stakes,
    stake_due,
    stake_evaluator,
)
from fl.chain.paid_task import TooFewEvaluators, TooFewSignatures
from fl.chain.task_state import Backer
from fl.chain.typed_data import (
    Domain,
    compact,
    contract_of,
    contract_signature,
    evaluator_of,
    expanded,
    no_round,
    sign,
)

TOKENS = 10**18
STAKE = 20 * TOKENS
NOBODY = "0x" + "00" * 20


@pytest.fixture
def staking(new_world):
    """An open task whose three evaluators have to stake, two of whom have to sign; each holds its stake."""
    world = new_world(rounds=1, evaluators=3, quorum=2, evaluator_stake=STAKE)
    for evaluator in world.evaluators:
        world.token.mint(evaluator.address, STAKE, account=world.sponsor)
    return world


def stake(world, number, *, payer=None):
    """Stake for an evaluator."""
    evaluator = world.evaluators[number]
    return stake_evaluator(
        world.escrow,
        world.token,
        task_id=world.task.task_id,
        evaluator=evaluator.address,
        payer=payer or evaluator,
        key=evaluator,
    )


def end(world):
    """Post the one round, and close the task."""
    header = header_of(world, leaves_of(world, [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]))
    world.task.post(header, signatures=signed(world, header, by=[0, 1]))
    wait(world, world.task.terms.challenge_window + 1)
    world.escrow.close(world.task.task_id, account=world.sponsor)


def test_a_task_starts_once_a_quorum_has_staked_and_the_stakes_come_home(staking):
    world, task_id = staking, staking.task.task_id
    assert world.task.terms.evaluator_stake == STAKE
    assert world.escrow.backer(task_id, world.evaluators[0].address) == Backer(payer=NOBODY, stake=0)
    assert stake(world, 0) is not None
    assert stake(world, 0) is None  # done before
    with pytest.raises(TooFewEvaluators) as refused:
        world.task.start()
    assert str(refused.value) == (
        "1 evaluator has staked 20 tokens each, and 2 have to sign a round; let the others run `fl evaluator`, which stakes"
    )
    with pytest.raises(TooFewEvaluators):
        world.task.wait_for_evaluators(deadline_s=0)
    assert world.token.balance(world.coordinator.address) >= world.task.terms.bond  # nothing was escrowed
    stake(world, 1)
    world.task.wait_for_evaluators(deadline_s=0)
    world.task.start()
    assert set(world.escrow.seated(task_id)) == {evaluator.address for evaluator in world.evaluators[:2]}
    header = header_of(world, leaves_of(world, [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]))
    with pytest.raises(TooFewSignatures):  # the third has nothing at stake
        world.task.post(header, signatures=signed(world, header, by=[1, 2]))
    end(world)
    assert can_go_home(world.escrow, task_id)
    assert len(release_stakes(world.escrow, task_id, account=world.sponsor)) == 2
    assert release_stakes(world.escrow, task_id, account=world.sponsor) == []
    for evaluator in world.evaluators[:2]:
        world.escrow.withdraw_for(world.token.address, evaluator.address, account=world.sponsor)
        assert world.token.balance(evaluator.address) >= STAKE
    with pytest.raises(StakeGone, match="no stake is behind evaluator 0x.* any more: it went home before the start"):
        stake_due(world.escrow, task_id, world.evaluators[0].address, payer=world.evaluators[0].address)


def test_who_lacks_the_stake_is_told_before_anything_is_sent(new_world):
    world = new_world(rounds=1, evaluator_stake=10**28)
    nonce = world.w3.eth.get_transaction_count(world.evaluators[0].address)
    with pytest.raises(TokenTooLow, match="evaluator's stake"):
        stake(world, 0)
    assert world.w3.eth.get_transaction_count(world.evaluators[0].address) == nonce


def test_a_coordinator_stakes_for_evaluators_whose_keys_it_holds_and_gets_it_back(staking):
    world, task_id = staking, staking.task.task_id
    assert world.task.stakes_due(world.evaluators) == 3 * STAKE
    world.token.mint(world.coordinator.address, 3 * STAKE, account=world.sponsor)
    assert len(world.task.stake_for(world.evaluators)) == 3
    assert world.task.stakes_due(world.evaluators) == 0
    assert world.task.stake_for(world.evaluators) == []
    backer = world.escrow.backer(task_id, world.evaluators[2].address)
    assert backer == Backer(payer=world.coordinator.address, stake=STAKE)
    with pytest.raises(StakedByAnother, match=f"{world.coordinator.address} staked for evaluator"):
        stake(world, 2, payer=world.sponsor)
    world.task.start()
    end(world)
    before = world.escrow.credit(world.token.address, world.coordinator.address)
    assert world.task.release_stakes(account=world.sponsor, payers=[world.sponsor.address]) == []
    world.task.release_stakes(account=world.sponsor, payers=[world.coordinator.address])
    assert world.escrow.credit(world.token.address, world.coordinator.address) == before + 3 * STAKE


def test_a_task_without_a_stake_needs_nobody_to_stake(new_world):
    world = new_world(rounds=1, evaluators=2)
    own = world.evaluators[0].address
    assert not stake_due(world.escrow, world.task.task_id, own, payer=own)
    assert world.task.stake_for(world.evaluators) == []
    assert world.escrow.seated(world.task.task_id) == list(world.task.terms.evaluators)


# ---- evaluators that are contracts -----------------------------------------------------------------------------------


def test_a_contracts_signature_is_its_address_and_zeros():
    contract = Account.from_key("0x" + "01" * 32).address
    signature = contract_signature(contract)
    assert len(signature) == 65
    assert contract_of(signature) == contract
    assert (
        evaluator_of(no_round(bytes(32)), domain=Domain(chain_id=1, contract=contract), signature=signature) == contract
    )
    assert expanded(*compact(signature)) == signature
    for other in (b"\1" + signature[1:], signature[:64] + b"\x1b", signature[:20], b""):
        assert contract_of(other) == ""


@pytest.fixture
def walled(chain, new_world):
    """A task of an evaluator with a key and one that is a contract, with the owner of that; both have to sign, and stake."""
    w3, _, token = chain.connect()
    sponsor, owner = test_key(SPONSOR), test_key(FIRST_CLIENT + 5)
    wallet = deployed_wallet(w3, owner=owner.address, account=sponsor)
    world = new_world(rounds=1, evaluators=1, contracts=[wallet], quorum=2, evaluator_stake=STAKE)
    for account in (owner, world.evaluators[0]):
        token.mint(account.address, STAKE, account=sponsor)
    stake(world, 0)
    return world, wallet, owner


def test_an_owner_stakes_and_speaks_for_a_contract_whose_approval_posts_a_round(walled, devnet):
    world, wallet, owner = walled
    task_id, escrow = world.task.task_id, world.escrow
    where = {"task_id": task_id, "evaluator": wallet, "payer": owner}
    with pytest.raises(Refused, match="BadSignature"):
        stake_evaluator(escrow, world.token, **where, key=world.sponsor)
    assert world.task.speakers() == {}
    stake_evaluator(escrow, world.token, **where, key=owner)
    assert world.task.speakers() == {owner.address: wallet}
    world.task.start()
    header = header_of(world, leaves_of(world, [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]))
    [by_key] = signed(world, header)
    both = [contract_signature(wallet), by_key]
    assert not escrow.is_approved(header, wallet)
    with pytest.raises(TooFewSignatures):  # it did not approve this header
        world.task.post(header, signatures=both)
    with pytest.raises(Refused, match="BadSignature"):
        world.task.approve(header, wallet, by_key)
    approval = sign(header, domain=world.task.domain, account=owner)
    with pytest.raises(Refused, match="BadSignature"):
        world.task.approve(replace(header, bundle=b"o" * 32), wallet, approval)
    before = devnet(world.w3, "evm_snapshot")
    assert world.task.approve(header, wallet, approval) is not None
    assert world.task.approve(header, wallet, approval) is None  # done before
    assert devnet(
        world.w3, "evm_revert", before
    )  # as a reorganisation takes an approval back, before the post or with it
    assert not escrow.is_approved(header, wallet)
    sent = world.task.post(header, signatures=both)
    assert set(escrow.signatures_in(sent.hash)) == set(both)
    wait(world, world.task.terms.challenge_window + 1)
    escrow.close(task_id, account=world.sponsor)
    world.task.release_stakes(account=world.sponsor)
    assert escrow.credit(world.token.address, owner.address) == STAKE


def test_a_contract_without_a_stake_in_the_terms_has_who_speaks_for_it(chain, new_world):
    w3, _, _ = chain.connect()
    owner = test_key(FIRST_CLIENT + 5)
    wallet = deployed_wallet(w3, owner=owner.address, account=test_key(SPONSOR))
    world = new_world(rounds=1, evaluators=1, contracts=[wallet])
    assert stake_due(world.escrow, world.task.task_id, wallet, payer=owner.address)
    stake_evaluator(world.escrow, world.token, task_id=world.task.task_id, evaluator=wallet, payer=owner, key=owner)
    assert world.task.speakers() == {owner.address: wallet}
    assert not stake_due(world.escrow, world.task.task_id, wallet, payer=owner.address)
