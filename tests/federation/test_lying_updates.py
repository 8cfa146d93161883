"""Clients who joined and sign what no honest node signs, through a real SuperLink: refused with a reason, and the task goes on."""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

from fl.bundle.format import read_leaves
from fl.chain.accounts import anvil_account
from fl.chain.invite import Invite
from fl.chain.task_state import Status
from fl.rewards.tree import NO_UPDATE

from .conftest import FIRST_CLIENT, left_behind

LYING = Path(__file__).with_name("lying_nodes.py")
ROUNDS, HONEST = 3, 2
ALWAYS = tuple(range(1, ROUNDS + 1))
# What each lie is refused with, in the rounds in which it is one.
REASONS = {
    "nan": (ALWAYS, "not a block vector: block 0 has exponent 127, outside .*"),
    "tenfold": (ALWAYS, "not a block vector: 5130 bytes were given for 8 values, 513 are expected; .*"),
    "stale": ((2, 3), "the update starts from model [0-9a-f]{16}…, this round's is [0-9a-f]{16}…; fetch the model .*"),
    "earlier": ((2, 3), "the update is for round [12], round [23] is open; train again"),
    "twice": ((), ""),  # the first one counts, and is as good as any
    "signature": (ALWAYS, "the update says 0x.* and is signed by 0x.*; sign with the account's own key"),
    "name": (ALWAYS, "the node's key belongs to OWN and the update says 0x.*; start the node with the key .*"),
    "seconds": (ALWAYS, r"the reply has no signed update \(seconds-training is nan, a time of .*"),
}


def test_signed_lies_are_refused_by_name_and_cost_nobody_else_anything(town):
    coordinator = town.coordinator(*town.settings(rounds=ROUNDS, clients=HONEST + 1 + len(REASONS), stay="closed"))
    nodes = [town.node(number) for number in range(HONEST)]
    town.environment = {**town.environment, "PYTHONPATH": str(Path(__file__).parent)}
    nodes.append(town.node(HONEST, "app=diverging_app:app"))
    first = FIRST_CLIENT + len(nodes)
    accounts = {lie: anvil_account(first + number, chain_id=31337).address for number, lie in enumerate(REASONS)}
    token = town.deployment.connect()[2]
    for account in accounts.values():
        token.mint(account, 1000 * 10**18, account=anvil_account(0, chain_id=31337))
    folder = town.folder / "coordinator"
    liars = town.start([sys.executable, str(LYING), str(folder / "invite.json"), str(first), *REASONS], "liars")
    coordinator.says("round  1/")
    assert liars.process.poll() is None, liars.said()
    assert coordinator.ends() == 0, coordinator.said()
    assert [node.ends() for node in nodes] == [0, 0, 0]
    liars.process.kill()
    liars.ends()

    refused = defaultdict(list)  # by round
    for row in json.loads((folder / "summary.json").read_text())["rounds"]:
        refused[row["round"]] += [refusal["reason"] for refusal in row["refusals"]]
    sent = {tuple(line.split()[1:3]): line.split()[3] for line in liars.said().splitlines() if line.startswith("sent")}
    totals, paid = {}, {}
    for number in ALWAYS:
        leaves = {leaf.account: leaf for leaf in read_leaves(folder / "bundles" / f"round-{number:04d}")}
        diverged = anvil_account(FIRST_CLIENT + HONEST, chain_id=31337).address
        expected = {diverged: "the node failed: its app raised UnencodableVector; the node's own log says why"}
        for lie, (rounds, reason) in REASONS.items():
            if number in rounds:
                expected[accounts[lie]] = reason.replace("OWN", accounts[lie])
            else:
                assert leaves[accounts[lie]].update_root.hex() == sent[lie, str(number)], lie
        assert len(refused[number]) == len(expected)
        for account, reason in expected.items():
            assert any(re.fullmatch(reason, line, re.DOTALL) for line in refused[number]), (number, reason)
            leaf = leaves[account]
            # The price rises with the rounds, so that what was earned before may be paid more; nothing is added to it.
            assert (leaf.update_root, leaf.score, leaf.total) == (NO_UPDATE, 0, totals.get(account, 0))
        totals = {account: leaf.total for account, leaf in leaves.items()}
        paid = {account: leaf.cumulative for account, leaf in leaves.items()}
    assert sum(paid.values()) == 100 * 10**18
    assert (
        sum(paid[anvil_account(FIRST_CLIENT + number, chain_id=31337).address] for number in range(HONEST))
        > 95 * 10**18
    )

    _, state = town.escrow.task(Invite.read(folder / "invite.json").id_bytes)
    assert (state.status, state.posted, state.cumulative) == (Status.CLOSED, ROUNDS, 100 * 10**18)
    assert left_behind(town.folder) == []
