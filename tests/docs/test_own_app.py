"""The diff of the page on own apps, applied: an ordinary Flower app runs before it, and is a paid one after it."""

import importlib
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from fl.chain.accounts import anvil_account
from fl.chain.anvil import running_anvil
from fl.chain.deploying import put_contracts
from fl.chain.invite import Invite
from fl.chain.membership import join
from fl.chain.sender import connect
from fl.cli.commands.claim import main as claim
from fl.coordinator.engines.local import LocalGrid

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own-app.md"

# What the page's app imports as its own.
MY_MODEL = """
import torch
from sklearn.datasets import load_iris

DATA = load_iris()
X = torch.tensor(DATA.data, dtype=torch.float32)
Y = torch.tensor(DATA.target)
X = (X - X.mean(0)) / X.std(0)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x)


def validation_data():
    return X[::3], Y[::3]


def train_model(model, part):
    x, y = X[1 + part :: 3], Y[1 + part :: 3]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return len(x)
"""


def sides(diff: str) -> tuple[str, str]:
    before = [line[1:] for line in diff.splitlines() if not line.startswith("+")]
    after = [line[1:] for line in diff.splitlines() if not line.startswith("-")]
    return "\n".join(before), "\n".join(after)


def diffs() -> dict[str, str]:
    text = PAGE.read_text()
    return dict(re.findall(r"`(server_app\.py|client_app\.py)`:\n\n```diff\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture
def app(tmp_path, monkeypatch):
    """Puts one side of the page's app on the path and imports it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_model.py").write_text(MY_MODEL)

    def load(side: int):
        for name, diff in diffs().items():
            (tmp_path / name).write_text(sides(diff)[side])
        for name in ("my_model", "server_app", "client_app"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("server_app").app, importlib.import_module("client_app").app

    yield load
    for name in ("my_model", "server_app", "client_app"):
        sys.modules.pop(name, None)


def context() -> Context:
    return Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})


def test_the_diff_is_at_most_ten_lines():
    changed = [
        line for diff in diffs().values() for line in diff.splitlines() if line[:1] in "+-" and line.strip("+- ")
    ]
    assert len(diffs()) == 2
    assert 0 < len(changed) <= 10


def test_the_app_is_an_ordinary_flower_app_before_the_diff(app):
    server, client = app(0)
    server(LocalGrid(client, {2: {"partition-id": 0}, 3: {"partition-id": 1}}), context())


def test_the_app_pays_its_clients_after_the_diff(app, tmp_path, capsys):
    server, client = app(1)
    with running_anvil(log=tmp_path / "anvil.log") as url:
        w3 = connect(url)
        deployment = put_contracts(w3, url=url, account=anvil_account(0, chain_id=31337))
        deployment.write(tmp_path / "deployment.json")
        _, escrow, token = deployment.connect()
        owners = [anvil_account(index, chain_id=31337) for index in (5, 6)]
        for holder, amount in (
            (anvil_account(0, chain_id=31337), 200 * 10**18),
            *((owner, 10**18) for owner in owners),
        ):
            token.mint(holder.address, amount, account=holder)

        def join_when_invited():
            deadline = time.monotonic() + 60
            while not (tmp_path / "invite.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            for owner in owners:
                invite = Invite.read(tmp_path / "invite.json")
                join(invite, account=owner, stake=10**18, node_key=b"", dataset=bytes(32))

        joining = threading.Thread(target=join_when_invited)
        joining.start()
        nodes = {
            number + 2: {"partition-id": number, "invite": "invite.json", "anvil-account": 5 + number}
            for number in range(2)
        }
        server(LocalGrid(client, nodes), context())
        joining.join()
        invite = Invite.read(tmp_path / "invite.json")
        _, state = escrow.task(invite.id_bytes)
        assert state.posted == 3
        assert 100 * 10**18 - 2 < state.cumulative <= 100 * 10**18

        w3.provider.make_request("evm_increaseTime", [3601])
        w3.provider.make_request("evm_mine", [])
        for owner in owners:
            claim(["invite=invite.json", "bundles=bundles", f"account={owner.address}"])
        assert sum(token.balance(owner.address) for owner in owners) == state.cumulative
        assert "has claimed" in capsys.readouterr().out
