"""The tables of the clients, from a run's summary to HTML: who earned what, why, and every round's numbers."""

from __future__ import annotations

from typing import Any

from fl.plain_text import plural
from fl.report.client_mark import client_mark
from fl.report.explanation import explanation, standing_of
from fl.report.plotted_clients import plotted_clients
from fl.report.tables import Cell, hash_html, table, wei_html
from fl.report.wording import escaped, percent, price, score, shortened
from fl.rewards import SCORE_FRACTION_BITS

MATRIX_CELLS = 2_500  # a longer table of all clients in all rounds is left to summary.json
REASONS = 100  # clients that are told why
OPEN_REASONS = 10  # those of more clients are folded away


def clients_table(summary: dict[str, Any]) -> str:
    """Who put in what and was paid what."""
    places = {client["account"]: place for place, client in enumerate(plotted_clients(summary).named)}
    earned = sum(int(client["paid_wei"]) for client in summary["clients"])
    rows: list[list[str | Cell]] = []
    for client in summary["clients"]:
        share = percent(int(client["paid_wei"]) / earned) if earned else "–"
        rows.append(
            [
                Cell(
                    f'<span class="client">{client_mark(places.get(client["account"]))}<bdi>{escaped(client["name"])}</bdi></span>'
                ),
                Cell(hash_html(client["account"])),
                # Of a shard on another machine the coordinator knows neither.
                Cell("–" if client["samples"] is None else f"<bdi>{escaped(client['behaviour'])}</bdi>"),
                "–" if client["samples"] is None else f"{client['samples']:,}",
                percent(client["stake_share"]),
                score(client["score"] if int(client["score_q40"]) else 0.0),
                wei_html(client["paid_wei"]),
                share,
                wei_html(client["claimed_wei"])
                if int(client["claimed_wei"]) or not int(client["paid_wei"])
                else "not yet",
                wei_html(client["balance_wei"]),
            ]
        )
    last = summary["rounds"][-1] if summary["rounds"] else None
    at = f"; a whole score of 1.0 is worth {price(last['price_q64'])} at the end" if last and last["price"] else ""
    claimed = all(client["claimed_wei"] == client["paid_wei"] for client in summary["clients"])
    when = "after the last claim" if claimed else "when this page was written"
    return table(
        f"Clients: amounts in tokens, read back from the contract and the token {when}{at}",
        ["Client", "Account", "Behaviour"],
        ["Shard", "Stake share", "Whole score", "Earned", "Share of pay", "Claimed", "Balance"],
        rows,
    )


def reasons_list(summary: dict[str, Any]) -> str:
    """Why each client earned what it earned, in words."""
    clients = summary["clients"]
    rows = "".join(
        f"<dt><bdi>{escaped(shortened(client['name'], 40))}</bdi></dt>"
        f"<dd>{escaped(explanation(standing_of(summary, client['account']), whose='Its'))}</dd>"
        for client in clients[:REASONS]
    )
    rest = len(clients) - REASONS
    more = f"<p>{plural(rest, 'more client')}: the live page tells each why.</p>" if rest > 0 else ""
    told = f'<div class="card"><dl class="facts">{rows}</dl></div>{more}'
    if len(clients) <= OPEN_REASONS:
        return f"<h3>Why each earned what it earned</h3>\n{told}"
    return f"<details><summary>Why each earned what it earned</summary>{told}</details>"


def matrix_tables(summary: dict[str, Any]) -> str:
    """Score, whole score, length factor and pay of every client in every round, the numbers behind the plots."""
    clients, rounds = summary["clients"], summary["rounds"]
    if len(clients) * len(rounds) > MATRIX_CELLS:
        return (
            f"<p>{plural(len(clients), 'client')} in {plural(len(rounds), 'round')} are too many for a page: scores and "
            "pay of every round are in <code>summary.json</code>, under <code>rounds</code>.</p>"
        )

    def rows(key: str, write: Any) -> list[list[str | Cell]]:
        return [
            [
                Cell(f"<bdi>{escaped(client['name'])}</bdi>"),
                *(
                    write(round_[key][client["account"]]) if client["account"] in round_[key] else "–"
                    for round_ in rounds
                ),
            ]
            for client in clients
        ]

    numbers = [f"Round {round_['round']}" for round_ in rounds]
    return "".join(
        table(caption, ["Client"], numbers, rows(key, write))
        for caption, key, write in (
            ("Score by round, in units of loss; – where no update was accepted", "scores", score),
            ("Whole score by round: all scores up to it", "totals_q40", _total),
            ("Length factor by round: what the round's length left of an update", "factors", _factor),
            ("Pay by round, in tokens", "pays_wei", wei_html),
        )
    )


def _total(q40: str) -> str:
    return score(int(q40) / (1 << SCORE_FRACTION_BITS))


def _factor(value: float) -> str:
    return f"{value:.4f}"
