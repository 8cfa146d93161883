"""The plots of the rounds: what the model learnt, who took it off the loss, and what that was worth.

Pure functions of the summary, also of one that still grows.
"""

from __future__ import annotations

import math
from typing import Any

from fl.chain.tokens import WEI
from fl.plain_text import plural
from fl.report.drawing import Drawing, Series
from fl.report.plot import Plot, change_of, points
from fl.report.quality import quality_of
from fl.report.wording import loss, percent, price, score, tokens


def quality_plot(summary: dict[str, Any]) -> Plot:
    """Accuracy, or what the task has instead of it, on the test set, from the initial model to the last round's."""
    quality = quality_of(summary)
    values, write, name = quality.values(summary), quality.write, quality.name.capitalize()
    finding = f"{name} on the test set {change_of(values, write)} in {plural(len(values) - 1, 'round')}"
    sign, most = (1, "highest") if quality.higher_is_better else (-1, "lowest")
    best = max(values[1:], key=lambda value: sign * value[1], default=None)
    if best and sign * best[1] > sign * values[-1][1]:
        finding += f"; it was {most} after round {best[0]}, at {write(best[1])}"
    is_share = quality.key == "accuracy"
    return Plot(
        title=f"{name} by round",
        finding=finding + ".",
        drawing=Drawing(
            kind="lines",
            name=f"Line chart of {quality.name} by round; the values are in the table of rounds",
            x_unit="round",
            y_unit=quality.name,
            tick="percent" if is_share else "number",
            series=(Series(label="test set", place=0, points=points(values, write)),),
            rounds=tuple(number for number, _ in values),
            least=0 if is_share else None,
            most=1 if is_share else None,
        ),
    )


def loss_plot(summary: dict[str, Any]) -> Plot:
    """Loss on the test set and on the validation set, which scores are measured on."""
    rounds, totals = summary["rounds"], summary["totals"]
    test = [(0, totals["initial_loss"]), *((round_["round"], round_["test_loss"]) for round_ in rounds)]
    validation = [(0, rounds[0]["loss_before"])] if rounds else []
    validation += [(round_["round"], round_["loss_after"]) for round_ in rounds]
    scored = (
        f"; loss on the validation set, which scores are measured on, {change_of(validation, loss)}" if rounds else ""
    )
    return Plot(
        title="Loss by round",
        finding=f"Test loss {change_of(test, loss)}{scored}.",
        drawing=Drawing(
            kind="lines",
            name="Line chart of loss by round on two data sets; the values are in the table of rounds",
            x_unit="round",
            y_unit="loss",
            tick="number",
            series=(
                Series(label="test set", place=0, points=points(test, loss)),
                Series(label="validation", place=5, points=points(validation, loss)),
            ),
            rounds=tuple(number for number, _ in test),
        ),
    )


def gain_plot(summary: dict[str, Any]) -> Plot:
    """What each round took off the validation loss: the clients' updates, and the public step after them."""
    rounds = summary["rounds"]
    public = [round_ for round_ in rounds if round_["public_rate"] is not None]
    by_clients = [(round_["round"], round_["loss_before"] - round_["loss_aggregated"]) for round_ in rounds]
    by_public = [(round_["round"], round_["loss_aggregated"] - round_["loss_after"]) for round_ in public]
    series = [Series(label="clients", place=1, points=points(by_clients, score, of="clients"))]
    if public:
        series.append(Series(label="public step", place=6, points=points(by_public, score, of="public step")))
    return Plot(
        title="Gain per round",
        finding=_gain_finding(rounds, sum(value for _, value in by_clients), sum(value for _, value in by_public)),
        drawing=Drawing(
            kind="bars",
            name="Bar chart of what each round took off the validation loss, by the clients and by the public step; the "
            "values are in the table of rounds",
            x_unit="round",
            y_unit="taken off the loss",
            tick="number",
            series=tuple(series),
            rounds=tuple(round_["round"] for round_ in rounds),
            from_zero=True,
        ),
    )


def price_plot(summary: dict[str, Any]) -> Plot:
    """What a whole score of 1.0 was worth after each round; a gap where nobody's was above zero."""
    rounds = summary["rounds"]
    priced = [round_ for round_ in rounds if round_["price"] is not None]
    if priced:
        finding = (
            f"A whole score of 1.0 {_worth(priced)}. It is the same for everybody, and as high as the schedule of the "
            "budget can pay."
        )
    else:
        finding = "There is no price yet: nobody's whole score is above zero."
    values = [(round_["round"], round_["price"]) for round_ in priced]
    return Plot(
        title="Price by round",
        finding=finding,
        drawing=Drawing(
            kind="lines",
            name="Line chart of the price by round; the values are in the table of rounds",
            x_unit="round",
            y_unit="tokens for 1.0 of loss",
            tick="number",
            series=(Series(label="price", place=2, points=points(values, _priced)),),
            rounds=tuple(round_["round"] for round_ in rounds),
            from_zero=True,
        ),
    )


def _gain_finding(rounds: list[dict[str, Any]], clients: float, public: float) -> str:
    if not rounds:
        return "No round is posted yet."
    if not (math.isfinite(clients) and math.isfinite(public)):
        return "A loss is not finite, so the gains cannot be summed."
    taken = f"The clients' updates {_took(clients)}"
    if all(round_["public_rate"] is None for round_ in rounds):
        return f"{taken}. This task takes no public step."
    idle = sum(round_["public_rate"] == 0 for round_ in rounds)
    of = f", {percent(public / (clients + public))} of the whole gain" if public > 0 and clients > 0 else ""
    left_out = f" It was left out in {plural(idle, 'round')}, where it would not have helped." if idle else ""
    return f"{taken}, and the public step, which pays nobody, {_took(public)}{of}.{left_out}"


def _took(gain: float) -> str:
    return f"took {loss(gain)} off the loss" if gain >= 0 else f"put {loss(-gain)} on the loss"


def _worth(rounds: list[dict[str, Any]]) -> str:
    first, last = rounds[0], rounds[-1]
    then, now = price(first["price_q64"]), price(last["price_q64"])
    if then == now:
        return f"was worth {now} tokens"
    return f"was worth {then} tokens after round {first['round']} and {now} after round {last['round']}"


def _priced(value: float) -> str:
    return f"{tokens(round(value * WEI))} tokens for 1.0 of loss"
