"""The plots of the clients: from a run's summary to what is drawn and one sentence that states the finding.

Pure functions of the summary, also of one that still grows: a page that follows a run draws with them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

from fl.chain.tokens import WEI
from fl.plain_text import plural
from fl.report.drawing import Band, Drawing, Point, Series
from fl.report.plot import Plot, points
from fl.report.plotted_clients import PlottedClients, plotted_clients
from fl.report.wording import clean, loss, percent, score, shortened, tokens
from fl.rewards import SCORE_FRACTION_BITS

_CROSSING = 12  # rounds; scores of more rounds cross too often to be lines in one frame
_NAME_LENGTH = 24  # of a client in a sentence
_LABEL_LENGTH = 13  # of a client beside its line


def pay_plot(summary: dict[str, Any]) -> Plot:
    """What each client had been paid by the end of each round."""
    rounds, paid = summary["rounds"], _paid(summary)

    def so_far(account: str) -> list[tuple[int, float]]:
        # A client that is not in a round's tree (not enrolled yet, or gone) has what it had.
        wei = 0
        line = [(0, 0.0)]
        for round_ in rounds:
            wei = int(round_["cumulative_wei"].get(account, wei))
            line.append((round_["round"], wei / WEI))
        return line

    return Plot(
        title="Cumulative pay per client",
        finding=_pay_finding(summary, paid),
        drawing=_client_lines(
            summary,
            so_far,
            rounds=[0, *(round_["round"] for round_ in rounds)],
            name="Line chart of cumulative pay per client by round; totals are in the table of clients",
            unit="tokens paid so far",
            written=lambda value: f"{tokens(round(value * WEI))} tokens",
        ),
    )


def total_plot(summary: dict[str, Any]) -> Plot:
    """Each client's whole score by the end of each round, which times the price is what it has earned."""
    rounds, clients = summary["rounds"], summary["clients"]

    def so_far(account: str) -> list[tuple[int, float]]:
        line, total = [(0, 0.0)], 0.0
        for round_ in rounds:
            if account in round_["totals_q40"]:
                total = int(round_["totals_q40"][account]) / (1 << SCORE_FRACTION_BITS)
            line.append((round_["round"], total))
        return line

    if any(round_["scores"] for round_ in rounds):
        high, low = max(clients, key=lambda client: client["score"]), min(clients, key=lambda client: client["score"])
        below = [client for client in clients if client["score"] < 0]
        finding = f"{_name(high)} has the highest whole score, {score(high['score'])}"
        if len(clients) > 1:
            finding += f", and {_name(low)} the lowest, {score(low['score'])}"
        finding += ". "
        if below:
            finding += f"{plural(len(below), 'client')} {'is' if len(below) == 1 else 'are'} below zero and "
            finding += f"{'earns' if len(below) == 1 else 'earn'} nothing more until that is made good. "
        finding += f"All whole scores come to {score(sum(client['score'] for client in clients))}."
    else:
        finding = "No update was accepted, so there is no score."
    return Plot(
        title="Whole score per client",
        finding=finding,
        drawing=_client_lines(
            summary,
            so_far,
            rounds=[0, *(round_["round"] for round_ in rounds)],
            name="Line chart of the whole score per client by round; the values are under the table of clients",
            unit="whole score (in units of loss)",
            written=score,
        ),
    )


def score_plot(summary: dict[str, Any]) -> Plot:
    """What each client's update was worth in each round; a refused or absent update leaves a gap."""
    rounds = summary["rounds"]

    def by_round(account: str) -> list[tuple[int, float]]:
        return [(round_["round"], round_["scores"][account]) for round_ in rounds if account in round_["scores"]]

    return Plot(
        title="Score per round",
        finding=_score_finding(rounds),
        drawing=_client_lines(
            summary,
            by_round,
            rounds=[round_["round"] for round_ in rounds],
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
    told = all(client["samples"] is not None for client in summary["clients"])
    of = "data" if told else "stake"
    samples = sum(client["samples"] for client in summary["clients"]) if told else 0
    data = {
        client["account"]: (client["samples"] / samples if samples else 0.0) if told else client["stake_share"]
        for client in summary["clients"]
    }
    pay = {client["account"]: int(client["paid_wei"]) / paid if paid else 0.0 for client in summary["clients"]}

    def spot(client: dict[str, Any], place: int | None) -> Series:
        x, y = data[client["account"]], pay[client["account"]]
        note = clean(f"{client['name']}: {percent(y)} of pay, {percent(x)} of {of}")
        label = "" if place is None else shortened(client["name"], _LABEL_LENGTH)
        return Series(label=label, place=place, points=(Point(x=x, y=y, note=note),))

    spots = [spot(client, None) for client in names.rest] + [
        spot(client, place) for place, client in enumerate(names.named)
    ]
    finding = _share_finding(summary["clients"], data=data, pay=pay, of=of) if paid else "Nothing was paid."
    return Plot(
        title=f"Share of pay against share of {of}",
        finding=finding,
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
                points=points(line_of(client["account"]), written, of=client["name"]),
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


def _score_finding(rounds: list[dict[str, Any]]) -> str:
    scored = [value for round_ in rounds for value in round_["scores"].values()]
    if not scored:
        return "No update was accepted, so there is no score."
    below = sum(value < 0 for value in scored)
    negative = (
        f"{below:,} of {plural(len(scored), 'score')} {'is' if below == 1 else 'are'}" if below else "No score is"
    )
    finding = f"{negative} negative. All scores come to {score(sum(scored))}"
    drop = sum(round_["loss_before"] - round_["loss_aggregated"] for round_ in rounds)
    if not math.isfinite(drop):
        return f"{finding}."
    fell = f"the clients' updates {'took' if drop >= 0 else 'put'} {loss(abs(drop))} {'off' if drop >= 0 else 'on'} the loss"
    if all(round_["public_rate"] is None for round_ in rounds):
        return f"{finding}, and {fell}."
    return f"{finding}; {fell}. The difference lay along earlier steps and directions, which score nothing."


def _pay_finding(summary: dict[str, Any], paid: int) -> str:
    clients = summary["clients"]
    if not paid:
        return "Nobody was paid: no whole score is above zero."
    best = max(clients, key=lambda client: int(client["paid_wei"]))
    finding = (
        f"{_name(best)} was paid most: {tokens(best['paid_wei'])} of {tokens(paid)} tokens "
        f"({percent(int(best['paid_wei']) / paid)})."
    )
    empty = [client for client in clients if int(client["paid_wei"]) == 0]
    if 0 < len(empty) <= 3:
        finding += f" {' and '.join(_name(client) for client in empty)} earned nothing."
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


def _paid(summary: dict[str, Any]) -> int:
    # Not the total of the task: that counts what was claimed, and these plots are about what was earned.
    return sum(int(client["paid_wei"]) for client in summary["clients"])


def _name(client: dict[str, Any]) -> str:
    behaviour = "" if client["behaviour"] == "honest" else f" ({client['behaviour']})"
    return shortened(client["name"], _NAME_LENGTH) + behaviour
