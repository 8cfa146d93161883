"""What the plots say in words and what they draw."""

import json

import pytest
from report.run_summary import TOKEN, before_the_first_round, client_of, refuse_everything, run_summary

from fl.report.client_plots import pay_plot, score_plot, share_plot, total_plot
from fl.report.plotted_clients import NAMED, plotted_clients
from fl.report.round_plots import gain_plot, loss_plot, price_plot, quality_plot
from fl.rewards import HIGHEST_PRICE

PLOTS = (quality_plot, loss_plot, gain_plot, price_plot, pay_plot, total_plot, score_plot, share_plot)


def pay(summary: dict, number: int, wei: int) -> None:
    client_of(summary, number)["paid_wei"] = str(wei)


def test_accuracy_is_told_from_the_initial_model_to_the_last_round_and_its_peak():
    summary = run_summary()
    summary["rounds"][1]["accuracy"] = 0.95
    assert quality_plot(summary).finding == (
        "Accuracy on the test set rose from 10.0% to 74.0% in 4 rounds; it was highest after round 2, at 95.0%."
    )


def test_a_loss_that_does_not_move_is_said_to_stay():
    summary = refuse_everything(run_summary(rounds=1))
    summary["totals"]["initial_loss"] = summary["rounds"][0]["test_loss"] = 2.3
    assert loss_plot(summary).finding == (
        "Test loss stayed at 2.3000; loss on the validation set, which scores are measured on, stayed at 2.3000."
    )


def test_pay_names_the_best_paid_and_those_that_earned_nothing():
    summary = run_summary(clients=3)
    for number, tokens in enumerate((0, 30, 10)):
        pay(summary, number, tokens * TOKEN)
    client_of(summary, 0)["behaviour"] = "free_ride"
    assert pay_plot(summary).finding == (
        "client-1 was paid most: 30.00 of 40.00 tokens (75.0%). client-0 (free_ride) earned nothing."
    )


def test_scores_are_compared_with_what_the_clients_took_off_the_loss():
    summary = run_summary(clients=2, rounds=1)
    summary["rounds"][0]["scores"] = dict(zip(summary["rounds"][0]["scores"], (-0.25, 0.5), strict=True))
    summary["rounds"][0].update(loss_before=1.0, loss_aggregated=0.7, loss_after=0.6)
    assert score_plot(summary).finding == (
        "1 of 2 scores is negative. All scores come to +0.2500; the clients' updates took 0.3000 off the loss. The "
        "difference lay along earlier steps and directions, which score nothing."
    )
    summary["rounds"][0].update(public_rate=None, loss_aggregated=1.3)
    assert score_plot(summary).finding.endswith("come to +0.2500, and the clients' updates put 0.3000 on the loss.")
    summary["rounds"][0].update(loss_aggregated=float("nan"))
    assert score_plot(summary).finding.endswith("All scores come to +0.2500.")


def test_whole_scores_name_the_highest_the_lowest_and_those_below_zero():
    summary = run_summary(clients=2, rounds=1)
    client_of(summary, 0)["score"], client_of(summary, 1)["score"] = -0.25, 0.5
    assert total_plot(summary).finding == (
        "client-1 has the highest whole score, +0.5000, and client-0 the lowest, −0.2500. 1 client is below zero and earns "
        "nothing more until that is made good. All whole scores come to +0.2500."
    )
    points = total_plot(summary).drawing.series[1].points
    assert [point.note for point in points] == ["client-1, start: 0", "client-1, round 1: +0.0067"]


def test_a_client_that_left_keeps_its_whole_score():
    summary = run_summary(clients=2, rounds=3)
    gone = client_of(summary, 1)["account"]
    del summary["rounds"][2]["totals_q40"][gone]
    points = total_plot(summary).drawing.series[1].points
    assert points[3].y == points[2].y


def test_the_gain_is_split_between_the_clients_and_the_public_step():
    summary = run_summary(rounds=2)
    summary["rounds"][0].update(loss_before=2.0, loss_aggregated=1.4, loss_after=1.2)
    summary["rounds"][1].update(loss_before=1.2, loss_aggregated=1.0, loss_after=1.0, public_rate=0.0)
    plot = gain_plot(summary)
    assert plot.finding == (
        "The clients' updates took 0.8000 off the loss, and the public step, which pays nobody, took 0.2000 off the loss, "
        "20.0% of the whole gain. It was left out in 1 round, where it would not have helped."
    )
    assert [[round(point.y, 6) for point in series.points] for series in plot.drawing.series] == [
        [0.6, 0.2],
        [0.2, 0.0],
    ]


def test_a_task_without_a_public_step_says_so():
    summary = run_summary(rounds=1)
    summary["rounds"][0].update(loss_before=1.0, loss_aggregated=1.1, loss_after=1.1, public_rate=None)
    plot = gain_plot(summary)
    assert plot.finding == "The clients' updates put 0.1000 on the loss. This task takes no public step."
    assert [series.label for series in plot.drawing.series] == ["clients"]
    summary["rounds"][0].update(loss_after=float("inf"), loss_aggregated=float("inf"))
    assert gain_plot(summary).finding == "A loss is not finite, so the gains cannot be summed."


def test_the_price_is_told_from_the_first_round_that_has_one_to_the_last():
    summary = run_summary(rounds=3)
    for round_, wei in zip(summary["rounds"], (None, 400 * TOKEN, 500 * TOKEN), strict=True):
        round_["price"] = wei and wei / TOKEN
        round_["price_q64"] = str(HIGHEST_PRICE if wei is None else wei << 24)
    plot = price_plot(summary)
    assert plot.finding == (
        "A whole score of 1.0 was worth 400.00 tokens after round 2 and 500.00 after round 3. It is the same for "
        "everybody, and as high as the schedule of the budget can pay."
    )
    assert [point.x for point in plot.drawing.series[0].points] == [2, 3]
    assert (
        price_plot(refuse_everything(run_summary())).finding
        == "There is no price yet: nobody's whole score is above zero."
    )
    assert price_plot(run_summary()).finding.startswith("A whole score of 1.0 was worth 10,000.00 tokens. It is")


def test_shares_name_the_clients_furthest_from_the_line():
    summary = run_summary(clients=3)  # data 1 : 2 : 3
    for number, tokens in enumerate((3, 2, 1)):
        pay(summary, number, tokens * TOKEN)
    assert share_plot(summary).finding == (
        "Furthest above its data: client-0, 50.0% of the pay for 16.7% of the data. "
        "Furthest below: client-2, 16.7% of the pay for 50.0% of the data."
    )


def test_pay_in_proportion_to_data_is_said_to_be_that():
    assert share_plot(run_summary()).finding == "Every client's share of pay is its share of data."


def test_a_run_that_paid_nothing_says_so():
    summary = refuse_everything(run_summary())
    assert pay_plot(summary).finding.startswith("Nobody was paid")
    assert score_plot(summary).finding == "No update was accepted, so there is no score."
    assert share_plot(summary).finding == "Nothing was paid."


def test_a_round_without_an_accepted_update_has_no_point():
    summary = run_summary(clients=2, rounds=5)
    first = client_of(summary, 0)["account"]
    del summary["rounds"][2]["scores"][first]
    drawing = score_plot(summary).drawing
    assert [point.x for point in drawing.series[0].points] == [1, 2, 4, 5]
    assert [point.x for point in drawing.series[1].points] == [1, 2, 3, 4, 5]
    assert drawing.rounds == (1, 2, 3, 4, 5)


def test_a_client_that_joins_later_had_been_paid_nothing_before():
    summary = run_summary(clients=2, rounds=3)
    late = client_of(summary, 1)["account"]
    del summary["rounds"][0]["cumulative_wei"][late]
    assert pay_plot(summary).drawing.series[1].points[1].note == "client-1, round 1: 0.00 tokens"


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    "summary",
    [
        run_summary(),
        run_summary(clients=1, rounds=1),
        run_summary(clients=100, rounds=40, score=-3.0),
        refuse_everything(run_summary()),
        run_summary(score=1e-12),
        before_the_first_round(),
    ],
    ids=["six", "one", "hundred", "refused", "tiny", "none"],
)
def test_every_value_is_finite_and_in_its_bounds(plot, summary):
    drawing = plot(summary).drawing
    json.dumps(drawing.to_json(), allow_nan=False)
    for series in drawing.series:
        for point in series.points:
            assert point.note
            assert drawing.least is None or point.y >= drawing.least
            assert drawing.most is None or point.y <= drawing.most
            assert drawing.kind == "scatter" or point.x in drawing.rounds


def test_scores_of_many_rounds_are_drawn_in_strips():
    assert score_plot(run_summary(rounds=12)).drawing.kind == "lines"
    assert score_plot(run_summary(rounds=13)).drawing.kind == "strips"


def test_a_plot_of_many_clients_does_not_grow_with_them():
    few, many = run_summary(clients=20, rounds=30), run_summary(clients=200, rounds=30)
    for plot in (pay_plot, score_plot):
        sizes = [len(json.dumps(plot(summary).drawing.to_json())) for summary in (few, many)]
        assert sizes[1] < 1.2 * sizes[0]


def test_many_clients_are_named_for_misbehaving_or_for_their_pay():
    summary = run_summary(clients=50)
    for number in (3, 4, 5, 6):
        client_of(summary, number)["behaviour"] = "free_ride"
    names = plotted_clients(summary)
    assert [client["number"] for client in names.named] == [4, 5, 6, 43, 44, 45, 46, 47, 48, 49]
    assert names.marked == 3
    assert len(names.rest) == 40


def test_as_many_clients_as_there_are_marks_are_all_named():
    assert plotted_clients(run_summary(clients=NAMED)).rest == ()
    assert len(plotted_clients(run_summary(clients=NAMED + 1)).rest) == 1


def test_a_loss_below_zero_is_drawn():
    summary = run_summary()
    for round_ in summary["rounds"]:
        round_.update(
            test_loss=-5.0 - round_["round"], loss_before=-4.0 - round_["round"], loss_after=-5.0 - round_["round"]
        )
    assert loss_plot(summary).drawing.series[0].points[-1].note == "round 4: -9.0000"
