"""What the page is told of a run, finished, running or not begun."""

import json

from report.run_summary import TOKEN, before_the_first_round, client_of, run_summary

from fl.dashboard.view import client_rounds, jsonable, view


def running(summary: dict) -> dict:
    """The same run before its end: what only the end knows is null."""
    summary["status"] = "running"
    summary["live"] = {"round": len(summary["rounds"]) + 1, "phase": "training", "since": 1_700_000_000, "nodes": []}
    if not summary["rounds"]:
        summary["totals"]["initial_validation_loss"] = None
    for client in summary["clients"]:
        client.update(claimed_wei=None, balance_wei=None)
    return summary


def test_a_page_of_a_running_task_has_what_was_earned_so_far_and_charts():
    shown = view(running(run_summary(clients=3, rounds=2)))
    assert shown["status"] == "running"
    assert [client["claimed_wei"] for client in shown["clients"]] == [None] * 3
    assert shown["totals"]["earned_wei"] == str(200 * TOKEN)
    assert shown["charts"]["accuracy"]["drawing"]["rounds"] == [0, 1, 2]


def test_a_run_without_a_round_yet_has_a_page():
    shown = view(running(before_the_first_round()))
    assert shown["rounds"] == []
    assert shown["totals"]["earned_wei"] == "0"
    assert shown["charts"]["pay"]["finding"].startswith("Nobody was paid")


def test_the_page_of_many_clients_and_rounds_does_not_grow_with_their_product():
    sizes = [len(json.dumps(view(run_summary(clients=400, rounds=rounds)))) for rounds in (10, 40)]
    assert sizes[1] < 1.6 * sizes[0]


def test_a_client_is_told_its_rounds_and_its_sums_by_class():
    summary = run_summary(clients=2, rounds=2)
    account = client_of(summary, 1)["account"]
    for number, round_ in enumerate(summary["rounds"], start=1):
        reading = {"errors": {account: 0.5}, "untold": [], "classes": ["a", "b"], "by_class": {account: [number, -1.0]}}
        round_["reading"] = reading
    summary["rounds"][1]["refusals"] = [{"node_id": 3, "account": account, "reason": "signed by somebody else"}]
    told = client_rounds(summary, account.lower())
    assert (told["classes"], told["by_class"]) == (["a", "b"], [3, -2.0])
    assert [round_["refusals"] for round_ in told["rounds"]] == [[], ["signed by somebody else"]]
    assert [told["rounds"][1][name] for name in ("total_q40", "factor", "price_q64")] == [
        told["score_q40"],
        1.0,
        summary["rounds"][1]["price_q64"],
    ]
    assert told["rounds"][1]["cumulative_wei"] == client_of(summary, 1)["paid_wei"]
    assert client_rounds(summary, "0x" + "99" * 20) is None


def test_refusals_stand_newest_first_with_the_clients_name():
    summary = run_summary(rounds=3)
    for round_ in summary["rounds"]:
        account = client_of(summary, 0)["account"]
        round_["refusals"] = [{"node_id": 2**63 + 1, "account": account, "reason": f"late in {round_['round']}"}]
    shown = view(summary)
    assert [refusal["reason"] for refusal in shown["refusals"]] == ["late in 3", "late in 2", "late in 1"]
    assert {refusal["name"] for refusal in shown["refusals"]} == {"client-0"}
    assert {refusal["node_id"] for refusal in shown["refusals"]} == {"9223372036854775809"}  # to its last digit
    assert shown["refused"] == 3


def test_what_json_cannot_hold_is_left_out():
    odd = {"a": float("nan"), "b": [float("inf"), 1.0], "c": "sch\udce4fer"}
    assert jsonable(odd) == {"a": None, "b": [None, 1.0], "c": "sch\ufffdfer"}
    summary = run_summary()
    summary["rounds"][1]["test_loss"] = float("nan")
    client_of(summary, 0)["name"] = "sch\udce4fer"
    json.dumps(view(summary), allow_nan=False).encode()


def test_every_client_is_shown_with_its_last_length_factor_and_every_round_with_its_price():
    shown = view(run_summary(clients=2, rounds=2))
    assert [client["last_factor"] for client in shown["clients"]] == [0.5, 1.0]
    assert all(int(round_["price_q64"]) >> 24 == 10_000 * TOKEN for round_ in shown["rounds"])
    assert list(shown["charts"]) == ["accuracy", "loss", "gain", "price", "pay", "total", "score", "share"]


def test_the_rules_of_length_and_public_step_are_told_from_the_settings():
    summary = run_summary()
    assert (view(summary)["task"]["length"], view(summary)["task"]["public_rounds"]) == (None, None)
    summary["config"]["task"]["length"], summary["config"]["scorer"]["public_rounds"] = "median", 2
    assert (view(summary)["task"]["length"], view(summary)["task"]["public_rounds"]) == ("median", 2)


def test_the_rule_that_pays_is_the_tasks_and_not_the_settings():
    summary = run_summary()
    summary["task"].update(
        scorer="median", attested=True
    )  # strategy=fedmedian brings its rule; the setting says direction
    assert (view(summary)["task"]["scorer"], view(summary)["task"]["attested"]) == ("median", True)
    for key in ("scorer", "attested"):
        del summary["task"][key]
    assert (view(summary)["task"]["scorer"], view(summary)["task"]["attested"]) == ("direction", None)
