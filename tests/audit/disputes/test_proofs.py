"""A lying coordinator with colluding evaluators commits every fraud of the contract's list, and an outsider proves it.

The outsider holds what everybody is given: the chain, headers and leaves, its own update and receipt and, once it is revealed,
the direction. Everything is sent through the functions that a user would call.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from audit.liar import Liar, bonded, forged_levels, outscored, rescored, robbed
from eth_utils import to_checksum_address

from fl.audit.disputes import proofs
from fl.audit.disputes.proofs import Call, Published, Signed
from fl.bundle.files import BrokenBundle
from fl.chain.clock import pass_time
from fl.chain.errors import Refused
from fl.chain.task_state import Status
from fl.chain.typed_data import Update, sign
from fl.rewards import RoundTree
from fl.rewards.sums import fold


@pytest.fixture
def liar(new_world):
    """A task of three clients and three rounds whose first round is honest."""
    made = Liar(new_world(rounds=3))
    made.first = made.post_honest(1)
    return made


@pytest.fixture
def outsider(account):
    """Somebody with no part in the task."""
    return account(15)


def convicts(liar: Liar, call: Call | None, outsider, *, bounty: bool = True) -> None:
    """The proof halts the task before the false round, pays a least stake, and leaves round 1 claimable."""
    assert call is not None
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    state = liar.task.state()
    assert (state.status, state.posted) == (Status.HALTED, 1)
    void = state.cumulative - liar.first.header.cumulative
    credit = liar.escrow.credit(liar.world.token.address, outsider.address)
    assert credit == (liar.task.terms.min_stake if bounty else 0)
    first = liar.first
    pass_time(liar.world.w3, until=liar.escrow.posted_at(liar.task.task_id, 1) + 101)
    for place, leaf in enumerate(first.leaves):
        if leaf.cumulative == 0:
            continue
        proof = first.tree.proof(place)
        liar.escrow.claim(first.header, leaf=leaf, index=place, proof=proof, account=outsider)
        assert liar.escrow.claimed(liar.task.task_id, leaf.account) == leaf.cumulative

    # What the coordinator forfeited, and what no valid round promised beyond the refund, is the clients'.
    liar.escrow.close_halted(first.header, account=outsider)
    state = liar.task.state()
    rest = state.budget - first.header.cumulative
    assert (state.status, state.cumulative) == (Status.CLOSED, first.header.cumulative)
    assert state.pool == liar.task.terms.bond - credit + rest - min(rest - void, liar.task.terms.bond)
    place, leaf = next((place, leaf) for place, leaf in enumerate(first.leaves) if leaf.cumulative)
    liar.escrow.claim(first.header, leaf=leaf, index=place, proof=first.tree.proof(place), account=outsider)
    assert liar.escrow.claimed(liar.task.task_id, leaf.account) == state.due(leaf.cumulative) > leaf.cumulative


def refused(liar: Liar, call: Call, outsider, name: str) -> None:
    with pytest.raises(Refused) as caught:
        liar.escrow.submit(call.function, call.arguments, account=outsider)
    assert caught.value.name == name


# ---- transition ---------------------------------------------------------------------------------------------------------


def test_pay_that_does_not_follow_from_the_scores_is_proven(liar, outsider):
    lie = liar.post_leaves(made := liar.honest(2), robbed(made))
    convicts(liar, proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments()), outsider)


def test_a_total_that_forgets_a_loss_is_proven(new_world, outsider):
    liar = Liar(new_world(rounds=3))
    made = liar.honest(1)
    # Round 1 leaves the first client below zero, honestly: its score is negative.
    loser = made.settlement.tree.leaves[0].account
    liar.first = liar.post_leaves(made, rescored(made, {loser: -7}))
    assert proofs.prove_transition(None, liar.first, enrolments=liar.task.enrolments()) is None
    made = liar.honest(2)
    leaves = [
        replace(leaf, total=leaf.score) if leaf.account == loser else leaf for leaf in made.settlement.tree.leaves
    ]
    lie = liar.post_leaves(made, leaves)
    convicts(liar, proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments()), outsider)


@pytest.mark.parametrize("factor", [2, 0])
def test_a_price_that_the_schedule_does_not_pay_is_refused_by_the_contract(liar, factor):
    made = liar.honest(2)
    header = replace(made.header, price=made.header.price * factor)
    leaves = [replace(leaf, cumulative=max(before.cumulative, header.price * leaf.total >> 64))
              for before, leaf in zip(liar.first.leaves, made.settlement.tree.leaves, strict=True)]  # fmt: skip
    with pytest.raises(Refused) as caught:
        liar.post(replace(header, cumulative=RoundTree(leaves).cumulative), tuple(leaves))
    assert caught.value.name == "WrongCumulative"
    assert caught.value.values["most"] == liar.task.schedule().allowed(2)


def test_a_score_without_an_update_is_proven(liar, outsider):
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    lie = liar.post_leaves(made, [replace(first, update_root=bytes(32)), *others])
    convicts(liar, proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments()), outsider)


def test_a_score_of_a_client_that_has_left_is_proven(new_world, outsider):
    liar = Liar(new_world(rounds=4))
    liar.post_honest(1)
    liar.escrow.leave(liar.task.task_id, account=liar.world.clients[1])
    second = liar.post_honest(2)  # in which it still takes part
    third = liar.post_honest(3)
    enrolments = liar.task.enrolments()
    assert proofs.prove_transition(None, second, enrolments=enrolments) is None
    call = proofs.prove_transition(second, third, enrolments=enrolments)
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 2)


def test_a_leaf_of_somebody_who_never_joined_is_proven(liar, outsider):
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    lie = liar.post_leaves(made, [replace(first, account=outsider.address), *others])
    call = proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments())
    convicts(liar, call, outsider)


def test_the_first_round_is_held_to_the_same_rule(new_world, outsider):
    liar = Liar(new_world(rounds=3))
    made = liar.honest(1)
    lie = liar.post_leaves(made, robbed(made))
    call = proofs.prove_transition(None, lie, enrolments=liar.task.enrolments())
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    state = liar.task.state()
    assert (state.status, state.posted) == (Status.HALTED, 0)


def test_an_honest_round_convicts_nobody(liar, outsider):
    second = liar.post_honest(2)
    enrolments = liar.task.enrolments()
    assert proofs.prove_transition(liar.first, second, enrolments=enrolments) is None
    assert proofs.prove_broken_chain(liar.first, second) is None
    assert proofs.prove_disorder(second) is None
    assert proofs.prove_missing(second, enrolments=enrolments) is None
    (before, proof_before), (told, proof) = liar.first.proven(0), second.proven(0)
    arguments = (liar.first.header.as_tuple(), before, proof_before, second.header.as_tuple(), told, proof)
    refused(liar, Call(function="proveTransition", arguments=arguments), outsider, "NoFraud")
    refused(
        liar,
        Call(function="proveBrokenChain", arguments=(liar.first.header.as_tuple(), second.header.as_tuple())),
        outsider,
        "NoFraud",
    )


def test_a_client_reads_a_round_without_the_others_updates(new_world, tmp_path):
    opened = new_world(rounds=1)
    opened.run(opened.app(opened.downhill))
    (report,) = opened.reports
    given = tmp_path / "given"
    given.mkdir()
    for name in ("header.json", "manifest.json", "round.json"):
        shutil.copy(report.bundle / name, given / name)
    published = Published.read(given)
    assert published.header == report.header
    assert published.leaves == report.leaves
    assert published.tree.root == report.header.tree_root


@pytest.mark.parametrize("name", ["manifest.json", "round.json"])
def test_a_part_that_the_header_does_not_name_is_refused(new_world, tmp_path, name):
    opened = new_world(rounds=1)
    opened.run(opened.app(opened.downhill))
    folder = opened.reports[0].bundle
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(BrokenBundle, match=f"{name} is not the one that the"):
        Published.read(folder)


def test_pay_that_fell_over_a_round_that_opens_to_nobody_is_proven(new_world, outsider):
    liar = Liar(new_world(rounds=4))
    liar.first = liar.post_honest(1)
    made = liar.honest(2)
    liar.post(replace(made.header, tree_root=b"\x01" * 32), made.settlement.tree.leaves)
    made = liar.honest(3)
    victim, friend, *others = made.settlement.tree.leaves
    kept = liar.first.leaves[0].cumulative - 1
    taken = victim.cumulative - kept
    leaves = [replace(victim, cumulative=kept), replace(friend, cumulative=friend.cumulative + taken), *others]
    lie = liar.post_leaves(made, leaves)
    call = proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments())
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 2)


# ---- chain, omission, order, missing, sums --------------------------------------------------------------------------------


def test_another_base_model_is_proven(liar, outsider):
    made = liar.honest(2)
    lie = liar.post(replace(made.header, base_model=b"\x07" * 32), made.settlement.tree.leaves)
    convicts(liar, proofs.prove_broken_chain(liar.first, lie), outsider)


def test_an_update_with_a_receipt_and_no_place_in_the_round_is_proven(liar, outsider):
    made = liar.honest(2)
    victim = made.participants[1]
    receipt = liar.task.receipt(round_number=2, client=victim.account, update_root=victim.root)
    leaves = [
        replace(leaf, update_root=b"\x09" * 32) if leaf.account == victim.account else leaf
        for leaf in made.settlement.tree.leaves
    ]
    lie = liar.post_leaves(made, leaves)
    call = proofs.prove_omission(lie, account=victim.account, update_root=victim.root, receipt=receipt)
    convicts(liar, call, outsider, bounty=False)  # nobody but the coordinator can have made a receipt


def test_a_receipt_that_was_honoured_convicts_nobody(liar, outsider):
    made = liar.honest(2)
    kept = made.participants[0]
    posted = liar.post(made.header, made.settlement.tree.leaves)
    receipt = liar.task.receipt(round_number=2, client=kept.account, update_root=kept.root)
    assert proofs.prove_omission(posted, account=kept.account, update_root=kept.root, receipt=receipt) is None


def test_two_leaves_of_one_account_are_proven(liar, outsider):
    made = liar.honest(2)
    first, second, *others = made.settlement.tree.leaves
    lie = liar.post_leaves(made, [first, replace(second, account=first.account), *others], published=True)
    convicts(liar, proofs.prove_disorder(lie), outsider)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_account_without_a_leaf_is_proven_by_its_neighbours(liar, outsider, place):
    made = liar.honest(2)
    leaves = list(made.settlement.tree.leaves)
    stranger = to_checksum_address(f"0x{int(leaves[place].account, 16) + 1:040x}")
    leaves[place] = replace(leaves[place], account=stranger)
    lie = liar.post_leaves(made, leaves)
    convicts(liar, proofs.prove_missing(lie, enrolments=liar.task.enrolments()), outsider)


@pytest.mark.parametrize("level", [0, 1])
def test_sums_that_are_not_those_of_the_leaves_are_proven(liar, outsider, level):
    made = liar.honest(2)
    leaves = list(made.settlement.tree.leaves)
    # A thousand wei less for one client make room for the forged thousand, so that the total is what the contract wants.
    leaves[0] = replace(leaves[0], cumulative=leaves[0].cumulative - 1000)
    levels = forged_levels(tuple(leaves), level=level)
    top = levels[-1][0]
    lie = liar.post(replace(made.header, tree_root=top.node), tuple(leaves))
    assert top.cumulative == lie.header.cumulative
    convicts(liar, proofs.prove_bad_sums(lie.header, leaves=leaves, levels=levels), outsider)


def test_the_sums_of_an_honest_tree_convict_nobody(liar):
    second = liar.post_honest(2)
    levels = second.tree.levels
    assert proofs.prove_bad_sums(second.header, leaves=second.leaves, levels=levels) is None


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("change", [1000, -1000])
def test_a_sum_that_is_not_the_trees_is_proven(new_world, outsider, clients, change):
    liar = Liar(new_world(rounds=3, clients=clients))
    liar.first = liar.post_honest(1)
    assert proofs.prove_misstated_sum(liar.first) is None
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    leaves = (replace(first, cumulative=first.cumulative + change), *others)
    lie = liar.post(replace(made.header, tree_root=RoundTree(leaves).root), leaves)
    convicts(liar, proofs.prove_misstated_sum(lie), outsider)


@pytest.mark.parametrize(("clients", "hidden"), [(1, 1), (2, 1), (3, 1), (3, 2), (3, 5)])
def test_leaves_beyond_those_that_the_header_counts_are_proven(new_world, outsider, account, clients, hidden):
    liar = Liar(new_world(rounds=3, clients=clients))
    liar.first = liar.post_honest(1)
    assert proofs.prove_hidden_leaf(liar.first) is None
    made = liar.honest(2)
    extra = [replace(made.settlement.tree.leaves[0], account=account(10 + number).address, cumulative=0)
             for number in range(hidden)]  # fmt: skip
    tree = RoundTree([*made.settlement.tree.leaves, *extra])
    lie = liar.post(replace(made.header, tree_root=tree.root), tree.leaves)
    convicts(liar, proofs.prove_hidden_leaf(lie), outsider)


def test_leaves_of_another_tree_prove_nothing_of_its_sum(liar):
    made = liar.honest(2)
    other = Published(header=replace(made.header, tree_root=bytes(32)), leaves=made.settlement.tree.leaves)
    assert proofs.prove_misstated_sum(other) is None


# ---- equivocation ---------------------------------------------------------------------------------------------------------


def test_two_updates_of_one_client_for_one_round_cost_its_stake(liar, outsider):
    client = liar.world.clients[0]

    def signed(fill: int) -> Signed:
        update = Update(
            task_id=liar.task.task_id,
            round=2,
            client=client.address,
            base_model=bytes(32),
            update_root=bytes([fill]) * 32,
        )
        signature = sign(update, domain=liar.task.domain, account=client)
        return Signed(base_model=bytes(32), update_root=update.update_root, signature=signature)

    common = {"round_number": 2, "client": client.address, "domain": liar.task.domain}
    assert proofs.prove_equivocation(liar.task.task_id, first=signed(1), second=signed(1), **common) is None
    call = proofs.prove_equivocation(liar.task.task_id, first=signed(1), second=signed(2), **common)
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    assert liar.escrow.credit(liar.world.token.address, outsider.address) == liar.task.terms.min_stake
    assert liar.task.state().status == Status.STARTED


def test_a_signature_of_somebody_else_is_no_equivocation(liar, outsider):
    client = liar.world.clients[0]
    forged = Signed(
        base_model=bytes(32),
        update_root=bytes(32),
        signature=sign(
            Update(
                task_id=liar.task.task_id, round=2, client=client.address, base_model=bytes(32), update_root=bytes(32)
            ),
            domain=liar.task.domain,
            account=outsider,
        ),
    )
    other = replace(forged, update_root=b"\x01" * 32)
    common = {"round_number": 2, "client": client.address, "domain": liar.task.domain}
    assert proofs.prove_equivocation(liar.task.task_id, first=forged, second=other, **common) is None


# ---- the score --------------------------------------------------------------------------------------------------------------


def test_a_false_score_is_challenged_and_stands_unrefuted(liar, outsider):
    made = liar.honest(2)
    lie = liar.post_leaves(made, outscored(made))
    assert (
        proofs.prove_transition(liar.first, lie, enrolments=liar.task.enrolments()) is None
    )  # it follows from its scores
    victim = next(participant for participant in made.participants if participant.account == lie.leaves[0].account)
    bonded(liar, outsider)
    call = proofs.challenge_score(lie, account=victim.account, update=victim.blocks, direction=made.direction)
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    assert proofs.wrong_sum(opened.sums, update=victim.blocks, direction=made.direction) is None
    # The coordinator tries to refute what is right, block by block.
    for index in range(len(victim.blocks)):
        attempt = proofs.refute(
            opened.challenge, sums=opened.sums, index=index, update=victim.blocks, direction=made.direction
        )
        refused(liar, attempt, liar.world.coordinator, "SumIsRight")
    _, deadline, _ = liar.escrow.standing_of(opened.id)
    pass_time(liar.world.w3, until=deadline + 1)
    liar.escrow.submit("uphold", (opened.challenge.as_tuple(), lie.header.as_tuple()), account=liar.world.clients[0])
    state = liar.task.state()
    assert (state.status, state.posted) == (Status.HALTED, 1)
    # Its bond, and a least stake of the coordinator's.
    terms = liar.task.terms
    assert liar.escrow.credit(liar.world.token.address, outsider.address) == terms.bond // 16 + terms.min_stake


def test_a_false_challenge_is_refuted_with_one_block(liar, outsider, account):
    made = liar.honest(2)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant = next(
        participant for participant in made.participants if participant.account == posted.leaves[1].account
    )
    assert (
        proofs.challenge_score(posted, account=participant.account, update=participant.blocks, direction=made.direction)
        is None
    )
    bonded(liar, outsider)
    sums = fold(proofs.partials(participant.blocks, made.direction), span=1)
    sums[2] += 1 << 50
    call = proofs.challenge_with(posted, place=1, update=participant.blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    assert not liar.escrow.is_final(liar.task.task_id, 2)
    index = proofs.wrong_sum(opened.sums, update=participant.blocks, direction=made.direction)
    assert index == 2
    call = proofs.refute(
        opened.challenge, sums=opened.sums, index=index, update=participant.blocks, direction=made.direction
    )
    liar.escrow.submit(call.function, call.arguments, account=account(16))
    assert not liar.escrow.standing_of(opened.id)[0]
    assert liar.task.state().status == Status.STARTED


def test_nothing_about_a_final_round_can_be_challenged_or_proven(liar, outsider):
    made = liar.honest(2)
    lie = liar.post_leaves(made, outscored(made))
    pass_time(liar.world.w3, until=liar.escrow.posted_at(liar.task.task_id, 2) + 101)
    assert liar.escrow.is_final(liar.task.task_id, 2)
    victim = next(participant for participant in made.participants if participant.account == lie.leaves[0].account)
    bonded(liar, outsider)
    call = proofs.challenge_score(lie, account=victim.account, update=victim.blocks, direction=made.direction)
    refused(liar, call, outsider, "RoundFinal")


def test_sums_over_many_blocks_are_broken_down_on_demand(new_world, outsider, account):
    liar = Liar(new_world(rounds=2, clients=1), values=4097 * 256)
    made = liar.honest(1)
    posted = liar.post(made.header, made.settlement.tree.leaves)
    participant = made.participants[0]
    bonded(liar, outsider)
    refuter = account(16)
    bonded(liar, refuter)
    parts = proofs.partials(participant.blocks, made.direction)
    sums = fold(parts, span=2)
    assert len(sums) == 2049
    sums[1000] += 1 << 55
    call = proofs.challenge_with(posted, place=0, update=participant.blocks, sums=sums)
    liar.escrow.submit(call.function, call.arguments, account=outsider)
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    place = proofs.wrong_sum(opened.sums, update=participant.blocks, direction=made.direction)
    assert place == 1000
    asked = proofs.demand(opened.challenge, place=place)
    liar.escrow.submit(asked.function, asked.arguments, account=refuter)
    # The true partials do not add up to the false sum, so an honest answer is refused and only a false one fits.
    honest = proofs.answer(
        opened.challenge, place=place, sums=opened.sums, update=participant.blocks, direction=made.direction
    )
    refused(liar, honest, outsider, "WrongPartials")
    false = [parts[2000] + (1 << 55), parts[2001]]
    arguments = (*honest.arguments[:4], proofs.sums_bytes(false))
    liar.escrow.submit("answer", arguments, account=outsider)
    shown = proofs.refute(opened.challenge, sums=false, index=2000, update=participant.blocks, direction=made.direction)
    liar.escrow.submit(shown.function, shown.arguments, account=refuter)
    assert not liar.escrow.standing_of(opened.id)[0]
