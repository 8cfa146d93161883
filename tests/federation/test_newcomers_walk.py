"""The walk of the README's "On real machines": seven people on machines of their own, who type what it says, word by word.

Each machine is a network namespace whose owner has the wheel in an environment of its own: no checkout, no Node.js, no compiler,
and no Anvil but on the sponsor's. A client types one command, a password for its new wallet, and y.
"""

import json
import re
import shlex
import shutil

import pytest
from network.namespaces import available, lan
from waiting import wait_for

from fl.chain.anvil import find_anvil
from fl.chain.task_state import Status
from fl.chain.tokens import tokens

from .conftest import left_behind
from .people import ROOT, Person, build_wheel, commands_of, installed, path_of

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "namespaces are there")

HOST = "hub.example.org"
ROUNDS = 8  # as the README says
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
NEVER_MET = re.compile(r"\bwei\b|Traceback|(?<![\w.])None\b|\bnan\b|developer\.mozilla|anvil", re.I)
PASSWORD = ("Password of ", "Once more: ")  # of a new wallet: typed twice, as nobody can restore it
LINK = "https://hub.example.org:8443/#…"
# What the chain says of each client, asked where it can be reached.
ASK = """
import json, sys
from fl.chain.invite import Invite
from fl.chain.membership import read_task
invite = Invite.read("coordinator/invite.json")
escrow, token, terms, state = read_task(invite)
clients = {one: [escrow.client(invite.id_bytes, one).stake, escrow.client(invite.id_bytes, one).claimed, token.balance(one)]
           for one in sys.argv[1:]}
print(json.dumps({"status": state.status.name, "held": token.balance(escrow.address), "clients": clients}))
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The folder of commands of an environment into which the wheel of this checkout was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    return installed(build_wheel(folder), folder / "environment")


@pytest.fixture
def people(commands, tmp_path):
    """A sponsor, four hospitals, an evaluator and an auditor, by name; nobody else's work is on their machines."""
    names = ["sponsor", *HOSPITALS, "eve", "auditor"]
    found = {}
    with lan(names, known_as={HOST: "sponsor"}) as machines:
        try:
            for name in names:
                home = tmp_path / name
                home.mkdir()
                # The sponsor has a system to work with, and Anvil; the others have `fl` and nothing else.
                more = [find_anvil().parent, "/usr/bin", "/bin"] if name == "sponsor" else []
                found[name] = Person(name=name, machine=machines[name], home=home, path=path_of(commands, *more))
            yield found
        finally:
            for person in found.values():
                person.leaves()
            for person in found.values():
                for number, terminal in enumerate(person.terminals):
                    (tmp_path / f"{person.name}-{number}.screen").write_text(terminal.said())


def test_the_readme_is_followed_word_by_word_from_an_invite_to_money_in_hand(people, shared_data, tmp_path):  # noqa: PLR0915 (one walk)
    sponsor, eve, auditor = people["sponsor"], people["eve"], people["auditor"]
    data = shared_data("heart-disease")
    opening, joining, checking = commands_of(ROOT / "README.md", section="On real machines")

    # The evaluator's address has to be in the terms, so Eve makes her key first.
    key = eve.runs("fl key path=eve.json")
    for question in PASSWORD:
        key.says(question)
        key.types("eve signs what is right")
    assert key.ends() == 0, key.said()
    address = re.search(r"0x[0-9a-fA-F]{40}", key.said())[0]
    devnet, deploy, shards, coordinator = [line.replace("FOLDER", str(data)) for line in opening]
    assert devnet == "fl devnet host=0.0.0.0 &"
    chain = sponsor.runs(devnet.removesuffix(" &"))
    chain.says("Ctrl-C stops")
    sponsor.does(deploy)
    sponsor.does(shards)
    serving = sponsor.runs(f'{coordinator} "coordinator.evaluators=[{address}]"')
    link = serving.says("or as a link: ").rpartition(" ")[2]
    assert link.startswith(f"https://{HOST}:8443/#")

    # Four hospitals with a link and a table: one command, two questions.
    ((client,),) = [joining]
    assert client == f"fl client {LINK} cleveland.csv"
    nodes = {}
    for name in HOSPITALS:
        person = people[name]
        shutil.copy(sponsor.home / "shards" / "clients" / f"{name}.csv", person.home / f"{name}.csv")
        nodes[name] = person.runs(client.replace(LINK, link).replace("cleveland", name))
    for name, node in nodes.items():
        for question in PASSWORD:
            node.says(question)
            node.types(f"{name} has a long password")
        node.says("and take part? [y/N] ")
        node.types("y")
    signing = eve.runs(checking[0][: checking[0].index("#")].replace("INVITE", link))
    signing.says(PASSWORD[0])
    signing.types("eve signs what is right")

    for number in range(1, ROUNDS + 1):  # each waited for by itself: on a busy machine all of them take long
        serving.says(f"round {number:>2}/{ROUNDS}: ")
    assert {name: node.ends() for name, node in nodes.items()} == dict.fromkeys(HOSPITALS, 0), nodes["va"].said()
    assert signing.ends() == 0, signing.said()
    assert serving.ends() == 0, serving.said()

    # Everybody's stake is at home, and what is paid is what the chain says: the contract holds nothing any more.
    accounts = {name: account_of(people[name]) for name in HOSPITALS}
    told = json.loads(sponsor.does(f"python -c {shlex.quote(ASK)} {' '.join(accounts.values())}"))
    assert (told["status"], told["held"]) == (Status.CLOSED.name, 0)
    assert 0 < sum(claimed for _, claimed, _ in told["clients"].values()) <= 1000 * 10**18
    for name, account in accounts.items():
        said, (stake, claimed, balance) = nodes[name].said(), told["clients"][account]
        assert not (strange := NEVER_MET.search(said)), f"{strange}: {said}"
        receipt = said.partition(f"receipt of {account} for “Heart disease”:")[2]
        assert f"earned: {tokens(claimed)} tokens, paid out" in receipt, said
        assert f"returned: {tokens(balance - claimed)} tokens of stake" in receipt, said
        assert (stake, *map(said.count, (*PASSWORD, "[y/N]"))) == (0, 1, 1, 1)
        stands = people[name].does("fl status")
        assert f"paid so far: {tokens(claimed)} tokens" in stands, stands
        assert "staked now: 0 tokens\n" in stands, stands
    assert len(re.findall(r"round \d signed", signing.said())) == ROUNDS, signing.said()

    # Afterwards: the sponsor has a model, and the auditor an archive that needs nothing but the chain.
    predict, finish = "fl predict coordinator/model TABLE", "fl finish"
    readme = (ROOT / "README.md").read_text()
    assert f"`{predict}`" in readme
    predicted = sponsor.does(predict.replace("TABLE", "shards/clients/va.csv"))
    assert predicted.startswith("row,class,")
    sponsor.does(finish)
    shutil.copy(sponsor.home / "coordinator" / "archive.zip", auditor.home / "archive.zip")
    audit = checking[1].partition("#")[0].replace("INVITE|", "")
    assert audit.strip() == "fl audit archive.zip"
    audited = auditor.runs(audit)
    # Updates and validation rows are in no archive: a stranger's audit says so, and ends with 1.
    assert audited.ends() == 1, audited.said()
    assert "partial=true" in audited.said(), audited.said()
    audited = auditor.does(f"{audit} partial=true")
    assert len(re.findall(r"round \d +ok", audited)) == ROUNDS, audited
    chain.presses_ctrl_c()
    chain.ends()
    assert wait_for(lambda: not left_behind(tmp_path), what=lambda: f"the end of {left_behind(tmp_path)}")


def account_of(person):
    """A client's account, as its node's folder has it."""
    return json.loads((person.home / "node" / "node.json").read_text())["account"]
