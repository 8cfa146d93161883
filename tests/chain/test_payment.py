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
def joining(world):
    """A world, the call that its first client joins with, and how many transactions that client has sent."""
    one = world(joining=0)
    member = one.clients[0]
    one.token.mint(member.address, one.stakes[0], account=one.sponsor)

    def join_now():
        return join(one.invite, account=member, stake=one.stakes[0], node_key=b"node", dataset=bytes(32))

    return one, join_now, lambda: one.w3.eth.get_transaction_count(member.address)


def without_permits(one) -> None:
    """Takes the functions of ERC-2612 out of the token's code: what it dispatches on is nobody's selector any more."""
    code = bytes(one.w3.eth.get_code(one.token.address))
    for signature in PERMIT_FUNCTIONS:
        selector = keccak(signature.encode())[:4]
        assert b"\x63" + selector in code
        code = code.replace(b"\x63" + selector, b"\x63" + bytes(4))
    one.w3.provider.make_request("anvil_setCode", [one.token.address, "0x" + code.hex()])


def test_a_client_joins_in_one_transaction(joining):
    one, join_now, sent = joining
    before = sent()
    approved, joined = join_now()
    assert (approved, sent() - before) == (None, 1)
    (enrolment,) = one.task.enrolments().values()
    assert (enrolment.account, enrolment.stake) == (one.clients[0].address, one.stakes[0])
    assert one.token.allowance(one.clients[0].address, one.escrow.address) == 0
    assert one.w3.eth.get_transaction_receipt(joined.hash)["gasUsed"] == joined.gas


def test_a_client_whose_token_knows_no_permit_approves_first(joining):
    one, join_now, sent = joining
    without_permits(one)
    with pytest.raises(Web3Exception):
        one.token.nonces([one.clients[0].address])
    before = sent()
    approved, joined = join_now()
    assert approved.hash != joined.hash
    assert sent() - before == 2
    assert list(one.task.enrolments()) == [one.clients[0].address]


def test_what_was_approved_before_is_used_up_first(joining):
    one, join_now, sent = joining
    one.token.approve(one.escrow.address, one.stakes[0], purpose="stake", account=one.clients[0])
    nonces, before = one.token.nonces([one.clients[0].address]), sent()
    approved, _ = join_now()
    assert (approved, sent() - before) == (None, 1)
    assert one.token.nonces([one.clients[0].address]) == nonces


def test_a_client_without_the_stake_is_told_before_anything_is_sent(joining):
    one, join_now, sent = joining
    join_now()
    before = sent()
    poor = one.clients[1]
    with pytest.raises(TokenTooLow, match=f"{poor.address}.*stake"):
        join(one.invite, account=poor, stake=one.stakes[1], node_key=b"", dataset=bytes(32))
    assert sent() == before


def test_sponsor_and_coordinator_send_one_transaction_each(world):
    one = world()
    terms = replace(one.task.terms, salt=b"\xee" * 32)
    one.token.mint(one.sponsor.address, terms.budget, account=one.sponsor)
    before = one.w3.eth.get_transaction_count(one.sponsor.address)
    _, sent = PaidTask.open(one.deployment, terms=terms, sponsor=one.sponsor, coordinator=one.coordinator)
    assert list(sent) == ["open"]
    assert one.w3.eth.get_transaction_count(one.sponsor.address) - before == 1
    before = one.w3.eth.get_transaction_count(one.coordinator.address)
    one.task.start()
    assert one.w3.eth.get_transaction_count(one.coordinator.address) - before == 1
