"""The page as a person uses it, in a real Chromium: watched through a run, checked, claimed from, read on a phone."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from dashboard.reading import audit_accessibility, fits, whole
from eth_abi import decode
from playwright.sync_api import expect
from web3 import Web3
from web3.types import RPCEndpoint

from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.sender import connect
from fl.chain.whole_file import write_whole
from fl.coordinator.config import AttackConfig, ChainConfig, ModelConfig, RunConfig, ScorerConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.report.explanation import explanation, standing_of
from fl.report.page import write_page
from fl.report.summary import summarise
from fl.task.data import DataConfig, PartitionConfig

expect.set_options(timeout=90_000)
# A wallet with the accounts that Anvil keeps unlocked: it signs for whoever `account` names, as a wallet's owner would.
WALLET = """
window.ethereum = { request: async ({ method, params }) => {
  if (method === "eth_requestAccounts") return ["ACCOUNT"];
  const answer = JSON.parse(await window.askChain(JSON.stringify({ method, params: params ?? [] })));
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
} };
"""
# What the line of the phase has said, in order.
LISTENING = """
window.heard = [];
new MutationObserver(() => {
  const text = document.getElementById("phase")?.textContent;
  if (text && text !== window.heard.at(-1)) window.heard.push(text);
}).observe(document, { childList: true, characterData: true, subtree: true });
"""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A real run on this session's chain, whose clients have claimed nothing yet."""

    folder: Path
    summary: dict
    deployment: Deployment
    escrow: Escrow
    token: Token
    task_id: bytes

    @property
    def best(self) -> dict:
        """The client that earned most."""
        return max(self.summary["clients"], key=lambda client: int(client["paid_wei"]))


@pytest.fixture(scope="module")
def played(anvil: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Three rounds of five clients, one of which does nothing and one of which lies about its labels."""
    folder = tmp_path_factory.mktemp("played")
    config = RunConfig(
        task=TaskConfig(rounds=3, steps=5, batch_size=16, evaluators=2, quorum=2),
        model=ModelConfig(path="fl.task.models:LogisticRegression"),
        data=DataConfig(limit=300),
        partition=PartitionConfig(name="sizes", clients=5, sizes=[1, 2, 3, 2, 2]),
        scorer=ScorerConfig(),
        attack=AttackConfig(behaviours=["3:free_ride", "4:label_flip:0.5"]),
        chain=ChainConfig(id=31337, url=anvil),
    )
    w3 = connect(anvil)
    snapshots: list[str] = []

    def before_the_claims(what: str) -> None:
        if what.startswith("claiming"):
            snapshots.append(devnet_call(w3, "evm_snapshot"))

    start = devnet_call(w3, "evm_snapshot")
    result = run_federation(config, folder=folder, watcher=Watcher(on_setup=before_the_claims))
    assert devnet_call(w3, "evm_revert", snapshots[0])
    summary = summarise(config, result, folder=folder)
    write_whole(folder / "summary.json", json.dumps(summary).encode())
    deployment = Deployment.read(folder / "deployment.json")
    _, escrow, token = deployment.connect()
    yield Played(
        folder=folder, summary=summary, deployment=deployment, escrow=escrow, token=token, task_id=result.task_id
    )
    assert devnet_call(w3, "evm_revert", start)


def devnet_call(w3: Web3, method: str, *arguments: object) -> object:
    """A call that only devnets know."""
    return w3.manager.request_blocking(RPCEndpoint(method), list(arguments))


def test_a_run_is_watched_from_before_its_start_to_its_end(tab, photograph, tmp_path, python, environment):
    folder = tmp_path / "run"
    folder.mkdir()
    command = [python, "-m", "fl.cli.main"]
    options = {"cwd": tmp_path, "env": environment, "text": True, "process_group": 0}
    with subprocess.Popen(
        [*command, "dashboard", f"run={folder}", "port=0"], stdout=subprocess.PIPE, **options
    ) as page_process:
        try:
            url = re.search(r"http://\S+/", page_process.stdout.readline())[0]
            page = tab(url, before=LISTENING)
            expect(page.locator("#phase")).to_have_text("Waiting for the run to begin")
            settings = ["task=short", "task.rounds=6", "data=digits", f"hydra.run.dir={folder}"]
            run = subprocess.run([*command, "run", *settings], capture_output=True, timeout=300, check=False, **options)
            assert run.returncode == 0, run.stderr
            expect(page.locator("#phase")).to_have_text("Finished: 6 rounds posted")
            expect(page.get_by_text("6 of 6").first).to_be_visible()
            # The chain ends with the run: what the page had not held against it by then stays open, and nothing is wrong.
            expect(page.locator("button.check.good, button.check.open")).to_have_count(6)
            assert page.locator("button.check.good").count() >= 1
            heard = page.evaluate("window.heard")
            rounds = {found[1] for line in heard if (found := re.match(r"Round (\d) of 6: ", line))}
            assert len(rounds) >= 2, heard  # it was live, not loaded once at the end
            summary = json.loads((folder / "summary.json").read_text())
            assert f"{summary['totals']['final_accuracy']:.1%}" in page.locator(".figures").inner_text()
            photograph(page, "run-finished")
        finally:
            page_process.send_signal(signal.SIGINT)
            page_process.wait(timeout=30)


def test_pay_is_followed_to_the_wei_and_claimed_through_the_wallet(tab, served, photograph, played):
    best = played.best
    earned = int(best["paid_wei"])

    def ask_chain(call: str) -> str:
        return httpx.post(played.deployment.url, json={"jsonrpc": "2.0", "id": 1, **json.loads(call)}, timeout=60).text

    # Somebody else sends the claim, and the money goes to the account all the same.
    stranger = connect(played.deployment.url).eth.accounts[-1]
    page = tab(
        f"{served(played.folder)}#/{best['account']}",
        before=WALLET.replace("ACCOUNT", stranger),
        functions={"askChain": ask_chain},
    )
    expect(page.get_by_text("No round is final yet")).to_be_visible()
    # What the browser recomputed is told in the words of the report.
    reason = explanation(standing_of(played.summary, best["account"]), whose="Your")
    expect(page.locator(".reason p").first).to_have_text(reason)
    expect(page.locator(".reason")).to_contain_text("are recomputed here from the leaves of round 3")
    expect(page.get_by_text("✓ holds")).to_have_count(4)
    w3 = connect(played.deployment.url)
    window = played.summary["config"]["task"]["challenge_window"]
    devnet_call(w3, "evm_increaseTime", window + 60)
    devnet_call(w3, "evm_mine")
    # The page hears of the new block by itself.
    button = page.get_by_role("button", name="Claim ")
    expect(button).to_be_visible()
    photograph(page, "client-before-claim")
    before = played.token.balance(best["account"])
    button.click()
    expect(page.locator(".claim .told")).to_contain_text("paid ")
    expect(page.get_by_text("Nothing is open")).to_be_visible()
    assert played.escrow.claimed(played.task_id, best["account"]) == earned
    assert played.token.balance(best["account"]) - before == earned
    photograph(page, "client-after-claim")


def test_a_client_finds_its_leaf_by_its_address_and_a_stranger_is_told_so(tab, served, played):
    page = tab(served(played.folder))
    page.get_by_label("Your account").fill(played.best["account"])
    page.get_by_role("button", name="Show its leaf").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(played.best["name"])
    page.get_by_text(re.compile(r"^Leaf \d of 5 and its proof")).click()
    root = played.summary["rounds"][-1]["header"]["tree_root"]
    expect(page.locator(f'code[title="{root}"]')).to_be_visible()


def test_a_leaf_that_was_tampered_with_loses_its_check_mark_and_the_page_says_why(
    tab, served, photograph, played, tmp_path
):
    folder = tmp_path / "tampered"
    shutil.copytree(played.folder, folder)
    path = folder / "bundles" / "round-0002" / "round.json"
    told = json.loads(path.read_text())
    told["leaves"][1]["cumulative"] = str(int(told["leaves"][1]["cumulative"]) + 1)  # one wei
    path.write_text(json.dumps(told, sort_keys=True, separators=(",", ":")) + "\n")
    page = tab(served(folder))
    expect(page.locator('tr[data-round="2"] button.check')).to_contain_text("✗ differs")
    for sound in (1, 3):
        expect(page.locator(f'tr[data-round="{sound}"] button.check')).to_contain_text("✓ recomputed")
    expect(page.get_by_text("1 differ")).to_be_visible()
    page.locator('tr[data-round="2"] button.check').click()
    for what in ("round.json is the one that the manifest names", "tree root from the leaves", "sum of all pay"):
        finding = page.locator(".findings li", has_text=what)
        expect(finding.locator(".bad")).to_have_text("✗ differs")
    # What was signed and posted is as it was.
    for what in ("header hash is the contract's", "signed by the task's evaluators", "the row above is the header's"):
        expect(page.locator(".findings li", has_text=what).locator(".good")).to_have_text("✓ holds")
    photograph(page, "tampered")


def test_a_real_coordinators_page_has_a_name_takes_clients_and_opens_every_account(
    tab, served, photograph, played, tmp_path
):
    """Of a client on another machine nobody but itself knows the rows; it may have chosen a name, and left."""
    folder = tmp_path / "coordinator"
    shutil.copytree(played.folder, folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["task"] |= {"name": "Digits by post", "description": "Reads digits off envelopes"}
    for client in summary["clients"]:
        client |= {"samples": None, "class_counts": None, "name": f"Post office {client['number']}"}
    write_whole(folder / "summary.json", json.dumps(summary).encode())
    invite = json.loads((folder / "invite.json").read_text())
    (folder / "invite.json").write_text(json.dumps(invite | {"gateway": "https://hub.example.org:8443"}))
    url = served(folder)
    for width in (1280, 390):
        page = tab(url, width=width)
        expect(page.get_by_role("heading", level=1)).to_have_text("Digits by post")
        expect(page.get_by_text("Reads digits off envelopes")).to_be_visible()
        expect(page.locator("tr th a").first).to_have_text("Post office 0")
        expect(page.locator("button.check.good")).to_have_count(3)
        expect(page.get_by_text("fl client https")).to_have_count(0)  # all rounds are posted
        assert whole(page)
        photograph(page, f"coordinator-{width}")
        page = tab(f"{url}#/{summary['clients'][0]['account']}", width=width)
        expect(page.get_by_role("heading", level=2)).to_have_text("Post office 0")
        expect(page.get_by_role("heading", name="Leave")).to_be_visible()
        assert whole(page)
        audit_accessibility(page)


def test_before_round_1_the_page_says_who_is_waited_for_and_how_to_join(tab, served, photograph, played, tmp_path):
    invite = json.loads((played.folder / "invite.json").read_text())
    invite |= {"gateway": "https://hub.example.org:8443", "name": "Digits by post"}
    (tmp_path / "invite.json").write_text(json.dumps(invite))
    (tmp_path / "waiting.json").write_text('{"wanted": 5, "joined": 3, "connected": 2}')
    page = tab(served(tmp_path), width=390)
    expect(page.get_by_role("heading", level=1)).to_have_text("Digits by post")
    expect(page.locator("#phase")).to_have_text("3 of 5 clients joined, 2 connected: 2 more are waited for")
    expect(page.get_by_text("fl client https://hub.example.org:8443/ FILE")).to_be_visible()
    expect(page.get_by_role("img", name="QR code of the invite's link")).to_be_visible()
    assert whole(page)
    photograph(page, "waiting-390")
    audit_accessibility(page)
    (tmp_path / "waiting.json").write_text('{"wanted": 5, "joined": 5, "connected": 4}')
    expect(page.locator("#phase")).to_have_text("5 clients joined, 4 of them connected: round 1 begins when 5 are")


def test_somebody_leaves_and_shows_the_token_through_the_wallet(tab, served, played):
    leaver = played.summary["clients"][3]["account"]
    asked = []

    def ask_chain(call):
        told = json.loads(call)
        if told["method"] == "wallet_watchAsset":
            asked.append(told["params"]["options"])
            return json.dumps({"result": True})
        return Web3.to_json(w3.provider.make_request(RPCEndpoint(told["method"]), told["params"]))

    w3 = connect(played.deployment.url)
    (symbol,) = decode(["string"], w3.eth.call({"to": played.deployment.token, "data": "0x95d89b41"}))
    start = devnet_call(w3, "evm_snapshot")
    devnet_call(w3, "anvil_impersonateAccount", leaver)
    page = tab(
        served(played.folder) + f"#/{leaver}",
        before=WALLET.replace("ACCOUNT", leaver),
        functions={"askChain": ask_chain},
    )
    page.get_by_role("button", name="Add the token to the wallet").click()
    expect(page.get_by_text("the wallet shows it now")).to_be_visible()
    assert asked == [{"address": played.deployment.token, "symbol": symbol, "decimals": 18}]
    page.get_by_role("button", name="Leave the task with the wallet").click()
    page.get_by_role("button", name="Leave for good").click()
    expect(page.get_by_text(re.compile("This account left before round"))).to_be_visible()
    assert played.escrow.client(played.task_id, leaver).left_round
    page.get_by_role("link", name="Back to the run").click()
    expect(page.get_by_text(re.compile("^left before round"))).to_be_visible()
    assert devnet_call(w3, "evm_revert", start)


def test_the_page_is_used_by_keyboard_and_tells_what_a_client_was_paid_for(tab, served, played):
    page = tab(served(played.folder))
    why = page.get_by_role("button", name=f"why {played.best['name']} was paid")
    why.focus()
    page.keyboard.press("Enter")
    expect(why).to_have_attribute("aria-expanded", "true")
    table = page.get_by_role("table", name=f"{played.best['name']}: score by class")
    expect(table.get_by_role("row")).to_have_count(11)  # a heading and ten digits
    expect(page.locator("tr.why p").first).to_contain_text("tokens for 1.0 of loss, the same for everybody")
    page.get_by_label("Colours").focus()
    for theme in ("light", "dark"):
        page.keyboard.press("ArrowDown")
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "dark")])
def test_the_page_reads_well_on_phone_and_screen_in_light_and_dark(tab, served, photograph, played, *, theme, width):
    url = served(played.folder)
    for name, place in (("run", ""), ("client", f"#/{played.best['account']}")):
        page = tab(url + place, width=width, color_scheme=theme)
        if name == "run":
            expect(page.locator("button.check.good")).to_have_count(3)
            expect(page.locator("run-chart svg")).to_have_count(8)
        else:
            expect(page.get_by_text("✓ holds")).to_have_count(4)
        assert whole(page)
        photograph(page, f"{name}-{width}-{theme}")
        audit_accessibility(page)


def test_the_report_draws_its_charts_without_a_server(tab, photograph, played, tmp_path):
    write_page(tmp_path / "report.html", played.summary)
    for width in (390, 1280):
        page = tab((tmp_path / "report.html").as_uri(), width=width)
        expect(page.locator('run-chart svg[role="img"]')).to_have_count(8)
        expect(page.locator(".key chart-mark svg")).to_have_count(5)
        assert fits(page)
        photograph(page, f"report-{width}")
    audit_accessibility(page)
