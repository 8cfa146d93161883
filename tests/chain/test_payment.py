"""Whoever pays into the contract sends one transaction where the token knows permits, and two where it does not."""

from dataclasses import replace

import pytest
from web3.exceptions import Web3Exception

from fl.chain.errors import TokenTooLow
from fl.chain.membership import join
from fl.chain.paid_task import PaidTask
from fl.codec.keccak import keccak

PERMIT_FUNCTIONS = ("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "nonces(address)")


@pytest.fixture
def joining(new_world):
    """A world, the call that its first client joins with, and how many transactions that client has sent."""
    world = new_world(joining=0)
    member = world.clients[0]
    world.token.mint(member.address, world.stakes[0], account=world.sponsor)

    def join_now():
        return join(world.invite, account=member, stake=world.stakes[0], node_key=b"node", dataset=bytes(32))

    return world, join_now, lambda: world.w3.eth.get_transaction_count(member.address)


def without_permits(world) -> None:
    """Takes the functions of ERC-2612 out of the token's code: what it dispatches on is nobody's selector any more."""
    code = bytes(world.w3.eth.get_code(world.token.address))
    for signature in PERMIT_FUNCTIONS:
        selector = keccak(signature.encode())[:4]
        assert b"\x63" + selector in code
        code = code.replace(b"\x63" + selector, b"\x63" + bytes(4))
    world.w3.provider.make_request("anvil_setCode", [world.token.address, "0x" + code.hex()])


def test_a_client_joins_in_one_transaction(joining):
    world, join_now, sent = joining
    before = sent()
    approved, joined = join_now()
    assert (approved, sent() - before) == (None, 1)
    (enrolment,) = world.task.enrolments().values()
    assert (enrolment.account, enrolment.stake) == (world.clients[0].address, world.stakes[0])
    assert world.token.allowance(world.clients[0].address, world.escrow.address) == 0
    assert world.w3.eth.get_transaction_receipt(joined.hash)["gasUsed"] == joined.gas


def test_a_client_whose_token_knows_no_permit_approves_first(joining):
    world, join_now, sent = joining
    without_permits(world)
    with pytest.raises(Web3Exception):
        world.token.nonces([world.clients[0].address])
    before = sent()
    approved, joined = join_now()
    assert approved.hash != joined.hash
    assert sent() - before == 2
    assert list(world.task.enrolments()) == [world.clients[0].address]


def test_what_was_approved_before_is_used_up_first(joining):
    world, join_now, sent = joining
    world.token.approve(world.escrow.address, world.stakes[0], purpose="stake", account=world.clients[0])
    nonces, before = world.token.nonces([world.clients[0].address]), sent()
    approved, _ = join_now()
    assert (approved, sent() - before) == (None, 1)
    assert world.token.nonces([world.clients[0].address]) == nonces


def test_a_client_without_the_stake_is_told_before_anything_is_sent(joining):
    world, join_now, sent = joining
    join_now()
    before = sent()
    poor = world.clients[1]
    with pytest.raises(TokenTooLow, match=f"{poor.address}.*stake"):
        join(world.invite, account=poor, stake=world.stakes[1], node_key=b"", dataset=bytes(32))
    assert sent() == before


def test_sponsor_and_coordinator_send_one_transaction_each(new_world):
    world = new_world()
    terms = replace(world.task.terms, salt=b"\xee" * 32)
    world.token.mint(world.sponsor.address, terms.budget, account=world.sponsor)
    before = world.w3.eth.get_transaction_count(world.sponsor.address)
    _, sent = PaidTask.open(world.deployment, terms=terms, sponsor=world.sponsor, coordinator=world.coordinator)
    assert list(sent) == ["open"]
    assert world.w3.eth.get_transaction_count(world.sponsor.address) - before == 1
    before = world.w3.eth.get_transaction_count(world.coordinator.address)
    world.task.start()
    assert world.w3.eth.get_transaction_count(world.coordinator.address) - before == 1
