"""Why a client earned what it earned: the sentences that the page says too (tests/dashboard/test_vectors.py)."""

import json
from pathlib import Path

import pytest
from report.run_summary import client_of, refuse_everything, run_summary

from fl.report.explanation import Standing, explanation, standing_of

CASES = json.loads(Path(__file__).with_name("explanations.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_score_price_and_pay_are_told_in_words(case):
    standing = Standing(
        **{name: int(case[name]) for name in ("total", "cumulative", "price")},
        factors=tuple(case["factors"]),
        by_class=tuple((name, part) for name, part in case["by_class"]),
    )
    assert explanation(standing, whose=case["whose"]) == case["text"]


def test_a_client_stands_where_its_last_round_left_it():
    summary = run_summary(clients=2, rounds=3)
    account = client_of(summary, 0)["account"]
    del summary["rounds"][2]["totals_q40"][account]  # it left
    told = standing_of(summary, account)
    assert (told.total, told.cumulative) == (
        int(summary["rounds"][1]["totals_q40"][account]),
        int(summary["rounds"][1]["cumulative_wei"][account]),
    )
    assert told.factors == (0.5, 0.5)
    assert standing_of(run_summary(rounds=0), account) is None
    assert explanation(None, whose="Its").startswith("No update was accepted")


def test_a_client_whose_updates_were_all_refused_is_told_so():
    summary = refuse_everything(run_summary())
    told = standing_of(summary, client_of(summary, 0)["account"])
    assert explanation(told, whose="Its") == "No update was accepted, so there is no score and no pay."
