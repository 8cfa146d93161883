import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_files import cases

from fl.rewards import Account, pot_of, settle_round

addresses = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
scores = st.integers(-(2**90), 2**90)


@pytest.mark.parametrize("case", cases("payout"), ids=lambda case: f"{len(case['history'][0]['accounts'])} clients")
def test_balances_and_pays_are_those_of_the_vectors(case):
    accounts, paid = {}, 0
    for entry in case["history"]:
        rounds_left = case["rounds"] - entry["round"] + 1
        pot = pot_of(budget=int(case["budget"]), paid_before=paid, rounds_left=rounds_left)
        assert pot == int(entry["pot"])
        before = {one["account"]: accounts.get(one["account"], Account()) for one in entry["accounts"]}
        payout = settle_round(before, scores={o["account"]: int(o["score"]) for o in entry["accounts"]}, pot=pot)
        for one in entry["accounts"]:
            after = payout.accounts[one["account"]]
            assert payout.pays[one["account"]] == int(one["pay"])
            assert (after.balance, after.cumulative) == (int(one["balance"]), int(one["cumulative"]))
        accounts, paid = payout.accounts, paid + payout.paid
        assert paid == int(entry["cumulative"])


@given(st.dictionaries(addresses, scores, min_size=1, max_size=8), st.integers(0, 10**27))
def test_payouts_of_a_round_sum_to_its_pot(drawn, pot):
    payout = settle_round(dict.fromkeys(drawn, Account()), scores=drawn, pot=pot)
    assert payout.paid == (pot if any(score > 0 for score in drawn.values()) else 0)
    assert all(payout.pays[address] >= 0 for address in drawn)


@given(
    st.lists(st.dictionaries(st.sampled_from(["0x1", "0x2", "0x3"]), scores), min_size=1, max_size=12),
    st.integers(0, 10**24),
)
def test_a_whole_task_never_pays_more_than_its_budget(history, budget):
    accounts, paid = {address: Account() for address in ("0x1", "0x2", "0x3")}, 0
    for number, drawn in enumerate(history):
        pot = pot_of(budget=budget, paid_before=paid, rounds_left=len(history) - number)
        payout = settle_round(accounts, scores=drawn, pot=pot)
        accounts, paid = payout.accounts, paid + payout.paid
        assert sum(account.cumulative for account in accounts.values()) == paid <= budget
    if history and all(any(score > 0 for score in drawn.values()) for drawn in history[-1:]) and accounts:
        entitled = any(account.entitlement for account in accounts.values())
        assert not entitled or paid == budget  # the last pot is all that is left


def test_a_loss_is_earned_back_before_more_is_paid():
    accounts = {"0x1": Account(), "0x2": Account()}
    for one, two, pays in [
        (-30, 10, {"0x1": 0, "0x2": 100}),
        (20, 0, {"0x1": 0, "0x2": 0}),
        (20, 10, {"0x1": 50, "0x2": 50}),
    ]:
        payout = settle_round(accounts, scores={"0x1": one, "0x2": two}, pot=100)
        accounts = payout.accounts
        assert payout.pays == pays


def test_a_client_that_did_not_take_part_keeps_its_cumulative():
    payout = settle_round({"0x1": Account(balance=9, cumulative=7), "0x2": Account()}, scores={"0x2": 4}, pot=10)
    assert payout.accounts["0x1"] == Account(balance=0, cumulative=7)


def test_a_score_without_an_account_is_refused():
    with pytest.raises(KeyError, match="not enrolled: 0x9"):
        settle_round({"0x1": Account()}, scores={"0x9": 1}, pot=1)


def test_a_pot_needs_a_round():
    with pytest.raises(ValueError, match="0 rounds are left"):
        pot_of(budget=1, paid_before=0, rounds_left=0)
