"""A coordinator's own page, over its gateway: who was refused and why, and who left, read on screen and phone, light and dark."""

import json
from pathlib import Path

import pytest
from dashboard.conftest import browser, photograph, tab  # noqa: F401 (pytest looks for them here)
from dashboard.reading import audit_accessibility, whole
from playwright.sync_api import expect

from fl.chain.accounts import anvil_account

from .conftest import FIRST_CLIENT

ROUNDS, LEFT, REFUSED = 6, 2, 3  # and the numbers of two clients
REASON = "the node failed: its app raised UnencodableVector; the node's own log says why"


@pytest.fixture
def posted(town):
    """A task of four clients, all of whose rounds are posted: one went, and one never sent what can be signed."""
    town.environment = {**town.environment, "PYTHONPATH": str(Path(__file__).parent)}
    coordinator = town.coordinator(*town.settings(rounds=ROUNDS, clients=4), "name=Signs of life")
    names = {LEFT: "Practice Leaving", REFUSED: "Practice of Nothing But Not-a-Number"}
    apps = {REFUSED: ["app=diverging_app:app"]}
    nodes = [
        town.node(number, f"name={names.get(number, f'Practice {number}')}", "claim=false", *apps.get(number, []))
        for number in range(4)
    ]
    nodes[LEFT].says("round 1")
    left = town.fl("leave", f"folder={town.folder / f'node-{LEFT}'}", f"anvil={FIRST_CLIENT + LEFT}", "accept=true")
    assert left.ends() == 0, left.said()
    coordinator.says(f"round  {ROUNDS}/{ROUNDS}")
    coordinator.says("all rounds are on chain")
    return town, json.loads((town.folder / "coordinator" / "invite.json").read_text())["gateway"], names


def test_a_refused_client_and_one_that_left_are_read_on_the_coordinators_page(tab, photograph, posted):  # noqa: F811
    town, gateway, names = posted
    accounts = {number: anvil_account(FIRST_CLIENT + number, chain_id=31337).address for number in names}
    summary = json.loads((town.folder / "coordinator" / "summary.json").read_text())
    (node_id,) = {str(refusal["node_id"]) for row in summary["rounds"] for refusal in row["refusals"]}
    for width in (1280, 390):
        for theme in ("light", "dark"):
            page = tab(gateway + "/", width=width, color_scheme=theme, ignore_https_errors=True)
            rows = {
                number: page.locator("tr", has=page.get_by_role("link", name=name)).first
                for number, name in names.items()
            }
            expect(rows[LEFT]).to_contain_text("left before round")
            expect(rows[REFUSED].locator("td").nth(6)).to_have_text(str(ROUNDS))  # of its updates were refused
            expect(rows[REFUSED]).to_contain_text("no update")
            refused = page.locator("tr", has_text=REASON)
            expect(refused).to_have_count(ROUNDS)
            expect(refused.first).to_contain_text(names[REFUSED])
            expect(refused.first).to_contain_text(node_id)
            expect(page.locator("run-chart svg").first).to_be_visible()
            assert whole(page)
            photograph(page, f"refused-and-left-{width}-{theme}")
            audit_accessibility(page)
            for number, name in names.items():
                own = tab(f"{gateway}/#/{accounts[number]}", width=width, color_scheme=theme, ignore_https_errors=True)
                expect(own.get_by_role("heading", level=2)).to_have_text(name)
                if number == LEFT:
                    expect(own.get_by_text("left before round").first).to_be_visible()
                    expect(own.get_by_role("heading", name="Leave", exact=True)).to_have_count(0)
                else:
                    expect(own.get_by_text(REASON)).to_have_count(ROUNDS)
                    expect(own.get_by_text("No update was accepted, so there is no score and no pay.")).to_be_visible()
                    expect(own.get_by_text(f"no update of it was accepted in round {ROUNDS}")).to_be_visible()
                    expect(own.get_by_text("there is nothing that it was paid for")).to_be_visible()
                    expect(own.get_by_text("the last final one, so there is nothing to claim")).to_be_visible()
                assert whole(own)
                photograph(own, f"{'left' if number == LEFT else 'refused'}-{width}-{theme}")
                audit_accessibility(own)
