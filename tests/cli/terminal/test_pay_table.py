"""The table that a run ends with."""

import io

import pytest
from rich.console import Console

from fl.cli.terminal.pay_table import notes, pay_table

TOKEN = 10**18


def client(name, *, behaviour="honest", stake, score, paid, claimed=None):
    """One client of a summary."""
    return {
        "name": name,
        "behaviour": behaviour,
        "samples": stake,
        "stake_wei": str(stake * TOKEN),
        "stake_share": stake / 100,
        "score": score,
        "score_q40": str(round(score * 2**40)),
        "paid_wei": str(round(paid * TOKEN)),
        "claimed_wei": str(round((paid if claimed is None else claimed) * TOKEN)),
        "balance_wei": str(round(paid * TOKEN)),
    }


@pytest.fixture
def summary():
    """Two honest clients, one of whom kept what it earned at a higher price, and two cheats."""
    return {
        "clients": [
            client("client-0", stake=30, score=0.06, paid=60.0),
            client("client-1", stake=40, score=0.05, paid=80.0),
            client("client-2", behaviour="label_flip:0.5", stake=20, score=0.01, paid=10.0),
            client("client-3", behaviour="replay_step", stake=10, score=-0.001, paid=0.0),
        ],
        "rounds": [{"price": 1000.0, "scores": {"0x1": 1.0}, "refusals": []}],
        "task": {"attested": False, "scorer": "direction"},
        "totals": {"rounds": 1},
    }


def printed(summary):
    """The table as a terminal of 80 columns shows it."""
    console = Console(width=80, file=io.StringIO())
    console.print(pay_table(summary))
    return [line.split() for line in console.file.getvalue().splitlines() if "client-" in line]


def test_score_times_price_is_pay(summary):
    assert printed(summary) == [
        ["client-0", "30", "30.0%", "+0.0600", "1,000.00", "60.00", "60.00"],
        ["client-1", "40", "40.0%", "+0.0500", "1,000.00", "80.00", "↑", "80.00"],
        ["client-2", "*", "20", "20.0%", "+0.0100", "1,000.00", "10.00", "10.00"],
        ["client-3", "*", "10", "10.0%", "-0.0010", "–", "0.00", "0.00"],
    ]


def test_cheats_are_held_against_an_honest_client_of_their_size(summary):
    assert notes(summary) == [
        "the price is 1,000.00 tokens for 1.0 of loss, the same for everybody; ↑ was earned earlier, at a higher price, and pay never falls",
        "* client-2 has 50% of its labels flipped: earned 10.00, 25% of what honest work of its size did (40.00)",
        "* client-3 does not train and sends the last step again: earned 0.00, 0% of what honest work of its size did (20.00)",
    ]


def test_an_honest_client_of_the_same_stake_is_the_one_that_a_cheat_is_held_against(summary):
    summary["clients"].append(client("client-4", stake=20, score=0.03, paid=30.0))
    assert notes(summary)[1].endswith("earned 10.00, 33% of what honest work of its size did (30.00)")
    assert notes(summary)[2].endswith("earned 0.00, 0% of what honest work of its size did (18.89)")


def test_what_else_there_is_to_say_is_said(summary):
    summary["rounds"] += [{"price": None, "scores": {}, "refusals": [{"reason": "too late"}]}]
    summary["task"] = {"attested": True, "scorer": "loo"}
    summary["clients"] = [client("client-0", behaviour="zero", stake=30, score=0.0, paid=1.0, claimed=0.25)]
    assert notes(summary) == [
        "nobody has a positive score, so nothing was paid; ↑ was earned earlier, at a higher price, and pay never falls",
        "client-0 earned 1.00, and 0.25 is claimed",
        "* client-0 sends its base model back unchanged: earned 1.00",
        "scores by loo: attested by evaluators, not provable on chain",
        "no update was accepted in 1 round: too late",
    ]
