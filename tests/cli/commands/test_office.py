"""`fl budget`, `fl joining` and `fl handover`, as a sponsor and a coordinator type them."""

from dataclasses import replace
from pathlib import Path

import pytest

from fl.chain.accounts import anvil_account
from fl.chain.clock import pass_time
from fl.chain.invite import Invite
from fl.chain.membership import GatewayNotSigned, InviteDiffers, check_invite, read_task
from fl.chain.paid_task import PaidTask
from fl.chain.record import TaskRecord
from fl.chain.task_state import Status

TOKENS = 10**18
NEXT, STRANGER = 14, 15  # of Anvil's accounts


@pytest.fixture
def task(new_world):
    """A task of four rounds with two clients, that is open."""
    return new_world(joining=2, clients=2, rounds=4, may_close_joining=True, min_stake=TOKENS)


# ---- budget ------------------------------------------------------------------------------------------------------------


def test_what_is_added_is_shown_by_round_and_counts(task, account, fl):
    asked = ("budget", task.folder, "accept=true")
    task.token.mint(task.sponsor.address, 700 * TOKENS, account=task.sponsor)
    opened = fl(*asked, "add=200")  # by the sponsor, whose test account is the default
    assert opened.code == 0, opened.err
    assert "1,000 tokens over 4 rounds, 0 posted, 0 tokens promised" in opened.out
    assert f"adds 200 tokens of {task.sponsor.address}, which makes 1,200" in opened.out
    assert "each round from 1 on then pays up to 300 tokens instead of 250\n" in opened.out
    assert opened.out.endswith("the budget is 1,200 tokens in all\n")
    task.task.start()
    task.token.mint(account(STRANGER).address, 400 * TOKENS, account=task.sponsor)
    # Anybody may, by the invite alone; round 1 is under way and pays 300, so round 2 catches up.
    under_way = fl("budget", f"invite={task.invite_path}", "add=400", "accept=true", f"anvil={STRANGER}")
    assert under_way.code == 0, under_way.err
    assert (
        "each round from 2 on then pays up to 400 tokens instead of 300, and round 2 up to 500, since it catches up"
    ) in under_way.out
    task.run(task.app(task.downhill))
    state = task.task.state()
    assert (state.budget, state.added) == (1600 * TOKENS, 0)
    assert state.cumulative == pytest.approx(1600 * TOKENS, abs=2)


def test_an_addition_that_the_bond_does_not_cover_says_so(new_world, fl):
    task = new_world(rounds=2, bond=100 * TOKENS, budget=100 * TOKENS)
    task.token.mint(task.sponsor.address, 400 * TOKENS, account=task.sponsor)
    told = fl("budget", task.folder, "add=400", "accept=true")
    assert "is then more than the coordinator's bond of 100 tokens covers: where rounds come faster" in told.out


def test_what_cannot_be_added_is_refused_before_anything_is_sent(task, account, fl, refuses, monkeypatch):
    refuses("budget", task.folder, "add=0.5", saying="add is 0.5; the contract takes 1 token at the least")
    refuses("budget", task.folder, "add=1,5", saying="add is '1,5'; write a number of tokens")
    refuses("budget", "nowhere", "add=5", saying=f"{Path.cwd() / 'nowhere'} is not a folder of a task")
    poor = fl("budget", task.folder, "add=5", "accept=true", f"anvil={STRANGER}")
    assert poor.code == 1
    assert "addition to the budget" in poor.err
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert fl("budget", task.folder, "add=5").out.endswith("nothing was signed or sent\n")
    assert task.task.state().added == 0


def test_nothing_is_added_where_no_round_is_left_or_the_task_is_over(new_world, fl, refuses):
    task = new_world(rounds=1)
    task.task.start()
    refuses(
        "budget",
        task.folder,
        "add=5",
        saying="what is added counts from the round after the one under way, and round 1",
    )
    task.run(task.app(task.downhill))
    pass_time(task.w3, until=task.escrow.posted_at(task.task.task_id, 1) + 101)
    task.escrow.close(task.task.task_id, account=task.coordinator)
    for command in (("budget", "add=5"), ("joining", "open=false"), ("handover", "to=none")):
        refuses(command[0], task.folder, command[1], saying=f"task {task.invite.task_id} is closed")


# ---- joining -----------------------------------------------------------------------------------------------------------


def test_the_joining_is_closed_and_opened_by_the_sponsor(task, fl):
    closed = fl("joining", task.folder, "open=false", "accept=true")
    assert closed.code == 0, closed.err
    assert f"nobody can join task {task.invite.task_id} any more; its 2 clients" in closed.out
    assert task.task.state().joining_closed
    assert "its sponsor has closed the joining" in fl("status", f"invite={task.invite_path}").out
    assert "is closed already" in fl("joining", task.folder, "open=false").out
    opened = fl("joining", task.folder, "open=true", "accept=true")
    assert f"anybody can join task {task.invite.task_id}, which has 2 clients" in opened.out
    assert not task.task.state().joining_closed


def test_the_joining_is_nobody_elses_and_only_where_the_terms_let_it(task, new_world, fl, refuses, monkeypatch):
    stranger = anvil_account(STRANGER, chain_id=31337).address
    told = fl("joining", task.folder, "open=false", f"anvil={STRANGER}", "accept=true")
    assert f"the task's sponsor is {task.sponsor.address} and the key is of {stranger}" in told.err
    refuses("joining", task.folder, "open=maybe", saying="open is 'maybe'; write open=true or open=false")
    monkeypatch.setattr("builtins.input", lambda question: "no")
    assert fl("joining", task.folder, "open=false").out.endswith("nothing was signed or sent\n")
    assert not task.task.state().joining_closed
    other = new_world(rounds=1)
    refuses("joining", other.folder, "open=false", saying=f"the terms of task {other.invite.task_id} do not let")


def test_who_closes_a_task_without_clients_is_told_and_who_opens_a_group_reads_its_root(new_world, fl):
    group = new_world(joining=0, members=b"\x01" * 32, may_close_joining=True)
    assert (
        "it has no clients: a coordinator cannot start it"
        in fl("joining", group.folder, "open=false", "accept=true").out
    )
    assert f"whoever is on its list (root 0x{'01' * 32})" in fl("joining", group.folder, "open=true", "accept=true").out


# ---- handover ----------------------------------------------------------------------------------------------------------


def test_a_coordinator_hands_over_and_who_takes_it_goes_on_with_invites_that_are_out(task, account, fl, tmp_path):
    former, following = task.coordinator, account(NEXT)
    old = tmp_path / "old-invite.json"
    task.invite.write(old)
    task.task.start()
    offered = fl("handover", task.folder, f"to={following.address}", "accept=true")
    assert offered.code == 0, offered.err
    assert "the bond of 1,000 tokens in the contract is of whoever takes it from then on" in offered.out
    assert "is offered to" in fl("handover", task.folder, f"to={following.address}").out
    taken = fl("handover", task.folder, "take=true", f"anvil={NEXT}", "accept=true")
    assert taken.code == 0, taken.err
    assert f"receipts that {former.address} signed count up to round 1" in taken.out
    task_id = task.task.task_id
    assert task.escrow.coordinators(task_id) == [former.address, following.address]
    assert Invite.read(task.invite_path).coordinator == following.address
    # Whoever coordinates or did says where the gateway is, and nobody else does.
    for signer in (former, following):
        check_invite(task.invite.served_at("https://127.0.0.1:1", ca="", coordinator=signer))
    with pytest.raises(GatewayNotSigned):
        check_invite(task.invite.served_at("https://127.0.0.1:1", ca="", coordinator=account(NEXT + 1)))
    # The old invite is still good: for a look, for a watcher, for whoever holds receipts of either.
    assert (
        f"{following.address} is the coordinator" in fl("status", f"invite={old}", f"account={following.address}").out
    )
    record = TaskRecord(Invite.read(old))
    assert record.invite.coordinator == following.address
    assert record.coordinators() == [former.address, following.address]
    # The rest of the task: the nodes take the new one's receipts, and the bond comes back to it.
    task.task = replace(PaidTask.from_invite(task.invite_path, coordinator=following), leaps=True)
    task.run(task.app(task.downhill))
    pass_time(task.w3, until=task.escrow.posted_at(task_id, 4) + 101)
    task.escrow.close(task_id, account=following)
    assert task.task.state().status == Status.CLOSED
    assert task.escrow.credit(task.token.address, following.address) >= 1000 * TOKENS
    assert task.escrow.credit(task.token.address, former.address) == 0


def test_an_offer_is_taken_back_or_lapses_with_the_next_one(task, account, fl):
    first, second = account(NEXT).address, account(STRANGER).address
    assert fl("handover", task.folder, "to=none").out == "the place is offered to nobody\n"
    fl("handover", task.folder, f"to={first}", "accept=true")
    assert f"the offer to {first} lapses" in fl("handover", task.folder, f"to={second}", "accept=true").out
    assert task.escrow.offered_to(task.task.task_id) == second
    back = fl("handover", task.folder, "to=none", "accept=true")
    assert f"the offer to {second} is taken back, and {task.coordinator.address} stays the coordinator" in back.out
    assert task.escrow.offered_to(task.task.task_id) == ""


def test_a_place_that_is_not_offered_or_not_ones_own_is_refused(task, account, fl, refuses, monkeypatch):
    following, stranger = account(NEXT).address, account(STRANGER).address
    refuses("handover", task.folder, saying="write to=0x… to offer the place")
    refuses("handover", task.folder, "take=false", saying="write to=0x… to offer the place")
    refuses("handover", task.folder, "take=true", f"to={stranger}", saying="write to=0x… to offer the place")
    refuses("handover", task.folder, "take=true", saying="key is not set; add key=KEYSTORE of the account that takes")
    refuses(
        "handover",
        task.folder,
        "take=true",
        f"anvil={NEXT}",
        saying=f"the place of {task.coordinator.address} is offered",
    )
    refuses("handover", task.folder, "to=home", saying="to is 'home', which is not an address")
    refuses(
        "handover",
        task.folder,
        f"to={task.coordinator.address}",
        saying=f"{task.coordinator.address} is the coordinator",
    )
    refuses("handover", task.folder, f"to={task.escrow.address}", saying=f"to is {task.escrow.address}, a contract")
    refuses(
        "handover", task.folder, f"to={following}", f"anvil={STRANGER}",
        saying=f"the task's coordinator is {task.coordinator.address} and the key is of {stranger}",
    )  # fmt: skip
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert fl("handover", task.folder, f"to={following}").out.endswith("nothing was signed or sent\n")
    fl("handover", task.folder, f"to={following}", "accept=true")
    refuses(
        "handover", task.folder, "take=true", f"anvil={STRANGER}", saying=f"the place is offered to {following} and"
    )
    before = fl("handover", task.folder, "take=true", f"anvil={NEXT}")
    assert f"the bond of 1,000 tokens is due from {following} when the task starts" in before.out
    assert before.out.endswith("nothing was signed or sent\n")


def test_an_invite_of_somebody_who_never_coordinated_is_refused_after_a_hand_over_too(task, account, fl):
    fl("handover", task.folder, f"to={account(NEXT).address}", "accept=true")
    fl("handover", task.folder, "take=true", f"anvil={NEXT}", "accept=true")
    with pytest.raises(InviteDiffers, match=r"the invite's coordinator is 0x"):
        read_task(replace(task.invite, coordinator=account(STRANGER).address))
    assert read_task(task.invite)[2].coordinator == account(NEXT).address


def test_without_a_key_the_folders_own_is_used_and_another_chain_wants_one(task, fl, refuses, tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSHARE_PASSWORD", "unused")
    (task.folder / "settings.json").write_text('{"settings": ["chain.key=' + str(tmp_path / "gone.json") + '"]}')
    assert "gone.json" in fl("budget", task.folder, "add=5", "accept=true").err
    (task.folder / "settings.json").write_text("[]")
    refuses("budget", task.folder, "add=5", saying=f"{task.folder / 'settings.json'} cannot be read")
    (task.folder / "settings.json").unlink()
    monkeypatch.setattr("fl.cli.arguments.office.ANVIL_CHAIN", 1)
    refuses(
        "budget",
        task.folder,
        "add=5",
        saying=f"key is not set, and {task.folder} names none; add key=KEYSTORE of the sponsor",
    )
