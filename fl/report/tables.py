"""The tables of a run, from its summary to HTML: rounds, refusals, gas, seconds, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fl.coordinator.round.clock import STEPS, WITHIN_COLLECTING
from fl.plain_text import plural
from fl.report.quality import quality_of
from fl.report.wording import escaped, loss, percent, price, score, seconds, tokens

REFUSALS = 200  # more are left to summary.json

_GAS_OF = {
    "deploy_token": "put the devnet's token on chain",
    "deploy_contract": "put the escrow contract on chain",
    "mint": "make devnet tokens",
    "approve": "let the contract take a budget or a stake",
    "open": "open the task and escrow its budget",
    "join": "stake and enrol one client",
    "post": "post one round",
    "claim_range": "pay out neighbouring clients",
    "claim_range_each": "share of one client in its batch, part of the line above",
    "close": "close the task",
    "release_range": "pay all stakes back",
    "withdraw": "take out the bond",
}
_INSIDE = ("claim_range_each",)  # counted in another line
_STEP_WORDS = {str(step): words for step, words in STEPS.items()}


@dataclass(frozen=True)
class Cell:
    """A cell whose HTML is written already."""

    html: str


def rounds_table(summary: dict[str, Any]) -> str:
    """What each round came to, and where it stands on chain."""
    quality = quality_of(summary)
    rows: list[list[str | Cell]] = []
    for round_ in summary["rounds"]:
        spent = round_["seconds"]
        rows.append(
            [
                str(round_["round"]),
                quality.write(round_[quality.key]),
                f"{loss(round_['loss_before'])} → {loss(round_['loss_after'])}",
                score(round_["loss_before"] - round_["loss_aggregated"]),
                "none" if round_["public_rate"] is None else score(round_["loss_aggregated"] - round_["loss_after"]),
                price(round_["price_q64"]),
                wei_html(sum(int(pay) for pay in round_["pays_wei"].values())),
                str(len(round_["scores"])),
                str(len(round_["refusals"])),
                seconds(spent.get("training", 0.0)),
                seconds(sum(spent.get(name, 0.0) for name in ("scoring", "public step", "settling"))),
                seconds(spent.get("signing", 0.0)),
                seconds(spent.get("posting", 0.0)),
                f"{round_['gas']:,}",
                Cell(hash_html(round_["header_hash"])),
                Cell(hash_html(round_["header"]["tree_root"])),
                Cell(hash_html(round_["transaction"])),
            ]
        )
    return table(
        "Rounds: price in tokens for 1.0 of loss, paid in tokens; training and signing in seconds summed over the clients",
        ["Round"],
        [
            quality.name.capitalize(),
            "Validation loss",
            "Off it by clients",
            "By the public step",
            "Price",
            "Paid",
            "Updates",
            "Refused",
            "Training s",
            "Scoring s",
            "Signing s",
            "Posting s",
            "Gas",
            "Header",
            "Tree root",
            "Transaction",
        ],
        rows,
    )


def refusals_table(summary: dict[str, Any]) -> str:
    """Every refused update with its reason."""
    names = {client["account"]: client["name"] for client in summary["clients"]}
    refusals = [(round_["round"], refusal) for round_ in summary["rounds"] for refusal in round_["refusals"]]
    if not refusals:
        return "<p>No update was refused.</p>"
    rows: list[list[str | Cell]] = [
        [
            str(number),
            Cell(f"<bdi>{escaped(names.get(refusal['account'], 'unknown'))}</bdi>"),
            Cell(hash_html(refusal["account"]) if refusal["account"] else "–"),
            str(refusal["node_id"]),
            prose_html(refusal["reason"]),
        ]
        for number, refusal in refusals[:REFUSALS]
    ]
    rest = len(refusals) - len(rows)
    more = f"<p>{plural(rest, 'more refusal')} in <code>summary.json</code>.</p>" if rest else ""
    return table("Refused updates", ["Round", "Client", "Account", "Node", "Reason"], [], rows) + more


def gas_table(summary: dict[str, Any]) -> str:
    """Gas per operation."""
    rows: list[list[str | Cell]] = [
        [
            Cell(f"<code>{escaped(name)}</code>"),
            prose_html(_GAS_OF.get(name, "")),
            *(f"{used[key]:,}" for key in ("count", "least", "median", "most", "total")),
        ]
        for name, used in summary["gas"].items()
    ]
    return table(
        "Gas per operation",
        ["Operation", "What it does"],
        ["Transactions", "Least", "Median", "Most", "Total"],
        rows,
    )


def gas_total(summary: dict[str, Any]) -> int:
    """Gas of all transactions, each counted once."""
    return sum(used["total"] for name, used in summary["gas"].items() if name not in _INSIDE)


def round_seconds(summary: dict[str, Any]) -> dict[str, float]:
    """Seconds of all rounds by step, in the order of a round."""
    names = list(_STEP_WORDS)
    names += sorted({name for round_ in summary["rounds"] for name in round_["seconds"]} - set(names))
    sums = {name: sum(round_["seconds"].get(name, 0.0) for round_ in summary["rounds"]) for name in names}
    return {
        name: spent for name, spent in sums.items() if any(name in round_["seconds"] for round_ in summary["rounds"])
    }


def wall_seconds(steps: dict[str, float]) -> float:
    """Seconds that the rounds took by the clock: steps that lie inside another are not counted twice."""
    return sum(spent for name, spent in steps.items() if name not in WITHIN_COLLECTING)


def steps_table(summary: dict[str, Any]) -> str:
    """Seconds by step of a round, with each step's share of the clock."""
    steps = round_seconds(summary)
    wall = wall_seconds(steps)
    rows: list[list[str | Cell]] = []
    for name, spent in steps.items():
        share = spent / wall if wall else 0.0
        inside = " (inside collecting)" if name in WITHIN_COLLECTING else ""
        rows.append(
            [
                name + inside,
                prose_html(_STEP_WORDS.get(name, "")),
                seconds(spent),
                seconds(spent / len(summary["rounds"])),
                percent(share),
                Cell(f'<span class="bar" aria-hidden="true"><span style="width:{min(share, 1):.2%}"></span></span>'),
            ]
        )
    return table(
        "Seconds by step, all rounds",
        ["Step", "What happens"],
        ["Seconds", "Per round", "Share of the clock", ""],
        rows,
    )


def headers_list(summary: dict[str, Any]) -> str:
    """Every round's header in full, each in a section that opens."""
    parts = []
    for round_ in summary["rounds"]:
        fields = {
            "header hash": round_["header_hash"],
            "signed by": ", ".join(round_["evaluators"]),
            **round_["header"],
            "transaction": round_["transaction"],
            "bundle folder": round_["bundle"],
        }
        rows = "".join(
            f"<dt>{escaped(name.replace('_', ' '))}</dt><dd><code>{escaped(value)}</code></dd>"
            for name, value in fields.items()
        )
        parts.append(f'<details><summary>Round {round_["round"]}</summary><dl class="facts">{rows}</dl></details>')
    return "\n".join(parts)


def settings_table(summary: dict[str, Any]) -> str:
    """Every setting of the run by its key."""
    rows = [[Cell(f"<code>{escaped(key)}</code>"), prose_html(value)] for key, value in _flat(summary["config"])]
    return table("Settings, as key=value of fl run", ["Key", "Value"], [], rows)


def table(caption: str, words: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> str:
    """A table that scrolls in its own box; the first cell of each row is its heading.

    Args:
        caption: What it shows.
        words: Headings of the first columns, set to the left.
        numbers: Headings of the columns after them, set to the right.
        rows: Plain text is escaped, a Cell is not.
    """
    sides = ["w"] * len(words) + ["n"] * len(numbers)
    head = "".join(
        f'<th scope="col" class="{side}">{escaped(heading)}</th>' if heading else f'<td class="{side}"></td>'
        for side, heading in zip(sides, [*words, *numbers], strict=True)
    )
    body = []
    for row in rows:
        cells = [cell.html if isinstance(cell, Cell) else escaped(cell) for cell in row]
        body.append(
            f'<tr><th scope="row"><div>{cells[0]}</div></th>'
            + "".join(f'<td class="{side}">{cell}</td>' for side, cell in zip(sides[1:], cells[1:], strict=True))
            + "</tr>"
        )
    # A box that scrolls has to be reachable by keyboard, and then needs a name.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}">\n'
        f"<table><caption><span>{escaped(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + "\n</tbody></table></div>\n"
    )


def hash_html(value: str) -> str:
    """A hash or account: whole in the page, so that it can be found and copied, cut short by style where space is."""
    return f'<code class="hash" title="{escaped(value)}">{escaped(value)}</code>' if value else "–"


def prose_html(text: str) -> Cell:
    """Text that may take several lines."""
    return Cell(f'<span class="prose">{escaped(text)}</span>')


def wei_html(amount: str | int) -> Cell:
    """Wei as tokens; a pointer over them tells the wei."""
    return Cell(f'<span title="{int(amount)} wei">{escaped(tokens(amount))}</span>')


def _flat(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, _setting(value)


def _setting(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if "://" not in value:
        return value
    # Paid RPC services put their key into the path or before the host: a page that is passed on must not carry it.
    where = urlsplit(value)
    port = f":{where.port}" if where.port else ""
    hidden = "/…" if where.path.strip("/") or where.query else ""
    return f"{where.scheme}://{where.hostname or '…'}{port}{hidden}"
