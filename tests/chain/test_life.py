"""A task's whole life through PaidTask and Escrow, on a real chain, with every balance read back."""

from dataclasses import replace

import pytest

from fl.chain import sender
from fl.chain.clock import pass_time
from fl.chain.errors import Refused, TokenTooLow
from fl.chain.escrow import Escrow, Status
from fl.chain.membership import join
from fl.chain.paid_task import PaidTask, TooFewClients, TooFewSignatures
from fl.chain.typed_data import ZERO_HASH, Header, InvalidSignature, Receipt, header_hash, sign, signer_of
from fl.rewards import HIGHEST_PRICE, Leaf, RoundTree
from fl.rewards.tree import NO_UPDATE

TOKENS = 10**18
BUDGET, BOND = 1000 * TOKENS, 1000 * TOKENS


def leaves_of(world, cumulatives, *, total=1):
    """A leaf per client with these cumulatives; all scored the same."""
    return [
        Leaf(account=one.address, update_root=NO_UPDATE, weight=0, score=total, total=total, cumulative=wei)
        for one, wei in zip(world.clients, cumulatives, strict=True)
    ]


def header_of(world, leaves, *, number=1, previous=None, price=1):
    """The header of a round over these leaves, in order with the one before."""
    tree = RoundTree(leaves)
    values = {
        "task_id": world.task.task_id,
        "round": number,
        "previous": header_hash(previous) if previous else ZERO_HASH,
        "base_model": previous.next_model if previous else world.task.terms.base_model,
        "next_model": bytes([number]) * 32,
        "validation": world.task.terms.validation_hash,
        "direction_root": b"d" * 32,
        "tree_root": tree.root,
        "leaf_count": len(tree),
        "enrolment": world.task.enrolments().hash(number),
        "cumulative": tree.cumulative,
        "price": price,
        "bundle": b"b" * 32,
    }
    return Header(**values)


def signed(world, header, *, by=None):
    """Signatures of the evaluators numbered `by`, all by default."""
    chosen = world.evaluators if by is None else [world.evaluators[one] for one in by]
    return [sign(header, domain=world.task.domain, account=one) for one in chosen]


def claim(world, header, leaves, number, *, account=None):
    """Claim one client's leaf."""
    tree = RoundTree(leaves)
    index = tree.index(world.addresses[number])
    return world.escrow.claim(
        header, leaf=tree.leaves[index], index=index, proof=tree.proof(index), account=account or world.sponsor
    )


def wait(world, seconds):
    """Let so many seconds pass on chain."""
    pass_time(world.w3, until=world.w3.eth.get_block("latest")["timestamp"] + seconds)


@pytest.fixture
def quorum(world):
    """A started task of two rounds and three clients, with 2 of 3 evaluators."""
    one = world(evaluators=3, quorum=2)
    one.task.start()
    return one


def test_a_whole_life_pays_everybody_and_leaves_nothing_behind(world):
    one = world(evaluators=3, quorum=2)
    token, escrow, task_id = one.token, one.escrow, one.task.task_id
    owners = (*one.addresses, one.sponsor.address, one.coordinator.address)
    before = {who: token.balance(who) for who in owners}
    held = token.balance(escrow.address)
    assert one.task.state().status == Status.OPEN
    assert set(one.task.enrolments()) == set(one.addresses)

    assert one.task.start() is not None
    assert one.task.start() is None  # done before
    assert one.task.state().status == Status.STARTED
    assert before[one.coordinator.address] - token.balance(one.coordinator.address) == BOND

    first = leaves_of(one, [200 * TOKENS, 200 * TOKENS, 100 * TOKENS])
    header = header_of(one, first)
    one.task.post(header, signatures=signed(one, header, by=[2, 0]))  # in any order
    second = leaves_of(one, [500 * TOKENS, 300 * TOKENS, 200 * TOKENS])
    last = header_of(one, second, number=2, previous=header)
    one.task.post(last, signatures=signed(one, last, by=[0, 1, 2]))
    assert one.task.state().cumulative == BUDGET
    assert not escrow.is_final(task_id, 1)

    wait(one, one.task.terms.challenge_window + 1)
    assert escrow.is_final(task_id, 2)
    claim(one, header, first, 0)  # an older round first: the rest of it comes from the newer one
    assert escrow.claimed(task_id, one.addresses[0]) == 200 * TOKENS
    tree = RoundTree(second)
    proofs = [(index, tree.proof(index)) for index in range(3)]
    escrow.claim_batch(last, leaves=tree.leaves, proofs=proofs, account=one.sponsor)
    assert [escrow.claimed(task_id, who) for who in one.addresses] == [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]
    assert [token.balance(who) - before[who] for who in one.addresses] == [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]
    assert one.task.state().paid == BUDGET

    escrow.close(task_id, account=one.clients[0])  # anybody may
    escrow.release(task_id, client=one.addresses[0], account=one.sponsor)
    assert escrow.credit(token.address, one.addresses[0]) == one.stakes[0]
    escrow.withdraw_for(token.address, one.addresses[0], account=one.sponsor)
    escrow.release_range(task_id, one.addresses, account=one.sponsor)  # who has nothing staked any more is skipped
    escrow.withdraw_for(token.address, one.coordinator.address, account=one.clients[0])
    assert [token.balance(who) - before[who] for who in owners] == [
        500 * TOKENS + one.stakes[0],
        300 * TOKENS + one.stakes[1],
        200 * TOKENS + one.stakes[2],
        0,
        0,
    ]
    assert held - token.balance(escrow.address) == BUDGET + sum(one.stakes)


def test_what_nobody_claims_goes_back_to_the_sponsor(quorum):
    escrow, token, task_id = quorum.escrow, quorum.token, quorum.task.task_id
    first = leaves_of(quorum, [500 * TOKENS, 0, 0])
    header = header_of(quorum, first)
    quorum.task.post(header, signatures=signed(quorum, header))
    last = header_of(
        quorum, leaves_of(quorum, [500 * TOKENS, 0, 0], total=0), number=2, previous=header, price=HIGHEST_PRICE
    )
    quorum.task.post(last, signatures=signed(quorum, last))  # nobody has a positive total: the rest is not paid
    wait(quorum, 101)
    escrow.close(task_id, account=quorum.sponsor)
    assert escrow.credit(token.address, quorum.sponsor.address) == 500 * TOKENS
    assert escrow.credit(token.address, quorum.coordinator.address) == BOND
    with pytest.raises(Refused) as caught:
        escrow.sweep(task_id, account=quorum.sponsor)
    assert caught.value.name == "TooEarly"
    wait(quorum, quorum.task.terms.claim_period + 1)
    escrow.sweep(task_id, account=quorum.sponsor)
    assert quorum.task.state().swept
    assert escrow.credit(token.address, quorum.sponsor.address) == BUDGET
    with pytest.raises(Refused) as caught:
        claim(quorum, header, first, 0)
    assert caught.value.name == "ClaimPeriodOver"


def test_silence_ends_the_task_and_shares_the_bond(quorum):
    escrow, token, task_id = quorum.escrow, quorum.token, quorum.task.task_id
    leaves = leaves_of(quorum, [500 * TOKENS, 0, 0])
    header = header_of(quorum, leaves)
    quorum.task.post(header, signatures=signed(quorum, header))
    with pytest.raises(Refused) as caught:
        escrow.expire(task_id, account=quorum.clients[0])
    assert caught.value.name == "TooEarly"
    assert caught.value.values["earliest"] - caught.value.values["time"] > 900
    wait(quorum, quorum.task.terms.round_timeout + 1)
    escrow.expire(task_id, account=quorum.clients[0])
    state = quorum.task.state()
    # The sponsor gets back what no round promised, up to the bond; the bond is shared by what everybody earned.
    assert (state.status, state.pool) == (Status.CLOSED, BOND)
    assert escrow.credit(token.address, quorum.sponsor.address) == 500 * TOKENS
    escrow.release(task_id, client=quorum.addresses[1], account=quorum.sponsor)
    assert escrow.credit(token.address, quorum.addresses[1]) == quorum.stakes[1]
    claim(quorum, header, leaves, 0)
    assert escrow.claimed(task_id, quorum.addresses[0]) == state.due(500 * TOKENS) == 500 * TOKENS + BOND


def test_silence_before_the_first_round_shares_the_bond_by_stake(quorum):
    escrow, task_id = quorum.escrow, quorum.task.task_id
    wait(quorum, quorum.task.terms.round_timeout + 1)
    escrow.expire(task_id, account=quorum.clients[0])
    state, staked = quorum.task.state(), sum(quorum.stakes)
    assert (state.pool, state.pool_base) == (BOND, staked)
    escrow.release(task_id, client=quorum.addresses[1], account=quorum.sponsor)
    share = BOND * quorum.stakes[1] // staked
    assert escrow.credit(quorum.token.address, quorum.addresses[1]) == quorum.stakes[1] + share
    assert escrow.credit(quorum.token.address, quorum.sponsor.address) == BUDGET


def test_what_is_added_to_the_budget_counts_from_the_round_after_the_one_under_way(world):
    one = world(rounds=3)
    schedules = [one.task.schedule()]
    for _ in range(2):  # before the start, and while round 1 is under way
        one.token.mint(one.sponsor.address, 300 * TOKENS, account=one.sponsor)
        one.token.approve(one.escrow.address, 300 * TOKENS, purpose="addition", account=one.sponsor)
        one.escrow.add_budget(one.task.task_id, 300 * TOKENS, account=one.sponsor)
        schedules.append(one.task.schedule())
        one.task.start()
    assert [[each.budget(number) // TOKENS for number in (1, 2, 3)] for each in schedules] == [
        [1000, 1000, 1000],
        [1300, 1300, 1300],
        [1300, 1600, 1600],
    ]
    allowed = schedules[-1].allowed(1)
    leaves = leaves_of(one, [allowed, 0, 0])
    header = header_of(one, leaves)
    one.task.post(header, signatures=signed(one, header))
    assert one.task.state().budget == 1600 * TOKENS
    assert one.task.schedule() == schedules[-1]
    assert one.task.schedule().allowed(3) == 1600 * TOKENS


def test_a_stop_that_the_terms_allow_pays_the_whole_budget_in_the_round_under_way(world):
    one = world(rounds=3, may_stop=True)
    one.task.start()
    one.escrow.stop(one.task.task_id, account=one.sponsor)
    schedule = one.task.schedule()
    assert (schedule.rounds, schedule.allowed(1)) == (1, BUDGET)
    assert schedule.planned == 3
    header = header_of(one, leaves_of(one, [BUDGET, 0, 0]))
    one.task.post(header, signatures=signed(one, header))
    assert (one.task.state().posted, one.task.state().rounds, one.task.state().stopping) == (1, 1, True)


def test_a_sponsor_whose_terms_do_not_say_so_cannot_stop(quorum):
    with pytest.raises(Refused) as caught:
        quorum.escrow.stop(quorum.task.task_id, account=quorum.sponsor)
    assert caught.value.name == "NotAllowed"


def test_a_round_whose_pay_the_bond_does_not_cover_waits_until_the_ones_before_are_final(world, caplog):
    one = world(rounds=3, bond=400 * TOKENS)
    one.task.start()
    previous, allowed = None, one.task.schedule()
    for number in (1, 2):
        leaves = leaves_of(one, [allowed.allowed(number), 0, 0])
        previous = header_of(one, leaves, number=number, previous=previous)
        one.task.post(previous, signatures=signed(one, previous))
    assert one.escrow.is_final(one.task.task_id, 1)
    assert "waiting until round 1 is final" in caplog.text


def test_a_coordinator_without_its_bond_does_not_start(world):
    one = world()
    held = one.token.balance(one.coordinator.address)
    terms = replace(one.task.terms, bond=held + 1)
    with pytest.raises(TokenTooLow) as caught:
        replace(one.task, terms=terms).start()
    assert (caught.value.needed, caught.value.purpose) == (held + 1, "coordinator's bond")


def test_a_leaver_gets_its_stake_back_when_its_last_round_is_final(quorum):
    escrow, task_id, leaver = quorum.escrow, quorum.task.task_id, quorum.clients[2]
    escrow.leave(task_id, account=leaver)
    enrolment = quorum.task.enrolments()[leaver.address]
    assert (enrolment.first_round, enrolment.left_round) == (1, 2)
    assert enrolment.weighs_in(1)
    assert not enrolment.weighs_in(2)
    assert enrolment.counts_in(2)
    with pytest.raises(Refused) as caught:
        escrow.release(task_id, client=leaver.address, account=leaver)
    assert caught.value.name == "StillAtStake"
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    quorum.task.post(header, signatures=signed(quorum, header))
    wait(quorum, 101)
    escrow.release(task_id, client=leaver.address, account=quorum.sponsor)
    assert escrow.credit(quorum.token.address, leaver.address) == quorum.stakes[2]
    with pytest.raises(Refused) as caught:
        escrow.leave(task_id, account=leaver)
    assert caught.value.name in ("AlreadyLeft", "NothingStaked")


# ---- refusals: the contract's own error, with its values -------------------------------------------------------------


def test_joining_twice_is_refused(world):
    one = world(joining=1)
    member = one.clients[0]
    one.token.mint(member.address, one.stakes[0], account=one.sponsor)
    with pytest.raises(Refused) as caught:
        join(one.invite, account=member, stake=one.stakes[0], node_key=b"", dataset=bytes(32))
    assert (caught.value.call, caught.value.name) == ("join", "AlreadyJoined")
    assert caught.value.values == {"taskId": one.invite.task_id, "account": member.address}
    assert str(caught.value) == (
        f"the contract refused join: AlreadyJoined(taskId={one.invite.task_id}, account={member.address})"
    )


def test_a_stake_out_of_range_is_refused(world):
    one = world(joining=0, min_stake=10, max_stake=20)
    one.token.mint(one.clients[0].address, 21, account=one.sponsor)
    for stake in (9, 21):
        with pytest.raises(Refused) as caught:
            join(one.invite, account=one.clients[0], stake=stake, node_key=b"", dataset=bytes(32))
        assert caught.value.name == "StakeOutOfRange"
        assert caught.value.values == {"stake": stake, "least": 10, "most": 20}


def test_a_task_without_clients_does_not_start(world):
    one = world(joining=0)
    with pytest.raises(Refused) as caught:
        one.task.start()
    assert (caught.value.name, caught.value.values) == ("NoClients", {"taskId": one.invite.task_id})


def test_a_sponsor_without_the_budget_opens_nothing(world):
    one = world(joining=0)
    terms = replace(one.task.terms, budget=10**27, salt=b"\xff" * 32)
    held = one.token.balance(one.sponsor.address)
    with pytest.raises(TokenTooLow) as caught:
        PaidTask.open(one.deployment, terms=terms, sponsor=one.sponsor, coordinator=one.coordinator)
    assert (caught.value.balance, caught.value.needed) == (held, 10**27)
    assert caught.value.purpose == "task's budget"


def test_terms_out_of_range_are_named(world):
    one = world(joining=0)
    one.token.mint(one.sponsor.address, BUDGET + BOND, account=one.sponsor)
    terms = replace(one.task.terms, rounds=0, salt=b"\xff" * 32)
    with pytest.raises(Refused) as caught:
        PaidTask.open(one.deployment, terms=terms, sponsor=one.sponsor, coordinator=one.coordinator)
    assert caught.value.name == "TermOutOfRange"
    assert bytes.fromhex(caught.value.values["term"][2:]).rstrip(b"\0") == b"rounds"
    assert (caught.value.values["seen"], caught.value.values["least"]) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "name", "values"),
    [
        ({"enrolment": b"e" * 32}, "WrongEnrolment", None),
        ({"leaf_count": 2}, "WrongLeafCount", {"seen": 2, "expected": 3}),
        ({"round": 2}, "RoundOutOfOrder", {"seen": 2, "expected": 1, "rounds": 2}),
        (
            {"cumulative": 499 * TOKENS},
            "WrongCumulative",
            {"seen": 499 * TOKENS, "least": 500 * TOKENS - 2, "most": 500 * TOKENS},
        ),
        (
            {"cumulative": 500 * TOKENS + 1, "price": HIGHEST_PRICE},
            "WrongCumulative",
            {"seen": 500 * TOKENS + 1, "least": 0, "most": 500 * TOKENS},
        ),
        ({"base_model": b"m" * 32}, "WrongBaseModel", None),
        ({"validation": b"v" * 32}, "WrongValidation", None),
        ({"previous": b"p" * 32}, "WrongPrevious", None),
    ],
)
def test_a_header_that_does_not_follow_is_refused(quorum, changes, name, values):
    header = replace(header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0])), **changes)
    with pytest.raises(Refused) as caught:
        quorum.task.post(header, signatures=signed(quorum, header))
    assert (caught.value.call, caught.value.name) == ("post", name)
    if values is not None:
        assert caught.value.values == values
    assert quorum.task.state().posted == 0


def test_too_few_signatures_are_not_even_sent(quorum):
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    stranger = sign(header, domain=quorum.task.domain, account=quorum.sponsor)
    own = signed(quorum, header, by=[0])
    with pytest.raises(TooFewSignatures) as caught:
        quorum.task.post(header, signatures=[*own, *own, stranger])  # one evaluator twice is one
    assert (caught.value.round_number, caught.value.seen, caught.value.quorum) == (1, 1, 2)
    assert str(caught.value) == (
        "round 1 has 1 evaluator signatures, the quorum is 2; start more evaluators or see why they refused"
    )


def test_the_contract_counts_the_quorum_itself(quorum):
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    with pytest.raises(Refused) as caught:
        quorum.escrow.post(
            header, signatures=signed(quorum, header, by=[0]), cover=bytes(32), account=quorum.coordinator
        )
    assert (caught.value.name, caught.value.values) == ("QuorumNotReached", {"seen": 1, "expected": 2})


def test_a_signature_over_another_header_does_not_count(quorum):
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    with pytest.raises(TooFewSignatures):
        quorum.task.post(header, signatures=signed(quorum, replace(header, bundle=b"x" * 32)))


def test_bytes_that_are_no_signature_are_refused(quorum):
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    with pytest.raises(InvalidSignature):
        quorum.task.post(header, signatures=[b"x" * 65])


def test_only_the_coordinator_posts_and_starts(world):
    one = world(evaluators=3, quorum=2)
    stranger = one.clients[0]
    with pytest.raises(Refused) as caught:
        one.escrow.submit("start", (one.task.task_id,), account=stranger)
    assert caught.value.name == "NotCoordinator"
    one.task.start()
    header = header_of(one, leaves_of(one, [500 * TOKENS, 0, 0]))
    with pytest.raises(Refused) as caught:
        one.escrow.post(header, signatures=signed(one, header, by=[0, 1]), cover=bytes(32), account=stranger)
    assert caught.value.name == "NotCoordinator"
    assert caught.value.values == {"seen": stranger.address, "expected": one.coordinator.address}


def test_a_claim_is_refused_before_the_round_is_final_and_after_it_was_paid(quorum):
    leaves = leaves_of(quorum, [500 * TOKENS, 0, 0])
    header = header_of(quorum, leaves)
    quorum.task.post(header, signatures=signed(quorum, header))
    with pytest.raises(Refused) as caught:
        claim(quorum, header, leaves, 0)
    assert caught.value.name == "RoundNotFinal"
    assert caught.value.values["round"] == 1
    wait(quorum, 101)
    claim(quorum, header, leaves, 0)
    with pytest.raises(Refused) as caught:
        claim(quorum, header, leaves, 0)
    assert caught.value.name == "NothingToClaim"
    assert caught.value.values == {
        "account": quorum.addresses[0],
        "cumulative": 500 * TOKENS,
        "claimed": 500 * TOKENS,
    }


def test_a_transaction_that_was_overtaken_says_why_it_failed_in_its_block(quorum, monkeypatch):
    leaves = leaves_of(quorum, [500 * TOKENS, 0, 0])
    header = header_of(quorum, leaves)
    quorum.task.post(header, signatures=signed(quorum, header))
    wait(quorum, 101)
    include = sender.include

    def overtaken(*arguments, **named):
        monkeypatch.setattr(sender, "include", include)
        claim(quorum, header, leaves, 0, account=quorum.clients[1])
        return include(*arguments, **named)

    monkeypatch.setattr(sender, "include", overtaken)
    with pytest.raises(Refused) as caught:
        claim(quorum, header, leaves, 0)
    assert (caught.value.name, caught.value.values["claimed"]) == ("NothingToClaim", 500 * TOKENS)


def test_a_chain_that_changes_its_id_leaves_what_was_posted_claimable(quorum):
    leaves = leaves_of(quorum, [500 * TOKENS, 0, 0])
    header = header_of(quorum, leaves)
    quorum.task.post(header, signatures=signed(quorum, header))
    wait(quorum, 101)
    tree, index = RoundTree(leaves), RoundTree(leaves).index(quorum.addresses[0])
    quorum.w3.provider.make_request("anvil_setChainId", [31338])
    try:
        forked = Escrow(quorum.w3, quorum.escrow.address)
        assert forked.domain_fields()[2] == forked.chain_id == 31338
        assert forked.posted(quorum.task.task_id, 1)[0] == header_hash(header)[:27]
        forked.claim(header, leaf=tree.leaves[index], index=index, proof=tree.proof(index), account=quorum.sponsor)
    finally:
        quorum.w3.provider.make_request("anvil_setChainId", [31337])
    assert quorum.token.balance(quorum.addresses[0]) == 500 * TOKENS


def test_a_leaf_that_was_raised_is_refused(quorum):
    leaves = leaves_of(quorum, [400 * TOKENS, 100 * TOKENS, 0])
    header = header_of(quorum, leaves)
    quorum.task.post(header, signatures=signed(quorum, header))
    wait(quorum, 101)
    tree = RoundTree(leaves)
    index = tree.index(quorum.addresses[1])
    raised = replace(tree.leaves[index], cumulative=200 * TOKENS)
    with pytest.raises(Refused) as caught:
        quorum.escrow.claim(header, leaf=raised, index=index, proof=tree.proof(index), account=quorum.sponsor)
    assert caught.value.name in ("WrongRoot", "WrongSum")


def test_waiting_for_clients_ends_with_how_many_came(world):
    one = world(joining=2)
    assert set(one.task.wait_for_clients(2, deadline_s=0)) == set(one.addresses[:2])
    with pytest.raises(TooFewClients) as caught:
        one.task.wait_for_clients(3, deadline_s=0)
    assert (caught.value.seen, caught.value.expected) == (2, 3)
    assert str(caught.value) == "2 of 3 clients joined within 0 s; let them run `fl join` or lower the number"


def test_a_client_that_comes_when_the_last_round_is_under_way_is_refused(quorum, late_join, account):
    late = replace(quorum, clients=(*quorum.clients, account(9)), stakes=(*quorum.stakes, TOKENS))
    header = header_of(quorum, leaves_of(quorum, [500 * TOKENS, 0, 0]))
    quorum.task.post(header, signatures=signed(quorum, header))
    with pytest.raises(Refused) as caught:
        late_join(late, 3)
    assert caught.value.name == "EnrolmentOver"
    assert caught.value.values == {"taskId": quorum.invite.task_id, "firstRound": 3, "rounds": 2}


def test_a_receipt_is_the_coordinators_word(world):
    one = world(joining=1)
    signature = one.task.receipt(round_number=1, client=one.addresses[0], update_root=b"u" * 32)
    receipt = Receipt(task_id=one.task.task_id, round=1, client=one.addresses[0], update_root=b"u" * 32)
    assert signer_of(receipt, domain=one.task.domain, signature=signature) == one.coordinator.address
