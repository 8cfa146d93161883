"""`fl join` and `fl claim`, as a client types them."""

import hashlib
import json
from dataclasses import replace

import pytest
from chain.mempool import blocks_come_again, dying_after_sending
from some_invite import INVITE

from clients.node.folder import NodeFolder
from fl.chain.clock import pass_time
from fl.chain.invite import BadInvite
from fl.cli.commands.claim import main as claim
from fl.cli.commands.client import invite_named, said_otherwise
from fl.cli.commands.join import commit
from fl.cli.commands.join import main as join
from fl.errors import ConfigError

TOKENS = 10**18


@pytest.fixture
def open_task(new_world):
    """A task with three clients, two of which have joined."""
    opened = new_world(joining=2, rounds=1)
    opened.token.mint(opened.clients[2].address, 5 * TOKENS, account=opened.sponsor)
    return opened


def test_a_client_joins_with_a_commitment_to_its_file(open_task, tmp_path, capsys):
    shard = tmp_path / "shard.csv"
    shard.write_text("a,b\n1,2\n")
    join([f"invite={open_task.invite_path}", "anvil=7", "stake=5", f"data={shard}", "accept=true"])
    enrolment = open_task.task.enrolments()[open_task.clients[2].address]
    note = json.loads((tmp_path / "shard.csv.commitment.json").read_text())
    content = hashlib.sha256(shard.read_bytes()).digest()
    assert enrolment.stake == 5 * TOKENS
    assert enrolment.dataset == hashlib.sha256(bytes.fromhex(note["salt"]) + content).digest()
    assert "pays up to 1,000 tokens over 1 round," in capsys.readouterr().out


def test_a_commitment_is_made_once_for_a_file_a_task_and_an_account_and_never_lost(tmp_path):
    shard, note = tmp_path / "shard.csv", tmp_path / "shard.csv.commitment.json"

    def committed(**changes):
        return commit(shard, note=note, **{"task_id": "0x01", "account": "0xA", **changes})

    shard.write_text("a,b\n1,2\n")
    first = committed()
    assert committed() == first
    assert note.stat().st_mode & 0o777 == 0o600
    other = committed(task_id="0x02")
    assert committed(account="0xB") not in (first, other)
    shard.write_text("a,b\n3,4\n")
    committed(account="0xB")
    kept = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert {entry["commitment"] for entry in kept} > {first.hex(), other.hex()}
    assert len(kept) == 4
    for entry in kept:
        opened = hashlib.sha256(bytes.fromhex(entry["salt"]) + bytes.fromhex(entry["sha256"])).hexdigest()
        assert opened == entry["commitment"]


def test_a_later_start_with_another_file_or_stake_reads_what_that_changes(tmp_path):
    folder = NodeFolder(path=tmp_path)
    mine, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    mine.write_text("a,b\n1,2\n")
    other.write_text("a,b\n3,4\n")
    assert list(said_otherwise({"data": str(mine)}, folder=folder, stake=TOKENS)) == []  # there is no note
    commit(mine, note=tmp_path / "commitment.json", task_id="0x01", account="0xA")
    assert list(said_otherwise({"data": str(mine), "stake": "1"}, folder=folder, stake=TOKENS)) == []
    assert list(said_otherwise({"data": str(other), "stake": "5"}, folder=folder, stake=TOKENS)) == [
        "stake=5 changes nothing: the stake is set when a client joins",
        f"{other} is another file than the one that this account committed to when it joined; it trains on this one from now on",
    ]


def test_a_link_whose_gateway_is_away_is_the_invite_that_was_joined_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    invite = replace(INVITE, gateway="https://127.0.0.1:1", ca="")
    link = "https://127.0.0.1:1/"
    with pytest.raises(BadInvite, match="cannot be fetched"):
        invite_named({"invite": link})
    invite.write(tmp_path / "node-of-a-task" / "invite.json")
    assert invite_named({"invite": link}) == invite
    assert (
        capsys.readouterr().out
        == "the link's gateway does not answer now; going on with the invite in node-of-a-task\n"
    )
    with pytest.raises(BadInvite, match="cannot be fetched"):
        invite_named({"invite": link, "folder": str(tmp_path / "elsewhere" / "node")})
    with pytest.raises(BadInvite, match="cannot be fetched"):
        invite_named({"invite": "https://127.0.0.1:2/"})


def test_a_note_that_cannot_be_read_is_not_overwritten(tmp_path):
    shard, note = tmp_path / "shard.csv", tmp_path / "note.json"
    shard.write_text("a,b\n1,2\n")
    note.write_text("")
    with pytest.raises(ConfigError, match=r"note\.json is not a note of a commitment \(BadJson\); restore it, or move"):
        commit(shard, note=note, task_id="0x01", account="0xA")
    assert note.read_text() == ""


def test_a_join_that_was_killed_on_its_way_is_found_with_the_commitment_that_it_made(open_task, tmp_path, capsys):
    shard = tmp_path / "shard.csv"
    shard.write_text("a,b\n1,2\n")
    arguments = [f"invite={open_task.invite_path}", "anvil=7", "stake=5", f"data={shard}", "accept=true"]
    with dying_after_sending(open_task.w3, "join"):
        join(arguments)
    with blocks_come_again(open_task.w3):
        join(arguments)
    assert "joined in transaction" in capsys.readouterr().out
    enrolment = open_task.task.enrolments()[open_task.clients[2].address]
    note = json.loads((tmp_path / "shard.csv.commitment.json").read_text())
    assert enrolment.dataset.hex() == note["commitment"]


@pytest.mark.parametrize("answer", ["n", "", None])
def test_without_a_yes_nothing_is_sent(open_task, monkeypatch, capsys, answer):
    def said(question: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", said)
    join([str(open_task.invite_path), "anvil=7", "stake=5"])
    assert len(open_task.task.enrolments()) == 2
    assert "nothing was signed or sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stake=5"], "invite is not set; write fl join INVITE, or invite=…"),
        (["invite=x", "stake=5", "stke=5"], "stke is not a setting of fl join, the nearest is stake"),
    ],
)
def test_arguments_are_checked_first(arguments, message):
    with pytest.raises(ConfigError, match=message):
        join(arguments)


def test_a_key_has_to_be_named(open_task):
    with pytest.raises(ConfigError, match="key is not set"):
        join([f"invite={open_task.invite_path}", "stake=5"])


def test_a_file_that_is_not_there_is_named(open_task, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv, which cannot be read \(No such file"):
        join([f"invite={open_task.invite_path}", "anvil=7", "stake=5", f"data={tmp_path / 'none.csv'}"])


def test_a_claim_waits_for_the_window_and_then_pays(open_task, capsys):
    open_task.run(open_task.app(open_task.downhill), grid=open_task.grid(open_task.app(open_task.downhill)))
    owner = open_task.clients[0].address
    arguments = [str(open_task.invite_path), f"bundles={open_task.folder / 'bundles'}"]
    with pytest.raises(ConfigError, match="has 1 round, and none is final yet"):
        claim([*arguments, f"account={owner}"])
    pass_time(open_task.w3, until=open_task.escrow.posted_at(open_task.task.task_id, 1) + 101)
    with pytest.raises(ConfigError, match="has no leaf in round 1"):
        claim([*arguments, f"account={open_task.sponsor.address}"])
    with pytest.raises(ConfigError, match="account is 'me', which is not an address"):
        claim([*arguments, "account=me"])
    (open_task.folder / "bundles" / "round-0002.partial").mkdir()  # left from a kill
    claim([*arguments, f"account={owner}"])
    (report,) = open_task.reports
    assert open_task.token.balance(owner) == report.pays[owner]
    assert f"{owner} has claimed" in capsys.readouterr().out
