from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_files import cases

from fl.rewards import HIGHEST_PRICE, Account, allowed_by, largest_price, price_of, settle_round

addresses = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
scores = st.integers(-(2**62), 2**62)
budgets = st.integers(1, 10**27)
# A few names, so that accounts come back in later rounds.
rounds_of_scores = st.lists(
    st.dictionaries(st.sampled_from(["0x1", "0x2", "0x3", "0x4", "0x5"]), st.integers(-(2**58), 2**58)),
    min_size=1,
    max_size=10,
)


def play(history, budget):
    """Settle round after round; an account is enrolled from the round on in which it first has a score."""
    accounts = {}
    for number, drawn in enumerate(history, start=1):
        before = {**dict.fromkeys(drawn, Account()), **accounts}
        allowed = allowed_by(number, budget=budget, rounds=len(history))
        payout = settle_round(before, scores=drawn, allowed=allowed)
        yield before, payout
        accounts = payout.accounts


@pytest.mark.parametrize("case", cases("payout"), ids=lambda case: f"{len(case['history'][0]['accounts'])} clients")
def test_totals_prices_and_pays_are_those_of_the_vectors(case):
    accounts = {}
    for entry in case["history"]:
        allowed = allowed_by(entry["round"], budget=int(case["budget"]), rounds=case["rounds"])
        assert allowed == int(entry["allowed"])
        before = {client["account"]: accounts.get(client["account"], Account()) for client in entry["accounts"]}
        scored = {client["account"]: int(client["score"]) for client in entry["accounts"]}
        payout = settle_round(before, scores=scored, allowed=allowed)
        assert (payout.price, payout.cumulative) == (int(entry["price"]), int(entry["cumulative"]))
        for client in entry["accounts"]:
            after = payout.accounts[client["account"]]
            assert (after.total, after.cumulative) == (int(client["total"]), int(client["cumulative"]))
        accounts = payout.accounts


@given(rounds_of_scores, budgets)
def test_the_pay_is_within_a_wei_of_each_client_of_the_schedule(history, budget):
    for _, payout in play(history, budget):
        assert payout.cumulative <= payout.allowed <= budget
        assert payout.price == HIGHEST_PRICE or payout.cumulative > payout.allowed - max(1, len(payout.accounts))


@given(rounds_of_scores, budgets)
def test_nobody_s_pay_falls_and_everybody_above_its_last_has_the_same_price(history, budget):
    for before, payout in play(history, budget):
        for address, after in payout.accounts.items():
            assert payout.pays[address] == after.cumulative - before[address].cumulative >= 0
            if payout.pays[address]:
                assert after.cumulative == floor_of(payout.price * after.total)


@given(rounds_of_scores, budgets)
def test_the_last_round_pays_the_whole_budget_but_for_rounding(history, budget):
    *_, (_, last) = play(history, budget)
    if last.price < HIGHEST_PRICE and last.accounts:
        assert budget - len(last.accounts) < last.cumulative <= budget


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 10**25)), max_size=12), st.integers(0, 10**27))
def test_the_price_is_the_largest(drawn, more):
    accounts = [Account(total=total, cumulative=paid) for total, paid in drawn]
    allowed = sum(paid for _, paid in drawn) + more
    price = largest_price(accounts, allowed=allowed)
    assert sum(account.at(price) for account in accounts) <= allowed
    assert price == HIGHEST_PRICE or sum(account.at(price + 1) for account in accounts) > allowed


@given(st.dictionaries(addresses, scores, min_size=1, max_size=8), budgets, st.randoms())
def test_the_order_of_the_clients_changes_nothing(drawn, allowed, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)
    payouts = [
        settle_round(dict.fromkeys(order, Account()), scores=drawn, allowed=allowed) for order in (drawn, shuffled)
    ]
    assert payouts[0].price == payouts[1].price
    assert payouts[0].pays == payouts[1].pays


@given(st.lists(st.integers(2**20, 2**50), min_size=1, max_size=6), st.integers(10**6, 10**24), st.data())
def test_splitting_a_client_changes_nothing_but_rounding(drawn, allowed, data):
    whole = settle_round({str(i): Account() for i in range(len(drawn))},
                         scores={str(i): score for i, score in enumerate(drawn)}, allowed=allowed)  # fmt: skip
    part = data.draw(st.integers(0, drawn[0]))
    halves = {"a": part, "b": drawn[0] - part, **{str(i): score for i, score in enumerate(drawn) if i}}
    split = settle_round(dict.fromkeys(halves, Account()), scores=halves, allowed=allowed)
    # Each price is within what rounding costs its clients: a wei each, and a unit of the price at the largest total.
    slack = len(halves) + 1 + sum(drawn) // 2**64
    assert abs(split.pays["a"] + split.pays["b"] - whole.pays["0"]) <= slack


@given(st.integers(1, 2**40), st.integers(1, 10**24))
def test_rounds_of_noise_move_pay_by_no_more_than_they_move_totals(noise, allowed):
    earned = {"0x1": Account(total=2**45), "0x2": Account(total=2**45)}
    before = settle_round(earned, scores={}, allowed=allowed)
    after = settle_round(before.accounts, scores={"0x1": noise, "0x2": -noise}, allowed=2 * allowed)
    # A pot for the round would have given all of it to 0x1.
    share = Fraction(after.accounts["0x1"].total, 2**46)
    assert after.accounts["0x1"].cumulative <= share * 2 * allowed + 2


def test_a_negative_total_is_earned_back_before_anything_is_paid():
    accounts = {"0x1": Account(), "0x2": Account()}
    expected = [(-30, 10, 0, 100), (20, 0, 0, 200), (20, 0, 150, 150), (0, 10, 150, 250), (0, 0, 166, 333)]
    for number, (score, other_score, first, second) in enumerate(expected, start=1):
        payout = settle_round(accounts, scores={"0x1": score * 2**40, "0x2": other_score * 2**40}, allowed=100 * number)
        accounts = payout.accounts
        if number == 3:  # 10 and 10 of the scores, but 200 were paid before: what is new goes to the one who is behind
            assert (accounts["0x1"].cumulative, accounts["0x2"].cumulative) == (100, 200)
            break
        assert (accounts["0x1"].cumulative, accounts["0x2"].cumulative) == (first, second)


def test_a_client_that_did_not_take_part_keeps_its_pay_and_its_total():
    payout = settle_round(
        {"0x1": Account(total=9, cumulative=70), "0x2": Account()}, scores={"0x2": 2**50}, allowed=100
    )
    assert payout.accounts["0x1"] == Account(total=9, cumulative=70)
    assert payout.pays == {"0x1": 0, "0x2": 30}


def test_where_nobody_has_a_positive_total_what_is_allowed_waits():
    payout = settle_round({"0x1": Account()}, scores={"0x1": -1}, allowed=100)
    assert (payout.price, payout.cumulative) == (HIGHEST_PRICE, 0)
    later = settle_round(payout.accounts, scores={"0x1": 2**40}, allowed=200)
    assert later.cumulative == 200 or later.allowed - later.cumulative < 1


def test_a_price_reads_as_tokens_for_one_of_loss():
    payout = settle_round({"0x1": Account()}, scores={"0x1": 2**38}, allowed=125 * 10**18)
    assert price_of(payout.price) == pytest.approx(500)  # a quarter of one took 125 tokens


def test_more_paid_than_the_schedule_allows_is_refused():
    with pytest.raises(ValueError, match="7 wei were paid before, and the schedule allows 6"):
        largest_price([Account(total=1, cumulative=7)], allowed=6)


def test_a_score_without_an_account_is_refused():
    with pytest.raises(KeyError, match="not enrolled: 0x9"):
        settle_round({"0x1": Account()}, scores={"0x9": 1}, allowed=1)


@pytest.mark.parametrize("number", [0, 3])
def test_the_schedule_has_no_other_rounds(number):
    with pytest.raises(ValueError, match=f"round {number} is not among the 2 rounds"):
        allowed_by(number, budget=1, rounds=2)


def floor_of(product: int) -> int:
    """floor(product / 2^64), by fractions."""
    exact = Fraction(product, 2**64)
    return exact.numerator // exact.denominator
