"""The part of the report that says how sure the scores are, what each client was paid for, and who shared a weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fl.plain_text import plural
from fl.report.tables import Cell, table
from fl.report.wording import escaped, loss, score

MOST_CLASSES = 20  # columns of a table that a person still reads
MOST_NAMES = 6  # neighbours that one row names


def score_details(summary: dict[str, Any]) -> str:
    """Doubts, classes and groups of a run whose rounds were read; a sentence where none was."""
    names = {client["account"]: client["name"] for client in summary["clients"]}
    read = [round_ for round_ in summary["rounds"] if round_.get("reading")]
    grouped = _groups(summary, names)
    if not read and summary["task"]["attested"]:
        return f"<p>This task's rule states no standard errors, and splits no score by class.</p>{grouped}"
    if not read:
        return (
            "<p>No round was read for standard errors: set <code>scorer.read_clients</code> to the number of clients or "
            f"more, or use <code>fl score</code> on a round's bundle.</p>{grouped}"
        )
    return _doubts(read[-1], names) + _classes(read, names) + grouped


def _doubts(last: dict[str, Any], names: dict[str, str]) -> str:
    reading = last["reading"]
    near: dict[str, list[str]] = {account: [] for account in reading["errors"]}
    for account, other in reading["untold"]:
        near[account].append(names.get(other, other))
        near[other].append(names.get(account, account))
    rows: list[list[str | Cell]] = []
    for account in _in_order(reading["errors"], names):
        error = reading["errors"][account]
        others = near[account]
        shown = ", ".join(others[:MOST_NAMES]) + (
            f" and {len(others) - MOST_NAMES} more" if len(others) > MOST_NAMES else ""
        )
        rows.append(
            [
                Cell(f"<bdi>{escaped(names.get(account, account))}</bdi>"),
                Cell(f"<bdi>{escaped(shown or 'nobody')}</bdi>"),
                score(last["scores"].get(account, 0.0)),
                "–" if error is None else f"± {loss(error)}",
            ]
        )
    pairs = len(rows) * (len(rows) - 1) // 2
    over = reading.get("over", "over validation samples")
    doubt = (
        "another validation set of the same size could have turned them round"
        if over == "over validation samples"
        else "other draws of the rule could have turned them round"
    )
    return (
        f"<p>In round {last['round']}, {len(reading['untold'])} of {plural(pairs, 'pair')} of clients are not told apart at "
        f"95 % confidence: {doubt}.</p>"
    ) + table(
        f"Round {last['round']}: scores with their standard errors {over}, in units of the utility",
        ["Client", "Not told apart from"], ["Score", "Standard error"], rows,
    )  # fmt: skip


def _classes(read: list[dict[str, Any]], names: dict[str, str]) -> str:
    classes = read[-1]["reading"]["classes"]
    if not classes or len(classes) > MOST_CLASSES or any(round_["reading"]["classes"] != classes for round_ in read):
        return ""
    sums: dict[str, list[float]] = {}
    for round_ in read:
        for account, parts in round_["reading"]["by_class"].items():
            before = sums.get(account, [0.0] * len(classes))
            sums[account] = [old + new for old, new in zip(before, parts, strict=True)]
    rows: list[list[str | Cell]] = []
    for account in _in_order(sums, names):
        parts = sums[account]
        best = sorted((place for place, part in enumerate(parts) if part > 0), key=lambda place: -parts[place])[:2]
        rows.append(
            [
                Cell(f"<bdi>{escaped(names.get(account, account))}</bdi>"),
                Cell(f"<bdi>{escaped(' and '.join(classes[place] for place in best) or 'nothing')}</bdi>"),
                *map(score, parts),
            ]
        )
    return table(
        "What each client was paid for: score by class, all rounds that were read",
        ["Client", "Most for"],
        list(classes),
        rows,
    )


def _in_order(accounts: Iterable[str], names: dict[str, str]) -> list[str]:
    places = {account: place for place, account in enumerate(names)}
    return sorted(accounts, key=lambda account: places.get(account, len(places)))


def _groups(summary: dict[str, Any], names: dict[str, str]) -> str:
    lines = [
        f"<li>Round {round_['round']}: <bdi>{escaped(', '.join(names.get(account, account) for account in group))}</bdi></li>"
        for round_ in summary["rounds"]
        for group in round_.get("duplicates", [])
    ]
    if not lines:
        return ""
    return f"<p>Nearly the same updates, which shared the weight of one:</p><ul>{''.join(lines)}</ul>"
