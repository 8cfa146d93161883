"""The walk of a newcomer: a link and a table, one command, two questions; at the end paid, and the stake at home.

Then the sponsor's: model, card and archive are there, the bond is back, and the same folder can be served again, without the
chain that it was on.
"""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys

import pytest
from waiting import wait_for

from fl.audit.archive import Archive
from fl.chain.invite import Invite
from fl.chain.task_state import Status

from .conftest import Command, left_behind

CLIENTS = ("ann", "ben", "cleo", "dan")
ROUNDS = 3


@pytest.fixture
def walk(town):
    """A coordinator, and four newcomers who have nothing but its link and their tables."""
    settings = town.settings(clients=len(CLIENTS), rounds=ROUNDS, challenge_window=10)
    coordinator = town.coordinator(
        *settings, "name=Signs of life", "description=Finds, in three columns, who is well: yes or no"
    )
    link = coordinator.says("as a link: ").rpartition(" ")[2]
    commands = {}
    for number, name in enumerate(CLIENTS):
        home = town.folder / name
        home.mkdir()
        shutil.copy(town.rows(f"{name}.csv", seed=number), home / "table.csv")
        printed = home / "printed"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "fl.cli.main", "client", link, "table.csv", f"name=Practice {name}"],
                cwd=home,
                env={**town.environment, "FAIRSHARE_PASSWORD": f"{name} has a long password", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        commands[name] = Command(process=process, printed=printed)
        town.commands.append(commands[name])
    yield town, coordinator, link, commands
    for command in commands.values():
        command.process.stdin.close()


def test_with_a_link_and_a_table_somebody_is_paid_and_has_the_stake_back(walk):  # noqa: PLR0915 (one walk, told in order)
    town, coordinator, link, commands = walk
    folder = town.folder / "coordinator"
    for command in commands.values():
        command.says("about        Finds, in three columns, who is well: yes or no")
        command.says("a trial      one round on 48 of your rows took the loss on 12 others from")
        command.process.stdin.write(b"y\n")
        command.process.stdin.flush()
    assert {name: command.ends() for name, command in commands.items()} == dict.fromkeys(CLIENTS, 0), [
        command.said() for command in commands.values()
    ]
    assert coordinator.ends() == 0, coordinator.said()

    invite = Invite.read(folder / "invite.json")
    assert (invite.link, invite.name) == (link, "Signs of life")
    _, escrow, token = town.deployment.connect()
    terms, state = escrow.task(invite.id_bytes)
    assert (state.status, state.posted, state.paid) == (Status.CLOSED, ROUNDS, terms.budget)
    assert token.balance(escrow.address) == 0  # nothing stays behind
    paid = 0
    for name, command in commands.items():
        said = command.said()
        account = json.loads((town.folder / name / "node" / "node.json").read_text())["account"]
        client = escrow.client(invite.id_bytes, account)
        assert (client.stake, token.balance(account)) == (0, 60 * 10**18 + client.claimed), said
        assert escrow.w3.eth.get_balance(account) > 0
        paid += client.claimed
        assert "the coordinator's faucet sent 60 tokens and 0.05 ETH" in said
        assert f"receipt of {account} for “Signs of life”:" in said
        assert "took part in every round: 1–3" in said
        assert "returned: 60 tokens of stake" in said
        assert "import wallet.json with its password" in said
        assert not re.search(r"\bwei\b", said)
    assert paid == terms.budget
    assert escrow.credit(token.address, terms.coordinator) == escrow.credit(token.address, state.sponsor) == 0
    assert "got 100 tokens back" in coordinator.said()  # the bond

    # What is left for the sponsor and for those who come later.
    card = (folder / "model" / "README.md").read_text()
    assert card.startswith("# Signs of life\n")
    told = town.fl(
        "predict", str(folder / "model"), str(town.folder / "ann" / "table.csv"), f"out={town.folder / 'guess.csv'}"
    )
    audit = town.fl("audit", str(folder / "archive.zip"), "partial=true")
    changed = town.coordinator("rounds=20", "budget=900")
    assert told.ends() == 0, told.said()
    with (town.folder / "guess.csv").open() as file, (town.folder / "ann" / "table.csv").open() as true:
        guesses, labels = list(csv.DictReader(file)), list(csv.DictReader(true))
    assert sum(guess["class"] == row["label"] for guess, row in zip(guesses, labels, strict=True)) > 45
    assert audit.ends() == 0, audit.said()
    assert [f"round {number}    ok" in audit.said() for number in range(1, ROUNDS + 1)] == [True] * ROUNDS
    assert Archive.open(folder / "archive.zip").signer == terms.coordinator
    assert changed.ends() == 1
    assert "task.budget was 100 and is 900 now; task.rounds was 3 and is 20 now" in changed.said()

    # Served again, the folder's report is the one that was there; the chain is not needed for it any more.
    before = (folder / "summary.json").read_bytes()
    assert {client["name"] for client in json.loads(before)["clients"]} == {f"Practice {name}" for name in CLIENTS}
    town.chain.close()
    again = town.coordinator()
    again.says("does not answer for this task")
    again.says("serving its page, bundles and archive again until Ctrl-C")
    again.stop(signal.SIGINT)
    assert again.ends() in (0, 130), again.said()
    assert (folder / "summary.json").read_bytes() == before
    assert json.loads(before)["totals"]["seconds"] > 0
    assert wait_for(lambda: not left_behind(town.folder), what=lambda: f"the end of {left_behind(town.folder)}")
