"""The history of a task, read back from a real chain: every event once, of this task only, with its values."""

import json

import pytest
from hexbytes import HexBytes
from web3.datastructures import AttributeDict

from fl.audit.disputes import proofs
from fl.audit.disputes.proofs import Published
from fl.bundle.format import Bundle
from fl.chain.artifacts import artifact
from fl.chain.history import COMMON, read_history
from fl.chain.log_ranges import HistoryUnread
from fl.chain.sender import ask, ask_all
from fl.chain.task_log import TaskLog
from fl.codec import Blocks
from fl.coordinator.lifecycle.close import claim_for_all, close_and_return_stakes
from fl.rewards.sums import fold


@pytest.fixture
def finished(new_world):
    """A task of two rounds, paid and closed."""
    world = new_world()
    world.run(world.app(world.downhill))
    last = world.reports[-1]
    claim_for_all(world.task, last.header, leaves=last.leaves, account=world.sponsor)
    close_and_return_stakes(world.task, account=world.sponsor)
    return world


def history(world, **options):
    tables = read_history(world.w3, world.escrow.address, world.task.task_id, **options)
    return {table.name: table for table in tables}


def test_every_kind_of_event_that_names_a_task_or_a_challenge_has_a_table(new_world):
    names = {entry["name"].lower() for entry in artifact("Fairshare").abi if entry["type"] == "event"}
    tables = history(new_world())
    assert {name.replace("_", "") for name in tables} == names - {"eip712domainchanged", "withdrawn"}
    assert all(list(table.columns)[:4] == list(COMMON) for table in tables.values())


def test_a_finished_task_is_told_from_its_opening_to_its_last_claim(finished):
    tables = history(finished)
    counts = {name: len(table.rows) for name, table in tables.items() if table.rows}
    assert counts == {"opened": 1, "joined": 3, "started": 1, "posted": 2, "claimed": 3, "closed": 1, "released": 3}
    opened = tables["opened"].rows[0]
    assert opened["sponsor"] == finished.sponsor.address
    assert opened["terms_budget"] == finished.task.terms.budget
    assert json.loads(opened["terms_evaluators"]) == list(finished.task.terms.evaluators)
    assert opened["terms_reveal_each_round"] is False
    for row, report in zip(tables["posted"].rows, finished.reports, strict=True):
        assert row["task_id"] == "0x" + finished.task.task_id.hex()
        assert row["price"] == report.header.price
        assert row["cumulative"] == report.header.cumulative
        assert row["transaction"] == report.transaction
        assert row["time"] == finished.w3.eth.get_block(row["block"])["timestamp"]
    paid = {row["account"]: row["amount"] for row in tables["claimed"].rows}
    assert paid == {leaf.account: leaf.cumulative for leaf in finished.reports[-1].leaves}
    places = [(row["block"], row["log_index"]) for row in tables["joined"].rows]
    assert places == sorted(places)


def test_another_tasks_events_are_left_out(new_world):
    first, second = new_world(), new_world(joining=1)
    assert len(history(first)["joined"].rows) == 3
    assert len(history(second)["joined"].rows) == 1


def test_the_steps_of_a_challenge_belong_to_the_task_whose_score_it_doubts(new_world, account):
    world, doubter = new_world(), account(15)
    world.run(world.app(world.downhill))
    other = new_world()
    posted, bundle = Published.read(world.reports[0].bundle), Bundle.read(world.reports[0].bundle)[0]
    update = Blocks.from_bytes(bundle.updates[0].wire, size=bundle.layout.size)
    place = [leaf.account for leaf in posted.leaves].index(bundle.updates[0].account)
    sums = [total + (1 << 50) for total in fold(proofs.partials(update, bundle.direction), span=1)]
    bond = world.escrow.challenge_bond(world.task.task_id)
    world.token.mint(doubter.address, bond, account=doubter)
    world.token.approve(world.escrow.address, bond, purpose="bond", account=doubter)
    call = proofs.challenge_with(posted, place=place, update=update, sums=sums)
    world.escrow.submit(call.function, call.arguments, account=doubter)
    (opened,) = world.escrow.challenges(world.task.task_id)
    call = proofs.refute(opened.challenge, sums=opened.sums, index=0, update=update, direction=bundle.direction)
    world.escrow.submit(call.function, call.arguments, account=world.coordinator)
    tables = history(world)
    (challenged,), (refuted,) = tables["challenged"].rows, tables["refuted"].rows
    assert challenged["challenge_challenger"] == doubter.address
    assert challenged["challenge_account"] == bundle.updates[0].account
    assert refuted["id"] == challenged["id"] == "0x" + opened.id.hex()
    assert refuted["refuter"] == world.coordinator.address
    assert not history(other)["challenged"].rows + history(other)["refuted"].rows


def test_a_node_that_gives_only_a_few_blocks_at_once_is_asked_in_pieces(finished, monkeypatch):
    whole = history(finished)
    asked, real = [], finished.w3.eth.get_logs

    def narrow(query):
        asked.append(query["toBlock"] - query["fromBlock"] + 1)
        if asked[-1] > 5:
            raise ValueError("query exceeds max block range 5")
        return real(query)

    monkeypatch.setattr(finished.w3.eth, "get_logs", narrow)
    pieces = history(finished, from_block=finished.task.block)
    assert {name: table.rows for name, table in pieces.items()} == {name: table.rows for name, table in whole.items()}
    assert max(asked) > 5


def test_a_node_without_logs_is_named_with_its_words(finished, monkeypatch):
    def refuse(query):
        raise ValueError("pruned")

    monkeypatch.setattr(finished.w3.eth, "get_logs", refuse)
    last = finished.w3.eth.block_number
    with pytest.raises(
        HistoryUnread, match=rf"returns no logs for blocks {last} to {last} \(pruned\); use one that keeps"
    ):
        history(finished, from_block=last)


def test_what_is_read_again_at_each_look_is_decoded_once_and_a_changed_log_anew(finished, monkeypatch):
    log = TaskLog(finished.w3, finished.escrow.address, finished.task.task_id)
    decoded = []

    def noted(self, entry):
        decoded.append(entry["logIndex"])
        return plain(self, entry)

    plain = TaskLog._decoded
    monkeypatch.setattr(TaskLog, "_decoded", noted)
    first = log.logs()
    assert len(decoded) == len(first)
    finished.w3.provider.make_request("evm_mine", [])  # the head is another one, and all of it is read again
    assert log.logs() == first
    assert len(decoded) == len(first)

    read = TaskLog._read

    def other_blocks(self, *blocks):
        return [AttributeDict({**entry, "blockHash": HexBytes(b"\x07" * 32)}) for entry in read(self, *blocks)]

    monkeypatch.setattr(TaskLog, "_read", other_blocks)
    finished.w3.provider.make_request("evm_mine", [])
    assert {bytes(event["blockHash"]) for event in log.logs()} == {b"\x07" * 32}
    assert len(decoded) == 2 * len(first)


def test_what_is_asked_of_a_contract_is_what_web3_makes_of_its_answer(finished):
    escrow, token = finished.escrow._contract.functions, finished.task.token._contract.functions
    task_id, account = finished.task.task_id, finished.addresses[0]
    calls = [
        escrow.task(task_id),
        escrow.clientOf(task_id, account),
        escrow.roundOf(task_id, 1),
        escrow.isFinal(task_id, 1),
        escrow.creditOf(finished.task.token.address, account),
        escrow.eip712Domain(),
        escrow.headerHash(finished.reports[0].header.as_tuple()),
        token.balanceOf(account),
        token.symbol(),
        token.eip712Domain(),
    ]
    for call in calls:
        assert ask(call) == call.call(), call.fn_name
        assert ask_all([call, call]) == [call.call()] * 2
    closed = finished.w3.eth.block_number
    for block in (closed, closed - 5):
        assert ask(escrow.task(task_id), block=block) == escrow.task(task_id).call(block_identifier=block)
    assert ask(escrow.task(task_id), block=closed - 5) != ask(escrow.task(task_id))
    assert ask_all([]) == []
