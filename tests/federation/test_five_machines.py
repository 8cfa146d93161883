"""Five hospitals on machines with addresses of their own: one joins late, one is killed, the coordinator is started again.

The machines are network namespaces: nothing but the devnet's port and the gateway's is reached from one on another.
"""

import json
import signal

import pytest
from network.namespaces import available, lan
from waiting import wait_for

from fl.chain.deployment import Deployment
from fl.chain.invite import Invite

from .conftest import done, left_behind

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "namespaces are there")

ROUNDS = 8
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


def test_five_machines_run_a_whole_paid_task(on, tmp_path, shared_data):
    data = shared_data("heart-disease")
    with lan(["hub", *HOSPITALS, "late"]) as machines:
        hub = machines["hub"]
        url = f"http://{hub.address}:8545"
        on(hub, "devnet", "host=0.0.0.0", "port=8545", "folder=devnet").says("Ctrl-C stops")
        done(on(hub, "deploy", f"chain={url}", "out=deployment.json"))
        done(
            on(
                hub, "shards", "out=shards", "data=folder", f"data.path={data}", "data.target=-1",
                "data.positive_above=0", "data.missing_zero=[3,4,12]",
            )
        )  # fmt: skip
        # The late joiner brings the second half of the largest hospital's rows.
        shards = {name: tmp_path / "shards" / "clients" / f"{name}.csv" for name in HOSPITALS}
        lines = shards["cleveland"].read_text().splitlines(keepends=True)
        shards["late"] = shards["cleveland"].with_name("late.csv")
        half = len(lines) // 2
        shards["cleveland"].write_text("".join(lines[:half]))
        shards["late"].write_text(lines[0] * (not lines[0][0].isdigit()) + "".join(lines[half:]))

        def node(name):
            address = done(on(machines[name], "key", f"path={name}.json")).split()[0]
            done(on(hub, "mint", "deployment=deployment.json", f"to={address}", "tokens=300"))
            return on(
                machines[name], "client", "invite=coordinator/invite.json", f"data={shards[name]}", f"key={name}.json",
                "accept=true", f"folder=node-{name}",
            )  # fmt: skip

        coordinator = on(
            hub, "coordinator", f"names=[{hub.address}]", "port=8443", "chain.deployment=deployment.json",
            "data=holdout", "data.path=shards/coordinator", "clients=4", f"rounds={ROUNDS}", "steps=10", "budget=1000",
            "challenge_window=10", "deadline=60", "poll=0.5",
        )  # fmt: skip
        coordinator.says("invite for clients")
        nodes = {name: node(name) for name in HOSPITALS}
        coordinator.says("round  1/")

        nodes["late"] = node("late")
        nodes["va"].process.send_signal(signal.SIGKILL)
        nodes["va"].process.wait()
        nodes["late"].says("connected to")
        coordinator.process.send_signal(signal.SIGKILL)
        coordinator.process.wait()
        nodes["va"] = on(
            machines["va"], "client", "invite=coordinator/invite.json", f"data={shards['va']}", "key=va.json",
            "accept=true", "folder=node-va",
        )  # fmt: skip
        again = on(hub, "coordinator", "folder=coordinator")
        again.says("all rounds are on chain")
        assert again.ends() == 0, again.said()
        assert {name: command.ends() for name, command in nodes.items()} == dict.fromkeys(nodes, 0)

        invite = Invite.read(tmp_path / "coordinator" / "invite.json")
        assert invite.gateway == f"https://{hub.address}:8443"
        summary = json.loads((tmp_path / "coordinator" / "summary.json").read_text())
        assert (summary["status"], summary["live"]) == ("finished", None)
        assert [round_["round"] for round_ in summary["rounds"]] == list(range(1, ROUNDS + 1))
        assert len(summary["clients"]) == 5
        scored = [len(round_["scores"]) for round_ in summary["rounds"]]
        assert scored[0] == 4
        assert max(scored[2:]) == 5, scored  # the late one counts, and the killed one came back
        paid = {client["account"].lower(): int(client["paid_wei"]) for client in summary["clients"]}
        for name, command in nodes.items():
            account = "0x" + json.loads((tmp_path / f"{name}.json").read_text())["address"].removeprefix("0x").lower()
            # Whose updates took nothing off the loss is told so.
            assert ("claimed:" if paid[account] else "earned: 0 tokens") in command.said(), f"{name}: {command.said()}"
        # From outside of the box the chain cannot be reached.
        standing = done(on(hub, "status", "invite=coordinator/invite.json"))
        assert "closed" in standing, standing
        assert 0 < sum(int(client["paid_wei"]) for client in summary["clients"]) <= 1000 * 10**18
    assert wait_for(lambda: not left_behind(tmp_path), what=lambda: f"the end of {left_behind(tmp_path)}")
    assert Deployment.read(tmp_path / "deployment.json").url == url
