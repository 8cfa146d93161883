"""An account without any ETH joins, trains and is paid through a relayer's transactions, and nobody can bend its orders."""

from dataclasses import replace

import pytest
from eth_account import Account as Keys

from fl.chain.artifacts import artifact
from fl.chain.clock import pass_time
from fl.chain.errors import Refused
from fl.chain.membership import Joining, join_all
from fl.chain.sender import send
from fl.chain.typed_data import Join, Redirect, sign
from fl.rewards import RoundTree

TOKENS = 10**18
FAR = 2**40 - 1


@pytest.fixture
def poor():
    """A wallet that never had ETH."""
    return Keys.from_key("0x" + "42" * 32)


def join_order(world, poor, **changes) -> Join:
    values = {
        "task_id": world.task.task_id,
        "account": poor.address,
        "stake": 5 * TOKENS,
        "node_key": b"node key",
        "dataset": bytes(32),
        "fee": TOKENS,
        "deadline": FAR,
    }
    return Join(**{**values, **changes})


def test_an_account_without_ether_joins_and_is_paid_elsewhere(new_world, poor, account):
    opened = new_world(rounds=1)
    relayer = account(15)
    opened.token.mint(poor.address, 6 * TOKENS, account=relayer)
    order = join_order(opened, poor)
    signature = sign(order, domain=opened.escrow.domain, account=poor)
    permit = opened.token.permit(opened.escrow.address, 6 * TOKENS, deadline=FAR, account=poor)
    opened.escrow.join_for(order, signature=signature, permit=permit, account=relayer)
    assert opened.task.enrolments()[poor.address].stake == 5 * TOKENS
    assert opened.token.balance(relayer.address) == TOKENS

    opened.run(opened.app(opened.downhill))
    (report,) = opened.reports
    # One of those who trained sends its pay to a new home, signed with its own key.
    owner = opened.clients[0]
    pass_time(opened.w3, until=opened.escrow.posted_at(opened.task.task_id, 1) + 101)
    tree = RoundTree(report.leaves)
    index = tree.index(owner.address)
    leaf = tree.leaves[index]
    assert leaf.cumulative > TOKENS
    redirect = Redirect(
        task_id=opened.task.task_id,
        round=1,
        account=owner.address,
        recipient=Keys.from_key("0x" + "43" * 32).address,
        fee=TOKENS,
        deadline=FAR,
    )
    claim = {"header": report.header, "leaf": leaf, "index": index, "proof": tree.proof(index), "account": relayer}
    signed = sign(redirect, domain=opened.escrow.domain, account=owner)
    bent = replace(redirect, recipient=opened.clients[1].address)
    with pytest.raises(Refused) as caught:
        opened.escrow.claim_to(bent, signature=signed, **claim)
    assert caught.value.name == "BadSignature"
    opened.escrow.claim_to(redirect, signature=signed, **claim)
    assert opened.token.balance(redirect.recipient) == leaf.cumulative - TOKENS
    assert opened.token.balance(relayer.address) == 2 * TOKENS
    with pytest.raises(Refused, match="NothingToClaim"):
        opened.escrow.claim_to(redirect, signature=signed, **claim)


def test_a_permit_that_was_used_before_does_not_stop_the_joining(new_world, poor, account):
    opened = new_world(rounds=1)
    relayer = account(15)
    opened.token.mint(poor.address, 6 * TOKENS, account=relayer)
    order = join_order(opened, poor)
    signature = sign(order, domain=opened.escrow.domain, account=poor)
    permit = opened.token.permit(opened.escrow.address, 6 * TOKENS, deadline=FAR, account=poor)
    front_runner = opened.w3.eth.contract(address=opened.token.address, abi=artifact("DevToken").abi)
    send(
        opened.w3,
        front_runner.functions.permit(poor.address, opened.escrow.address, *permit),
        account=account(16),
        name="permit",
    )
    opened.escrow.join_for(order, signature=signature, permit=permit, account=relayer)
    assert poor.address in opened.task.enrolments()


def test_an_order_is_good_for_what_it_says_and_in_time_only(new_world, poor, account):
    opened = new_world(rounds=1)
    relayer = account(15)
    order = join_order(opened, poor)
    signature = sign(order, domain=opened.escrow.domain, account=poor)
    permit = opened.token.permit(opened.escrow.address, 6 * TOKENS, deadline=FAR, account=poor)
    for bent in (replace(order, stake=order.stake + 1), replace(order, fee=0), replace(order, node_key=b"other")):
        with pytest.raises(Refused) as caught:
            opened.escrow.join_for(bent, signature=signature, permit=permit, account=relayer)
        assert caught.value.name == "BadSignature"
    late = join_order(opened, poor, deadline=1)
    with pytest.raises(Refused, match="SignatureExpired"):
        opened.escrow.join_for(
            late, signature=sign(late, domain=opened.escrow.domain, account=poor), permit=permit, account=relayer
        )


def test_many_join_by_orders_of_their_own_in_one_transaction(new_world, account):
    opened = new_world(rounds=1)
    relayer, newcomers = account(15), [Keys.from_key(bytes([number] * 32)) for number in (7, 8, 9)]
    opened.token.mint_many({newcomer.address: 5 * TOKENS for newcomer in newcomers}, account=relayer)
    assert opened.token.balances([newcomer.address for newcomer in newcomers]) == [5 * TOKENS] * 3
    invite = opened.task.invite(url=opened.w3.provider.endpoint_uri, spec=opened.spec.to_json())
    joinings = [
        Joining(account=newcomer, stake=(2 + place) * TOKENS, node_key=b"key %d" % place, dataset=bytes(32))
        for place, newcomer in enumerate(newcomers)
    ]
    ((count, _),) = join_all(invite, joinings, relayer=relayer)
    enrolled = opened.task.enrolments()
    assert count == 3
    assert [(enrolled[newcomer.address].stake, enrolled[newcomer.address].node_key) for newcomer in newcomers] == [
        (2 * TOKENS, b"key 0"), (3 * TOKENS, b"key 1"), (4 * TOKENS, b"key 2"),
    ]  # fmt: skip
    assert opened.escrow.claimed_by_all(opened.task.task_id, [newcomer.address for newcomer in newcomers]) == [0, 0, 0]
    assert opened.escrow.credits(opened.token.address, [newcomer.address for newcomer in newcomers]) == [0, 0, 0]
