"""A check mark of the page is earned: each lie takes the mark away that it makes false, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import pytest
from audit.liar import TOKENS, Liar, rescored, robbed
from dashboard.reading import audit_accessibility, fits
from playwright.sync_api import Locator, Page, expect
from report.run_summary import run_summary
from waiting import wait_for

from fl.audit.disputes.proofs import Published
from fl.bundle.format import read_header, write_header
from fl.chain.clock import pass_time
from fl.chain.typed_data import header_hash, sign
from fl.chain.whole_file import write_whole
from fl.dashboard.chain_status import ChainStatus
from fl.report.wording import tokens
from fl.rewards import Account, Leaf

expect.set_options(timeout=90_000)
CARRIED = "what is carried over is what round {} posted"
FOLLOWS = "totals and pay follow from the scores, the price and what is carried over"
PRICED = "price is the largest that the schedule allows"
STEPS = ("total", "price", "earned so far", "pay")  # rows that rest on nothing that is only told
NOWHERE = "http://127.0.0.1:9"  # where no chain answers


@pytest.fixture
def liar(new_world) -> Liar:
    """A task of three clients, whose coordinator and two evaluators sign whatever they like."""
    return Liar(new_world(rounds=4, evaluators=2, quorum=2, bond=100 * TOKENS, may_stop=True))


@pytest.fixture
def show(served) -> Callable[..., str]:
    """Serves the page of a liar's rounds; `tamper` may change what the run's summary tells of them."""

    def page_of(
        liar: Liar,
        rounds: Sequence[Published],
        *,
        url: str | None = None,
        tamper: Callable[[dict], object] = lambda _: None,
    ) -> str:
        folder, deployment = liar.world.folder, liar.world.deployment
        replace(deployment, url=url or deployment.url).write(folder / "deployment.json")
        summary = summary_of(liar, rounds)
        tamper(summary)
        write_whole(folder / "summary.json", json.dumps(summary).encode())
        return served(folder)

    return page_of


def summary_of(liar: Liar, rounds: Sequence[Published]) -> dict:
    """What an honest run would tell of the rounds that were posted."""
    text = json.dumps(run_summary(clients=len(liar.world.clients), rounds=len(rounds)))
    for number, account in enumerate(liar.world.addresses):
        text = text.replace(f"0x{number + 1:040x}", account)
    summary = json.loads(text)
    signers = [evaluator.address for evaluator in liar.world.evaluators]
    summary["task"] |= {
        "id": "0x" + liar.task.task_id.hex(), "contract": liar.escrow.address, "evaluators": signers, "quorum": 2
    }  # fmt: skip
    before: dict[str, int] = {}
    for told, posted in zip(summary["rounds"], rounds, strict=True):
        after = {leaf.account: leaf.cumulative for leaf in posted.leaves}
        told |= {
            "header": {
                name: "0x" + value.hex() if isinstance(value, bytes) else str(value)
                for name, value in asdict(posted.header).items()
            },
            "header_hash": "0x" + header_hash(posted.header).hex(),
            "evaluators": signers,
            "price_q64": str(posted.header.price),
            "totals_q40": {leaf.account: str(leaf.total) for leaf in posted.leaves},
            "pays_wei": {account: str(total - before.get(account, 0)) for account, total in after.items()},
            "cumulative_wei": {account: str(total) for account, total in after.items()},
            "scores_q40": {leaf.account: str(leaf.score) for leaf in posted.leaves},
        }
        before = after
    return summary


def indebted(liar: Liar) -> Published:
    """Post a first round, honest but for the score: the first client is as far below zero as it put on the loss."""
    made = liar.honest(1)
    return liar.post_leaves(made, rescored(made, {made.settlement.tree.leaves[0].account: -(2**30)}))


def pretend(liar: Liar, leaves: Sequence[Leaf]) -> None:
    """Let the next round follow from other leaves than those that were posted."""
    liar.leaves = tuple(leaves)
    liar.accounts = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in leaves}


def button(page: Page, number: int) -> Locator:
    """The check mark of a round."""
    return page.locator(f'tr[data-round="{number}"] button.check')


def differing(page: Page, number: int) -> list[str]:
    """What of a round is said to differ, once it is looked at."""
    expect(button(page, number)).to_contain_text("✗ differs")
    button(page, number).click()
    bad = page.locator(".findings li", has=page.locator(".bad"))
    expect(bad.first).to_be_visible()
    return bad.all_inner_texts()


def step(page: Page, name: str) -> Locator:
    """The last cell of a row in the table from score to wei."""
    row = page.locator("#account tr", has=page.get_by_role("rowheader", name=name, exact=True))
    return row.locator("td").last


def choose(page: Page, number: int) -> None:
    """Look at another round of an account."""
    page.get_by_label("From score to wei, in round").select_option(str(number))


def test_honest_rounds_earn_every_mark_but_those_of_numbers_that_are_only_told(liar, show, tab, photograph):
    url = show(liar, [liar.post_honest(number) for number in (1, 2, 3)])
    page = tab(url)
    expect(page.locator("button.check.good", has_text="✓ recomputed")).to_have_count(3)
    button(page, 3).click()
    expect(page.locator(".findings .good")).to_have_count(11)
    expect(page.locator(".findings .good")).to_have_count(page.locator(".findings li").count())
    photograph(page, "check-honest")
    page = tab(f"{url}#/{liar.world.addresses[0]}")
    for name in STEPS:
        expect(step(page, name)).to_have_text("✓ holds")
    expect(step(page, "weight")).to_have_text("only told")  # the updates that it follows from are not public
    expect(step(page, "score")).to_have_text("adds up")  # from a product that nobody here can recompute
    photograph(page, "steps-honest")


def test_a_product_that_does_not_give_the_score_differs(liar, show, tab):
    url = show(liar, [liar.post_honest(1)])
    mine, other = (
        liar.bundles / "round-0001" / "updates" / f"{account}.blocks" for account in liar.world.addresses[:2]
    )
    mine.write_bytes(other.read_bytes())
    page = tab(f"{url}#/{liar.world.addresses[0]}")
    expect(step(page, "score")).to_have_text("✗ differs")
    expect(step(page, "total")).to_have_text("✓ holds")


def wiped(leaves: Sequence[Leaf]) -> list[Leaf]:
    return [replace(leaves[0], total=0), *leaves[1:]]


def cut(leaves: Sequence[Leaf]) -> list[Leaf]:
    first, second, *others = leaves
    return [
        first,
        replace(second, cumulative=0),
        *(replace(leaf, cumulative=leaf.cumulative + second.cumulative) for leaf in others),
    ]


@pytest.mark.parametrize(("lie", "victim"), [(wiped, 0), (cut, 1)])
def test_a_round_that_follows_from_other_leaves_than_were_posted_differs(liar, show, tab, photograph, *, lie, victim):
    first = indebted(liar)
    pretend(liar, lie(first.leaves))
    # Signed, posted, and right in itself: only what it began from is false.
    rounds = [first, liar.post_honest(2), liar.post_honest(3)]
    url = show(liar, rounds)
    page = tab(url)
    told = differing(page, 2)
    assert [line.startswith(f"✗ differs {CARRIED.format(1)}: ") for line in told] == [True], told
    assert "tree root from the leaves: 0x" in told[0]
    expect(button(page, 3)).to_contain_text("✓ recomputed")
    expect(page.get_by_text("1 differ")).to_be_visible()
    photograph(page, f"check-{lie.__name__}")
    page = tab(f"{url}#/{first.leaves[victim].account}")
    choose(page, 2)
    for name in STEPS:
        expect(step(page, name)).to_have_text("✗ differs")
    choose(page, 3)
    for name in STEPS:
        expect(step(page, name)).to_have_text("✓ holds")


def test_nothing_is_carried_over_into_the_first_round(liar, show, tab):
    made = liar.honest(1)
    pretend(liar, [replace(leaf, total=-(2**30), cumulative=0) for leaf in made.settlement.tree.leaves])
    page = tab(show(liar, [liar.post_honest(1)]))
    assert differing(page, 1) == ["✗ differs nothing is carried over into round 1: leaves before it: 3 here, 0 can be"]


def test_pay_that_does_not_follow_from_the_scores_differs(liar, show, tab):
    first = liar.post_honest(1)
    made = liar.honest(2)
    lie = liar.post_leaves(made, robbed(made))
    page = tab(show(liar, [first, lie]))
    told = differing(page, 2)
    first_account, other = (leaf.account for leaf in lie.leaves[:2])
    assert told == [f"✗ differs {FOLLOWS}: not those of {first_account}, {other}"]
    expect(button(page, 1)).to_contain_text("✓ recomputed")


def test_a_price_that_is_not_the_largest_differs(liar, show, tab, photograph):
    made = liar.honest(1)
    low = made.header.price - 1
    made.header = replace(made.header, price=low)
    leaves = [replace(leaf, cumulative=low * max(0, leaf.total) >> 64) for leaf in made.settlement.tree.leaves]
    # Within a wei a client of the schedule: the contract takes it.
    page = tab(show(liar, [liar.post_leaves(made, leaves)]))
    (told,) = differing(page, 1)
    assert told.startswith(f"✗ differs {PRICED}: {low} was posted, {low + 1} is the largest for ")
    photograph(page, "check-price")


def test_a_mark_says_what_is_left_open_while_the_chain_is_away(liar, show, tab, photograph):
    rounds = [liar.post_honest(number) for number in (1, 2)]
    # Two keys of nobody: without the chain, the page cannot tell them from the evaluators.
    strangers = [sign(rounds[1].header, domain=liar.task.domain, account=client) for client in liar.world.clients[:2]]
    folder = liar.bundles / "round-0002"
    honest = read_header(folder)[1]

    def signed_by_strangers(summary: dict) -> None:
        summary["rounds"][1]["evaluators"] = liar.world.addresses[:2]

    write_header(folder, rounds[1].header, signatures=strangers)
    url = show(liar, rounds, url=NOWHERE, tamper=signed_by_strangers)
    page = tab(url)
    expect(page.locator("button.check.open")).to_have_count(2)
    expect(page.locator("button.check.good")).to_have_count(0)
    expect(button(page, 2)).to_contain_text("root only")
    open_names = "header hash is the contract's; signed by the task's evaluators; " + f"{CARRIED.format(1)}; {PRICED}"
    expect(page.get_by_role("button", name=f"root only round 2, not checked: {open_names}")).to_be_visible()
    figure = page.locator(".figures > div", has_text="Recomputed here")
    expect(figure).to_contain_text("0 of 2")
    expect(figure).to_contain_text("rounds, and 2 only to their tree root")
    button(page, 2).click()
    expect(page.locator(".findings p").first).to_contain_text(f"Not checked: {open_names}.")
    expect(page.locator(".findings li", has_text="signed by")).to_contain_text("not checked")
    photograph(page, "check-chain-away")
    for theme in ("light", "dark"):
        phone = tab(url, width=390, color_scheme=theme)
        expect(phone.locator("button.check.open")).to_have_count(2)
        button(phone, 2).click()
        expect(phone.locator(".findings p").first).to_be_visible()
        assert fits(phone)
        audit_accessibility(phone)
        photograph(phone, f"check-chain-away-390-{theme}")
    page = tab(f"{url}#/{liar.world.addresses[0]}")
    for name in ("score", *STEPS):
        expect(step(page, name)).to_have_text("adds up")
    expect(page.get_by_text("✓ holds")).to_have_count(0)
    expect(page.get_by_text("so nothing can be claimed through this page")).to_be_visible()
    photograph(page, "steps-chain-away")
    # The chain tells them apart.
    page = tab(show(liar, rounds, tamper=signed_by_strangers))
    assert differing(page, 2)[0].startswith("✗ differs signed by the task's evaluators: 0 of 2 signed, 2 needed")
    expect(button(page, 1)).to_contain_text("✓ recomputed")
    write_header(folder, rounds[1].header, signatures=honest)
    page = tab(show(liar, rounds))
    expect(page.locator("button.check.good")).to_have_count(2)


def test_a_row_that_shows_something_else_than_the_header_differs(liar, show, tab, photograph):
    posted = [liar.post_honest(number) for number in (1, 2, 3, 4)]
    somebody = liar.world.addresses[0]

    def tamper(summary: dict) -> None:
        root, price, pay, signers = summary["rounds"]
        root["header"]["tree_root"] = "0x" + "ab" * 32
        price["price_q64"] = str(posted[1].header.price + 1)
        pay["pays_wei"][somebody] = str(int(pay["pays_wei"][somebody]) + 1)
        signers["evaluators"] = [*signers["evaluators"], somebody]

    page = tab(show(liar, posted, tamper=tamper))
    for number, lie in enumerate(("tree root: 0x" + "ab" * 32, "price: ", "paid: ", "signers: "), start=1):
        told = differing(page, number)
        assert [line.startswith(f"✗ differs the row above is the header's: {lie}") for line in told] == [True], told
        button(page, number).click()
    photograph(page, "check-rows")


def test_a_claim_says_what_of_its_round_is_not_checked(liar, show, tab, photograph):
    rounds = [liar.post_honest(number) for number in (1, 2, 3)]
    account = liar.world.addresses[0]
    (liar.bundles / "round-0002" / "header.json").unlink()
    pass_time(liar.world.w3, until=liar.escrow.posted_at(liar.task.task_id, 3) + 101)

    def tamper(summary: dict) -> None:
        summary["rounds"][1]["header"]["tree_root"] = "0x" + "ab" * 32

    absent = ("rounds/2/header.json", "rounds/3/round.json")
    wallet = "window.ethereum = { request: async () => { throw new Error('not asked') } }"
    page = tab(f"{show(liar, rounds, tamper=tamper)}#/{account}", before=wallet, absent=absent)
    button_of = re.compile("^Claim .* tokens with the wallet$")
    claim = page.get_by_role("button", name=button_of)
    expect(claim).to_be_enabled()
    warning = page.locator(".claim .open")
    expect(warning).to_contain_text(f"Not checked here in round 3: {CARRIED.format(2)}.")
    expect(claim).to_have_accessible_description(re.compile("Not checked here in round 3"))
    for name in STEPS:
        expect(step(page, name)).to_have_text("adds up")
    photograph(page, "claim-open")
    page.set_viewport_size({"width": 390, "height": 900})
    page.get_by_label("Colours").select_option("dark")
    assert fits(page)
    audit_accessibility(page)
    photograph(page, "claim-open-390-dark")
    # Found false, the round is not claimed from; found right, there is nothing to say.
    page = tab(
        f"{show(liar, rounds, tamper=lambda summary: summary['rounds'][2].update(price_q64='1'))}#/{account}",
        before=wallet,
        absent=absent,
    )
    expect(page.get_by_role("alert")).to_have_text("Round 3 did not pass its check: this page does not claim from it.")
    expect(page.get_by_role("button", name=button_of)).to_have_count(0)
    page = tab(f"{show(liar, rounds)}#/{account}", before=wallet, absent=absent)
    expect(page.get_by_role("button", name=button_of)).to_be_enabled()
    expect(page.locator(".claim .open")).to_have_count(0)
    # Without its files there is no proof to claim with, and the page does not pretend to be at work.
    (liar.bundles / "round-0003" / "round.json").unlink()
    page = tab(f"{show(liar, rounds)}#/{account}", before=wallet, absent=absent)
    expect(page.get_by_text("The files of round 3, the last final one, are not here to claim with")).to_be_visible()


def test_a_price_is_held_against_the_budget_and_the_rounds_that_count_on_chain(liar, show, tab):
    sponsor, task_id = liar.world.sponsor, liar.task.task_id
    rounds = [liar.post_honest(1)]
    liar.world.token.mint(sponsor.address, 50 * TOKENS, account=sponsor)
    liar.world.token.approve(liar.escrow.address, 50 * TOKENS, purpose="addition", account=sponsor)
    liar.escrow.add_budget(task_id, 50 * TOKENS, account=sponsor)  # counts from round 3
    rounds.append(liar.post_honest(2))
    liar.escrow.stop(task_id, account=sponsor)  # round 3 is the last, and pays everything
    rounds.append(liar.post_honest(3))
    assert rounds[2].header.cumulative == pytest.approx(liar.task.terms.budget + 50 * TOKENS)
    page = tab(show(liar, rounds))
    expect(page.locator("button.check.good", has_text="✓ recomputed")).to_have_count(3)


def test_what_a_silent_coordinator_lost_is_in_what_can_be_claimed(liar, show, tab):
    posted = liar.post_honest(1)
    w3, task_id = liar.world.w3, liar.task.task_id
    since = liar.escrow.posted_at(task_id, 1)
    pass_time(w3, until=since + liar.task.terms.round_timeout + 1)
    liar.escrow.expire(task_id, account=liar.world.clients[0])
    best = max(posted.leaves, key=lambda leaf: leaf.cumulative)
    due = liar.task.state().due(best.cumulative)
    assert due > best.cumulative
    page = tab(f"{show(liar, [posted])}#/{best.account}")
    expect(page.get_by_text(f"{tokens(due)} tokens can be claimed now, from round 1")).to_be_visible()


def test_a_mark_goes_when_the_chain_no_longer_has_the_round(liar, show, tab, devnet):
    w3 = liar.world.w3
    rounds, before = [liar.post_honest(1)], devnet(w3, "evm_snapshot")
    rounds.append(liar.post_honest(2))
    page = tab(show(liar, rounds))
    expect(page.locator("button.check.good")).to_have_count(2)
    assert devnet(w3, "evm_revert", before)
    assert differing(page, 2) == ["✗ differs header hash is the contract's: the contract has no round 2"]
    expect(button(page, 1)).to_contain_text("✓ recomputed")


def test_a_chain_that_was_put_back_is_read_anew(liar, devnet, monkeypatch):
    monkeypatch.setattr("fl.dashboard.chain_status._FRESH_S", 0.0)
    w3, task_id = liar.world.w3, liar.task.task_id
    # A coordinator posts again what a reorganisation took back; the one of this test posts another round in its place.
    monkeypatch.setattr(type(liar.task), "keep_posted", lambda task: None)
    standing = ChainStatus(liar.world.folder, liar.world.deployment)
    before, made = devnet(w3, "evm_snapshot"), liar.honest(1)
    told = []
    for leaves in (made.settlement.tree.leaves, robbed(made)):
        assert devnet(w3, "evm_revert", before)
        before = devnet(w3, "evm_snapshot")
        posted = liar.post_leaves(made, leaves)
        told.append("0x" + header_hash(posted.header).hex()[:54])
        # Who asks is given what was read last, while the chain is asked anew.
        wait_for(
            lambda hash=told[-1]: [row["hash"] for row in standing.of_task(task_id).get("rounds", [])] == [hash],
            what="the round that is on chain now",
        )
    assert told[0] != told[1]
