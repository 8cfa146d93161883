"""The page of a run: whole, self-contained, and safe whatever the clients are called."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from report.run_summary import client_of, refuse_everything, run_summary

from fl.report.drawing import CHARTS
from fl.report.page import page, write_page
from fl.report.wording import tokens
from fl.rewards import HIGHEST_PRICE

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Structure(HTMLParser):
    """Every tag closes, and what the page asks for is kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


CASES = {
    "six clients, four rounds": run_summary(),
    "one client, one round": run_summary(clients=1, rounds=1),
    "a hundred clients, thirty rounds": run_summary(clients=100, rounds=30),
    "nothing but refusals": refuse_everything(run_summary()),
    "one round of nothing but refusals": refuse_everything(run_summary(clients=1, rounds=1)),
    "negative scores": run_summary(score=-0.01),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def summary(request):
    return request.param


def test_every_tag_closes_and_every_link_has_its_target(summary):
    structure = Structure(page(summary))
    assert structure.open == []
    ids = [attributes["id"] for _, attributes in structure.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in structure.tags if tag == "a"]
    assert links
    assert all(link.removeprefix("#") in ids for link in links)


def test_nothing_is_fetched_and_only_the_charts_run(summary):
    text = page(summary)
    structure = Structure(text)
    scripts = [attributes for tag, attributes in structure.tags if tag == "script"]
    # Eight charts as data, and one script that the policy names by its hash.
    assert [script.get("type") for script in scripts] == ["application/json"] * 8 + [None]
    script = CHARTS.read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"<script>{script}</script>" in text
    assert f"script-src 'sha256-{allowed}'" in text
    for tag, attributes in structure.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form", "img")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    markup = text.replace(script, "")
    assert "url(" not in markup
    assert "@import" not in markup
    assert "default-src 'none'" in markup


def test_a_page_stays_below_a_megabyte():
    assert len(page(run_summary(clients=100, rounds=30)).encode()) < 1_000_000


def test_every_client_is_there_with_account_pay_and_balance(summary):
    structure = Structure(page(summary))
    notes = {attributes.get("title") for _, attributes in structure.tags}
    for client in summary["clients"]:
        assert client["account"] in structure.text
        for key in ("paid_wei", "claimed_wei", "balance_wei"):
            assert f"{client[key]} wei" in notes


def test_a_page_from_before_the_claims_says_so():
    summary = run_summary(clients=3)
    earned = [client for client in summary["clients"] if int(client["paid_wei"])]
    for client in summary["clients"]:
        client["claimed_wei"] = "0"
    summary["totals"]["paid_wei"] = "0"
    text = Structure(page(summary)).text
    whole = tokens(sum(int(client["paid_wei"]) for client in earned))
    assert f"when this page was written; {whole} can be claimed" in text
    assert text.count("not yet") == 1 + len(earned)
    assert "read back from the contract and the token when this page was written" in text
    earned[0]["claimed_wei"] = summary["totals"]["paid_wei"] = earned[0]["paid_wei"]
    rest = tokens(sum(int(client["paid_wei"]) for client in earned[1:]))
    assert f"{rest} not claimed when this page was written" in Structure(page(summary)).text


def test_every_round_is_there_with_its_hashes(summary):
    text = Structure(page(summary)).text
    for round_ in summary["rounds"]:
        for value in (
            round_["transaction"],
            round_["header"]["tree_root"],
            round_["header"]["bundle"],
            round_["bundle"],
        ):
            assert value in text


def drawings(text: str) -> list[dict]:
    """What the charts of a page are given to draw; JSON that is not JSON fails here."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not a number of JSON")

    found = re.findall(r'<script type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    return [json.loads(text, parse_constant=refuse) for text in found]


def test_plots_and_tables_have_names_and_headings(summary):
    structure = Structure(page(summary))
    plots = drawings(page(summary))
    assert len(plots) == 8
    assert all(plot["name"] for plot in plots)
    count = {
        name: sum(tag == name for tag, _ in structure.tags) for name in ("table", "caption", "figure", "figcaption")
    }
    assert count["table"] == count["caption"]
    assert count["figure"] == count["figcaption"] == 8
    headings = [attributes for tag, attributes in structure.tags if tag == "th"]
    assert all(attributes["scope"] in ("row", "col") for attributes in headings)


def test_the_same_summary_gives_the_same_bytes(tmp_path, summary):
    write_page(tmp_path / "one.html", summary)
    write_page(tmp_path / "two.html", summary)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        '<script>alert("1")</script>',
        "'\"><img src=x onerror=alert(1)>",
        "</title></style></script></svg><h1>",
        "&lt;b&gt;",
        "a" * 3000,
        "قسم القلب",
        "",
    ],
)
@pytest.mark.parametrize("clients", [3, 14])
def test_a_hostile_name_is_only_text(name, clients):
    summary = run_summary(clients=clients)
    client_of(summary, 0)["name"] = name
    client_of(summary, 1)["behaviour"] = name
    summary["rounds"][0]["refusals"] = [{"node_id": 2, "account": name, "reason": name}]
    summary["config"]["data"]["path"] = f"/data/{name}"
    hostile = Structure(page(summary))
    for client in (client_of(summary, 0), client_of(summary, 1)):
        client.update(name="tame", behaviour="tame")
    summary["rounds"][0]["refusals"] = [{"node_id": 2, "account": "tame", "reason": "tame"}]
    summary["config"]["data"]["path"] = "/data/tame"
    tame = Structure(page(summary))
    assert hostile.open == []
    assert {tag for tag, _ in hostile.tags} == {tag for tag, _ in tame.tags}
    assert _attributes(hostile) == _attributes(tame)
    assert name in hostile.text


def _attributes(structure: Structure) -> set[str]:
    return {name for _, attributes in structure.tags for name in attributes}


def test_a_name_that_utf_8_cannot_hold_is_written_with_a_mark_in_its_place(tmp_path):
    summary = run_summary()
    client_of(summary, 0)["name"] = "sch\udce4fer\x00\x1b[31m"  # a file name in Latin-1, as Python reads it
    write_page(tmp_path / "report.html", summary)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "sch\ufffdfer\ufffd\ufffd[31m" in text


def test_the_page_does_not_carry_the_key_of_a_paid_rpc_service():
    summary = run_summary()
    summary["config"]["chain"]["url"] = "https://user:password@rpc.example:8545/v3/0123456789abcdef?key=secret"
    text = page(summary)
    assert "https://rpc.example:8545/…" in text
    for secret in ("user", "password", "0123456789abcdef", "secret"):
        assert secret not in Structure(text).text.partition("Settings, as key=value")[2]


def test_a_refusal_stands_with_its_round_client_and_reason():
    summary = run_summary()
    account = client_of(summary, 1)["account"]
    summary["rounds"][2]["refusals"] = [{"node_id": 3, "account": account, "reason": "signed by somebody else"}]
    assert "signed by somebody else" in page(summary)
    assert "No update was refused" not in page(summary)
    assert "No update was refused" in page(run_summary())


def test_attested_scores_are_called_so_and_provable_ones_are_not():
    summary = run_summary()
    assert "attested by evaluators, not provable on chain" not in Structure(page(summary)).text
    summary["task"].update(attested=True, scorer="shapley")
    text = Structure(page(summary)).text
    assert "shapley scores, attested" in text
    assert (
        "attested by evaluators, not provable on chain: the rule shapley is not an inner product of two vectors" in text
    )


def test_a_loss_that_is_not_a_number_does_not_stop_the_page():
    summary = run_summary()
    summary["rounds"][1]["test_loss"] = float("nan")
    summary["rounds"][3]["loss_after"] = summary["totals"]["final_loss"] = float("inf")
    assert Structure(page(summary)).open == []
    assert len(drawings(page(summary))) == 8


def test_gas_that_is_part_of_another_line_is_not_counted_twice():
    summary = run_summary()
    summary["gas"] = {
        name: {"count": 1, "median": used, "least": used, "most": used, "total": used}
        for name, used in (("post", 70_000), ("claim_range", 200_000), ("claim_range_each", 50_000))
    }
    assert "270,000 in all" in page(summary)


def test_each_client_is_told_why_it_earned_what_it_earned():
    summary = run_summary(clients=3)
    text = Structure(page(summary)).text
    assert "Why each earned what it earned" in text
    assert text.count("The price is 10,000.00 tokens for 1.0 of loss, the same for everybody") == 3
    assert "as little as 50.0% of its own" in text  # client-0, whose updates were too long
    many = Structure(page(run_summary(clients=103, rounds=2))).text
    assert "3 more clients: the live page tells each why." in many


def test_the_rules_of_length_and_public_step_are_told():
    summary = run_summary()
    summary["config"]["task"]["length"], summary["config"]["scorer"]["public_rounds"] = "median", 2
    text = Structure(page(summary)).text
    assert "held to the median of each round, by stake" in text
    assert "along the steps of the last 2 rounds; those steps and the directions pay nobody" in text
    summary["config"]["task"]["length"], summary["config"]["scorer"]["public_rounds"] = "capped", 0
    text = Structure(page(summary)).text
    assert "held to the task's cap" in text
    assert "none, and all of a direction pays" in text


def test_a_round_tells_its_price_and_who_took_what_off_the_loss():
    text = Structure(page(run_summary(rounds=1))).text
    for told in ("Off it by clients", "+0.7667", "By the public step", "+0.3833", "Price", "10,000.00"):
        assert told in text
    without = run_summary(rounds=1)
    without["rounds"][0].update(public_rate=None, price=None, price_q64=str(HIGHEST_PRICE))
    assert "+0.3833" not in Structure(page(without)).text


def test_a_task_of_real_machines_has_its_own_name_and_rows_that_nobody_dealt():
    summary = run_summary()
    assert "dirichlet partition" in page(summary)
    for client in summary["clients"]:
        client["samples"] = None
    summary["task"]["name"] = "Ill or well"
    written = page(summary)
    assert "<h1><bdi>Ill or well: 6 clients paid by score in 4 rounds</bdi></h1>" in written
    assert "the clients&#x27; own rows" in written
    assert "dirichlet partition" not in written
