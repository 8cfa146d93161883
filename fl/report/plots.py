"""The plots of a run: from its summary to what is drawn and one sentence that states the finding.

Pure functions of the summary, also of one that still grows: a page that follows a run draws with them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from fl.chain.tokens import WEI
from fl.report.drawing import Band, Drawing, Point, Series
from fl.report.plotted_clients import PlottedClients, plotted_clients
from fl.report.wording import clean, loss, percent, plural, score, shortened, tokens

_CROSSING = 12  # rounds; scores of more rounds cross too often to be lines in one frame
_NAME_LENGTH = 24  # of a client in a sentence
_LABEL_LENGTH = 13  # of a client beside its line


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing with what it says."""

    title: str
    drawing: Drawing
    finding: str  # plain text, not escaped


def accuracy_plot(summary: dict[str, Any]) -> Plot:
    """Accuracy on the test set, from the initial model to the last round's."""
    rounds, totals = summary["rounds"], summary["totals"]
    values = [(0, totals["initial_accuracy"]), *((one["round"], one["accuracy"]) for one in rounds)]
    last = values[-1][1]
    best = max(rounds, key=lambda one: one["accuracy"], default=None)
    finding = f"Accuracy on the test set {_change_of(values, percent)} in {plural(len(rounds), 'round')}"
    if best and best["accuracy"] > last:
        finding += f"; it was highest after round {best['round']}, at {percent(best['accuracy'])}"
    return Plot(
        title="Accuracy by round",
        finding=finding + ".",
        drawing=Drawing(
            kind="lines",
            name="Line chart of accuracy by round; the values are in the table of rounds",
            x_unit="round",
            y_unit="accuracy",
            tick="percent",
            series=(Series(label="test set", place=0, points=_points(values, percent)),),
            rounds=tuple(number for number, _ in values),
            least=0,
            most=1,
        ),
    )


def loss_plot(summary: dict[str, Any]) -> Plot:
    """Loss on the test set and on the validation set, which scores are measured on."""
    rounds, totals = summary["rounds"], summary["totals"]
    test = [(0, totals["initial_loss"]), *((one["round"], one["test_loss"]) for one in rounds)]
    validation = [(0, rounds[0]["loss_before"])] if rounds else []
    validation += [(one["round"], one["loss_after"]) for one in rounds]
    scored = (
        f"; loss on the validation set, which scores are measured on, {_change_of(validation, loss)}" if rounds else ""
    )
    return Plot(
        title="Loss by round",
        finding=f"Test loss {_change_of(test, loss)}{scored}.",
        drawing=Drawing(
            kind="lines",
            name="Line chart of loss by round on two data sets; the values are in the table of rounds",
            x_unit="round",
            y_unit="loss",
            tick="number",
            series=(
                Series(label="test set", place=0, points=_points(test, loss)),
                Series(label="validation", place=5, points=_points(validation, loss)),
            ),
            rounds=tuple(number for number, _ in test),
        ),
    )


def pay_plot(summary: dict[str, Any]) -> Plot:
    """What each client had been paid by the end of each round."""
    rounds, paid = summary["rounds"], _paid(summary)

    def so_far(account: str) -> list[tuple[int, float]]:
        # A client that is not in a round's tree (not enrolled yet, or gone) has what it had.
        wei = 0
        line = [(0, 0.0)]
        for one in rounds:
            wei = int(one["cumulative_wei"].get(account, wei))
            line.append((one["round"], wei / WEI))
        return line

    return Plot(
        title="Cumulative pay per client",
        finding=_pay_finding(summary, paid),
        drawing=_client_lines(
            summary,
            so_far,
            rounds=[0, *(one["round"] for one in rounds)],
            name="Line chart of cumulative pay per client by round; totals are in the table of clients",
            unit="tokens paid so far",
            written=lambda value: f"{value:,.4f} tokens",
        ),
    )


def score_plot(summary: dict[str, Any]) -> Plot:
    """What each client's update was worth in each round; a refused or absent update leaves a gap."""
    rounds, clients = summary["rounds"], summary["clients"]

    def by_round(account: str) -> list[tuple[int, float]]:
        return [(one["round"], one["scores"][account]) for one in rounds if account in one["scores"]]

    scored = [value for one in rounds for value in one["scores"].values()]
    if scored:
        high, low = max(clients, key=lambda one: one["score"]), min(clients, key=lambda one: one["score"])
        below = sum(value < 0 for value in scored)
        drop = rounds[0]["loss_before"] - rounds[-1]["loss_after"]
        extremes = f"In sum {_name(high)} has the highest score, {score(high['score'])}"
        if len(clients) > 1:
            extremes += f", and {_name(low)} the lowest, {score(low['score'])}"
        negative = (
            f"{below:,} of {plural(len(scored), 'score')} {'is' if below == 1 else 'are'}" if below else "No score is"
        )
        finding = (
            f"{extremes}. {negative} negative. All scores come to {score(sum(scored))}, and the validation loss "
            f"{'fell' if drop >= 0 else 'rose'} by {loss(abs(drop))}."
        )
    else:
        finding = "No update was accepted, so there is no score."
    return Plot(
        title="Score per round",
        finding=finding,
        drawing=_client_lines(
            summary,
            by_round,
            rounds=[one["round"] for one in rounds],
            name="Chart of score per client by round; the values are under the table of clients",
            unit="score (in units of loss)",
            written=score,
            strips=len(rounds) > _CROSSING,
        ),
    )


def share_plot(summary: dict[str, Any]) -> Plot:
    """Share of all pay against share of all data, with the line on which both are the same.

    Only its owner knows how many samples a shard on another machine has; there the stake stands for them.
    """
    names, paid = plotted_clients(summary), _paid(summary)
    told = all(one["samples"] is not None for one in summary["clients"])
    of = "data" if told else "stake"
    samples = sum(one["samples"] for one in summary["clients"]) if told else 0
    data = {
        one["account"]: (one["samples"] / samples if samples else 0.0) if told else one["stake_share"]
        for one in summary["clients"]
    }
    pay = {one["account"]: int(one["paid_wei"]) / paid if paid else 0.0 for one in summary["clients"]}

    def spot(client: dict[str, Any], place: int | None) -> Series:
        x, y = data[client["account"]], pay[client["account"]]
        note = clean(f"{client['name']}: {percent(y)} of pay, {percent(x)} of {of}")
        label = "" if place is None else shortened(client["name"], _LABEL_LENGTH)
        return Series(label=label, place=place, points=(Point(x=x, y=y, note=note),))

    spots = [spot(one, None) for one in names.rest] + [spot(one, place) for place, one in enumerate(names.named)]
    return Plot(
        title=f"Share of pay against share of {of}",
        finding=_share_finding(summary["clients"], data=data, pay=pay, of=of) if paid else "Nothing was paid.",
        drawing=Drawing(
            kind="scatter",
            name=f"Scatter chart of share of pay against share of {of}, a mark for each client; the values are in the "
            "table of clients",
            x_unit=f"share of {of}",
            y_unit="share of pay",
            tick="percent",
            series=tuple(spots),
            least=0,
            from_zero=True,
            diagonal=f"pay = {of}",
        ),
    )


def _client_lines(
    summary: dict[str, Any],
    line_of: Callable[[str], list[tuple[int, float]]],
    *,
    rounds: list[int],
    name: str,
    unit: str,
    written: Callable[[float], str],
    strips: bool = False,
) -> Drawing:
    names = plotted_clients(summary)
    return Drawing(
        kind="strips" if strips else "lines",
        name=name,
        x_unit="round",
        y_unit=unit,
        tick="number",
        series=tuple(
            Series(
                label=shortened(client["name"], _LABEL_LENGTH),
                place=place,
                points=_points(line_of(client["account"]), written, of=client["name"]),
            )
            for place, client in enumerate(names.named)
        ),
        band=_band(names, line_of),
        rounds=tuple(rounds),
        from_zero=True,
    )


def _band(names: PlottedClients, line_of: Callable[[str], list[tuple[int, float]]]) -> Band | None:
    if not names.rest:
        return None
    values: dict[int, list[float]] = {}
    for client in names.rest:
        for number, value in line_of(client["account"]):
            values.setdefault(number, []).append(value)
    rows = tuple((number, min(of), median(of), max(of)) for number, of in sorted(values.items()))
    return Band(label=f"{len(names.rest)} others", rows=rows)


def _pay_finding(summary: dict[str, Any], paid: int) -> str:
    clients = summary["clients"]
    if not paid:
        return "Nobody was paid: no round had a client with a positive balance."
    best = max(clients, key=lambda one: int(one["paid_wei"]))
    finding = (
        f"{_name(best)} was paid most: {tokens(best['paid_wei'])} of {tokens(paid)} tokens "
        f"({percent(int(best['paid_wei']) / paid)})."
    )
    empty = [one for one in clients if int(one["paid_wei"]) == 0]
    if 0 < len(empty) <= 3:
        finding += f" {' and '.join(_name(one) for one in empty)} earned nothing."
    elif empty:
        finding += f" {len(empty):,} of {plural(len(clients), 'client')} earned nothing."
    return finding


def _share_finding(clients: list[dict[str, Any]], *, data: dict[str, float], pay: dict[str, float], of: str) -> str:
    def gain(client: dict[str, Any]) -> float:
        return pay[client["account"]] - data[client["account"]]

    def shares(client: dict[str, Any]) -> str:
        return f"{percent(pay[client['account']])} of the pay for {percent(data[client['account']])} of the {of}"

    above, below = max(clients, key=gain), min(clients, key=gain)
    if gain(above) < 0.0005 and gain(below) > -0.0005:
        return f"Every client's share of pay is its share of {of}."
    return f"Furthest above its {of}: {_name(above)}, {shares(above)}. Furthest below: {_name(below)}, {shares(below)}."


def _points(values: list[tuple[int, float]], written: Callable[[float], str], *, of: str = "") -> tuple[Point, ...]:
    start = f"{of}, " if of else ""
    return tuple(
        Point(x=number, y=value, note=clean(f"{start}{f'round {number}' if number else 'start'}: {written(value)}"))
        for number, value in values
        if math.isfinite(value)
    )


def _paid(summary: dict[str, Any]) -> int:
    # Not the total of the task: that counts what was claimed, and these plots are about what was earned.
    return sum(int(one["paid_wei"]) for one in summary["clients"])


def _name(client: dict[str, Any]) -> str:
    behaviour = "" if client["behaviour"] == "honest" else f" ({client['behaviour']})"
    return shortened(client["name"], _NAME_LENGTH) + behaviour


def _change_of(values: list[tuple[int, float]], written: Callable[[float], str]) -> str:
    first, last = values[0][1], values[-1][1]
    if written(first) == written(last):
        return f"stayed at {written(last)}"
    rose = "rose" if last > first else "fell" if last < first else "went"  # not a number is neither
    return f"{rose} from {written(first)} to {written(last)}"
