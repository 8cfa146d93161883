"""Four hospitals train a masked task on machines of their own; one is killed between its update and the unmasking."""

import json
import signal
from pathlib import Path

import pytest
from network.namespaces import available, lan
from waiting import wait_for

from fl.bundle.format import Bundle

from .conftest import done, left_behind

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "namespaces are there")

ROUNDS = 3
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
DYING = Path(__file__).with_name("dying_node.py")


@pytest.mark.parametrize(
    "noise",
    [
        (),
        ("privacy.noise=client", "privacy.multiplier=0.05"),
        ("privacy.noise=rows", "privacy.multiplier=1", "privacy.rows=60"),
    ],
    ids=["masked", "noisy", "rows"],
)
def test_four_hospitals_are_paid_for_masked_updates_though_one_dies(on, tmp_path, shared_data, noise):
    data = shared_data("heart-disease")
    with lan(["hub", *HOSPITALS]) as machines:
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
        coordinator = on(
            hub, "coordinator", f"names=[{hub.address}]", "port=8443", "chain.deployment=deployment.json",
            "data=holdout", "data.path=shards/coordinator", "clients=4", f"rounds={ROUNDS}", "steps=10", "budget=1000",
            "challenge_window=10", "deadline=30", "poll=0.5", "privacy=masked", *noise,
        )  # fmt: skip
        coordinator.says("invite for clients")

        def node(name, *, dies_in=0):
            program = (str(DYING), str(dies_in)) if dies_in else ("-m", "fl.cli.main")
            return on(
                machines[name], "client", "invite=coordinator/invite.json", f"data=shards/clients/{name}.csv",
                f"key={name}.json", "accept=true", f"folder=node-{name}", program=program,
            )  # fmt: skip

        nodes = {}
        for name in HOSPITALS:
            address = done(on(machines[name], "key", f"path={name}.json")).split()[0]
            done(on(hub, "mint", "deployment=deployment.json", f"to={address}", "tokens=300"))
            nodes[name] = node(name, dies_in=1 if name == "va" else 0)
        nodes["va"].process.wait()
        assert nodes["va"].process.returncode == -signal.SIGKILL
        coordinator.says("round  1/")  # without it
        nodes["va"] = node("va")
        coordinator.says("all rounds are on chain")
        audited = done(on(hub, "audit", "coordinator"))
        assert audited.count(" ok") == ROUNDS, audited
        assert ("privacy spent" in audited) == bool(noise)
        assert coordinator.ends() == 0, coordinator.said()
        assert {name: command.ends() for name, command in nodes.items()} == dict.fromkeys(nodes, 0)

    summary = json.loads((tmp_path / "coordinator" / "summary.json").read_text())
    assert [round_["round"] for round_ in summary["rounds"]] == list(range(1, ROUNDS + 1))
    assert len(summary["rounds"][0]["scores"]) == 4  # the killed one's words are in the sum, and it is scored
    assert all(round_["scores"] for round_ in summary["rounds"])
    first, _ = Bundle.read(tmp_path / "coordinator" / "bundles" / "round-0001")
    assert len(first.masked.agreements) == 3
    assert len(first.masked.own) == 4
    said = nodes["cleveland"].said()
    assert "masked: coordinator and evaluators see the sum" in " ".join(said.split())
    assert ("privacy spent" in said) == bool(noise)
    assert ("; privacy spent of each of your " in said) == ("privacy.noise=rows" in noise)
    assert wait_for(lambda: not left_behind(tmp_path), what=lambda: f"the end of {left_behind(tmp_path)}")
