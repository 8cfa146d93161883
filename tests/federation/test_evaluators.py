"""Evaluators, an auditor and a watcher on machines of their own, each a process that only has the invite."""

import json
import signal
import sys

import pytest

from fl.bundle.format import Bundle
from fl.bundle.store import BundleStore
from fl.chain.accounts import anvil_account
from fl.cli.main import main

EVALUATORS = (10, 11, 12)  # of Anvil's accounts; the last one never comes
ROUNDS = 2


@pytest.fixture
def fl(monkeypatch, capsys):
    """Runs a command that has to end with status 0; returns what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        assert not code, printed
        return printed.out

    return call


def test_two_of_three_sign_from_their_machines_and_anybody_audits_over_the_gateway(town, fl):
    accounts = [anvil_account(number, chain_id=31337).address for number in EVALUATORS]
    archive = town.folder / "archive"
    coordinator = town.coordinator(
        *town.settings(rounds=ROUNDS, challenge_window=3600),
        f"coordinator.evaluators=[{','.join(accounts)}]",
        "task.evaluators=3",
        "task.quorum=2",
        "coordinator.evaluation=200",
        f"coordinator.archive={archive}",
        "coordinator.keep=1",
        "scorer.public_rounds=0",  # the public step needs the rounds before, so that they are kept for it
    )
    coordinator.says("invite")
    invite = town.folder / "coordinator" / "invite.json"
    nodes = [town.node(number) for number in range(2)]
    evaluators = [
        town.fl(
            "evaluator",
            f"invite={invite}",
            f"anvil={number}",
            f"folder={town.folder / f'evaluator-{number}'}",
            "every=0.2",
        )
        for number in EVALUATORS[:2]
    ]
    for evaluator in evaluators:
        for number in range(1, ROUNDS + 1):
            evaluator.says(f"round {number} signed")
        assert evaluator.ends() == 0
        assert evaluator.said().splitlines()[-1] == "the task is over"

    # The coordinator serves on until the challenge window is over.
    told = json.loads(invite.read_text())
    gateway = f"bundles={told['gateway']}/api/bundles"
    audit = fl("audit", invite, "anvil=10", gateway, "partial=true")
    assert "round 2    ok  direction within" in audit
    assert "not checked in round 1: " in audit  # what the coordinator did not keep
    assert "has earned" in fl("audit", invite, "anvil=5", f"bundles={archive}", "partial=true")
    receipts = town.folder / "node-0" / "signed" / told["task_id"][2:] / "receipts.json"
    watch = fl("watch", invite, "anvil=5", f"receipts={receipts}", gateway, "once=true", f"folder={town.folder / 'w'}")
    # A client is never given the others' updates.
    for number in (1, 2):
        assert f"round {number}: nothing wrong was found; not checked: " in watch
    store = BundleStore.at(str(archive))
    assert [Bundle.read(store.bundle(number))[0].round for number in store.rounds()] == [1, 2]
    assert not (town.folder / "coordinator" / "bundles" / "round-0001" / "base.safetensors").exists()
    for node in nodes:
        node.stop(signal.SIGINT)
