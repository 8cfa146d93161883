"""A task's whole life through PaidTask and Escrow, on a real chain, with every balance read back."""

from dataclasses import replace

import pytest

from fl.chain import sender
from fl.chain.clock import pass_time
from fl.chain.errors import Refused, TokenTooLow
from fl.chain.escrow import Escrow
from fl.chain.membership import join
from fl.chain.paid_task import PaidTask, TooFewClients, TooFewSignatures
from fl.chain.task_state import Status
from fl.chain.typed_data import ZERO_HASH, Header, InvalidSignature, Receipt, header_hash, sign, signer_of
from fl.rewards import HIGHEST_PRICE, Leaf, RoundTree
from fl.rewards.tree import NO_UPDATE

TOKENS = 10**18
BUDGET, BOND = 1000 * TOKENS, 1000 * TOKENS


def leaves_of(world, cumulatives, *, total=1):
    """A leaf per client with these cumulatives; all scored the same."""
    return [
        Leaf(account=client.address, update_root=NO_UPDATE, weight=0, score=total, total=total, cumulative=wei)
        for client, wei in zip(world.clients, cumulatives, strict=True)
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
    chosen = world.evaluators if by is None else [world.evaluators[number] for number in by]
    return [sign(header, domain=world.task.domain, account=evaluator) for evaluator in chosen]


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
def quorum(new_world):
    """A started task of two rounds and three clients, with 2 of 3 evaluators."""
    world = new_world(evaluators=3, quorum=2)
    world.task.start()
    return world


def test_a_whole_life_pays_everybody_and_leaves_nothing_behind(new_world):
    world = new_world(evaluators=3, quorum=2)
    token, escrow, task_id = world.token, world.escrow, world.task.task_id
    owners = (*world.addresses, world.sponsor.address, world.coordinator.address)
    before = {who: token.balance(who) for who in owners}
    held = token.balance(escrow.address)
    assert world.task.state().status == Status.OPEN
    assert set(world.task.enrolments()) == set(world.addresses)

    assert world.task.start() is not None
    assert world.task.start() is None  # done before
    assert world.task.state().status == Status.STARTED
    assert before[world.coordinator.address] - token.balance(world.coordinator.address) == BOND

    first = leaves_of(world, [200 * TOKENS, 200 * TOKENS, 100 * TOKENS])
    header = header_of(world, first)
    world.task.post(header, signatures=signed(world, header, by=[2, 0]))  # in any order
    second = leaves_of(world, [500 * TOKENS, 300 * TOKENS, 200 * TOKENS])
    last = header_of(world, second, number=2, previous=header)
    world.task.post(last, signatures=signed(world, last, by=[0, 1, 2]))
    assert world.task.state().cumulative == BUDGET
    assert not escrow.is_final(task_id, 1)

    wait(world, world.task.terms.challenge_window + 1)
    assert escrow.is_final(task_id, 2)
    claim(world, header, first, 0)  # an older round first: the rest of it comes from the newer one
    assert escrow.claimed(task_id, world.addresses[0]) == 200 * TOKENS
    tree = RoundTree(second)
    proofs = [(index, tree.proof(index)) for index in range(3)]
    escrow.claim_batch(last, leaves=tree.leaves, proofs=proofs, account=world.sponsor)
    assert [escrow.claimed(task_id, who) for who in world.addresses] == [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]
    assert [token.balance(who) - before[who] for who in world.addresses] == [500 * TOKENS, 300 * TOKENS, 200 * TOKENS]
    assert world.task.state().paid == BUDGET

    escrow.close(task_id, account=world.clients[0])  # anybody may
    escrow.release(task_id, client=world.addresses[0], account=world.sponsor)
    assert escrow.credit(token.address, world.addresses[0]) == world.stakes[0]
    escrow.withdraw_for(token.address, world.addresses[0], account=world.sponsor)
    escrow.release_range(task_id, world.addresses, account=world.sponsor)  # who has nothing staked any more is skipped
    escrow.withdraw_for(token.address, world.coordinator.address, account=world.clients[0])
    assert [token.balance(who) - before[who] for who in owners] == [
        500 * TOKENS + world.stakes[0],
        300 * TOKENS + world.stakes[1],
        200 * TOKENS + world.stakes[2],
        0,
        0,
    ]
    assert held - token.balance(escrow.address) == BUDGET + sum(world.stakes)


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
    # What is said to anybody who asks is what the contract goes by: the last post and not the start.
    overdue = escrow.overdue_at(task_id, terms=quorum.task.terms, state=quorum.task.state())
    assert overdue == caught.value.values["earliest"]
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


def test_what_is_added_to_the_budget_counts_from_the_round_after_the_one_under_way(new_world):
    world = new_world(rounds=3)
    schedules = [world.task.schedule()]
    for _ in range(2):  # before the start, and while round 1 is under way
        world.token.mint(world.sponsor.address, 300 * TOKENS, account=world.sponsor)
        world.token.approve(world.escrow.address, 300 * TOKENS, purpose="addition", account=world.sponsor)
        world.escrow.add_budget(world.task.task_id, 300 * TOKENS, account=world.sponsor)
        schedules.append(world.task.schedule())
        world.task.start()
    assert [[each.budget(number) // TOKENS for number in (1, 2, 3)] for each in schedules] == [
        [1000, 1000, 1000],
        [1300, 1300, 1300],
        [1300, 1600, 1600],
    ]
    allowed = schedules[-1].allowed(1)
    leaves = leaves_of(world, [allowed, 0, 0])
    header = header_of(world, leaves)
    world.task.post(header, signatures=signed(world, header))
    assert world.task.state().budget == 1600 * TOKENS
    assert world.task.schedule() == schedules[-1]
    assert world.task.schedule().allowed(3) == 1600 * TOKENS


def test_a_stop_that_the_terms_allow_pays_the_whole_budget_in_the_round_under_way(new_world):
    world = new_world(rounds=3, may_stop=True)
    world.task.start()
    world.escrow.stop(world.task.task_id, account=world.sponsor)
    schedule = world.task.schedule()
    assert (schedule.rounds, schedule.allowed(1)) == (1, BUDGET)
    assert schedule.planned == 3
    header = header_of(world, leaves_of(world, [BUDGET, 0, 0]))
    world.task.post(header, signatures=signed(world, header))
    assert (world.task.state().posted, world.task.state().rounds, world.task.state().stopping) == (1, 1, True)


def test_a_sponsor_whose_terms_do_not_say_so_cannot_stop(quorum):
    with pytest.raises(Refused) as caught:
        quorum.escrow.stop(quorum.task.task_id, account=quorum.sponsor)
    assert caught.value.name == "NotAllowed"


def test_a_round_whose_pay_the_bond_does_not_cover_waits_until_the_ones_before_are_final(new_world, caplog):
    world = new_world(rounds=3, bond=400 * TOKENS)
    world.task.start()
    previous, allowed = None, world.task.schedule()
    for number in (1, 2):
        leaves = leaves_of(world, [allowed.allowed(number), 0, 0])
        previous = header_of(world, leaves, number=number, previous=previous)
        world.task.post(previous, signatures=signed(world, previous))
    assert world.escrow.is_final(world.task.task_id, 1)
    assert "waiting until round 1 is final" in caplog.text


def test_a_coordinator_without_its_bond_does_not_start(new_world):
    world = new_world()
    held = world.token.balance(world.coordinator.address)
    terms = replace(world.task.terms, bond=held + 1)
    with pytest.raises(TokenTooLow) as caught:
        replace(world.task, terms=terms).start()
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


def test_joining_twice_is_refused(new_world):
    world = new_world(joining=1)
    member = world.clients[0]
    world.token.mint(member.address, world.stakes[0], account=world.sponsor)
    with pytest.raises(Refused) as caught:
        join(world.invite, account=member, stake=world.stakes[0], node_key=b"", dataset=bytes(32))
    assert (caught.value.call, caught.value.name) == ("join", "AlreadyJoined")
    assert caught.value.values == {"taskId": world.invite.task_id, "account": member.address}
    assert str(caught.value) == (
        f"the contract refused join: AlreadyJoined(taskId={world.invite.task_id}, account={member.address})"
    )


def test_a_stake_out_of_range_is_refused(new_world):
    world = new_world(joining=0, min_stake=10, max_stake=20)
    world.token.mint(world.clients[0].address, 21, account=world.sponsor)
    for stake in (9, 21):
        with pytest.raises(Refused) as caught:
            join(world.invite, account=world.clients[0], stake=stake, node_key=b"", dataset=bytes(32))
        assert caught.value.name == "StakeOutOfRange"
        assert caught.value.values == {"stake": stake, "least": 10, "most": 20}


def test_a_task_without_clients_does_not_start(new_world):
    world = new_world(joining=0)
    with pytest.raises(Refused) as caught:
        world.task.start()
    assert (caught.value.name, caught.value.values) == ("NoClients", {"taskId": world.invite.task_id})


def test_a_sponsor_without_the_budget_opens_nothing(new_world):
    world = new_world(joining=0)
    terms = replace(world.task.terms, budget=10**27, salt=b"\xff" * 32)
    held = world.token.balance(world.sponsor.address)
    with pytest.raises(TokenTooLow) as caught:
        PaidTask.open(world.deployment, terms=terms, sponsor=world.sponsor, coordinator=world.coordinator)
    assert (caught.value.balance, caught.value.needed) == (held, 10**27)
    assert caught.value.purpose == "task's budget"


def test_terms_out_of_range_are_named(new_world):
    world = new_world(joining=0)
    world.token.mint(world.sponsor.address, BUDGET + BOND, account=world.sponsor)
    terms = replace(world.task.terms, rounds=0, salt=b"\xff" * 32)
    with pytest.raises(Refused) as caught:
        PaidTask.open(world.deployment, terms=terms, sponsor=world.sponsor, coordinator=world.coordinator)
    assert caught.value.name == "TermOutOfRange"
    assert bytes.fromhex(caught.value.values["term"][2:]).rstrip(b"\0") == b"rounds"
    assert (caught.value.values["seen"], caught.value.values["least"]) == (0, 1)
    assert "the contract refused open: TermOutOfRange(term=rounds, seen=0, least=1, most=" in str(caught.value)
    assert str(caught.value).endswith(f"; set rounds from 1 to {caught.value.values['most']}")


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


def test_only_the_coordinator_posts_and_starts(new_world):
    world = new_world(evaluators=3, quorum=2)
    stranger = world.clients[0]
    with pytest.raises(Refused) as caught:
        world.escrow.submit("start", (world.task.task_id,), account=stranger)
    assert caught.value.name == "NotCoordinator"
    world.task.start()
    header = header_of(world, leaves_of(world, [500 * TOKENS, 0, 0]))
    with pytest.raises(Refused) as caught:
        world.escrow.post(header, signatures=signed(world, header, by=[0, 1]), cover=bytes(32), account=stranger)
    assert caught.value.name == "NotCoordinator"
    assert caught.value.values == {"seen": stranger.address, "expected": world.coordinator.address}


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


def test_waiting_for_clients_ends_with_how_many_came(new_world):
    world = new_world(joining=2)
    assert set(world.task.wait_for_clients(2, deadline_s=0)) == set(world.addresses[:2])
    with pytest.raises(TooFewClients) as caught:
        world.task.wait_for_clients(3, deadline_s=0)
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


def test_a_receipt_is_the_coordinators_word(new_world):
    world = new_world(joining=1)
    signature = world.task.receipt(round_number=1, client=world.addresses[0], update_root=b"u" * 32)
    receipt = Receipt(task_id=world.task.task_id, round=1, client=world.addresses[0], update_root=b"u" * 32)
    assert signer_of(receipt, domain=world.task.domain, signature=signature) == world.coordinator.address
