"""The table that a run ends with: score × price = pay for each client, and what cheats earned against an honest client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from fl.chain.tokens import WEI, two_places
from fl.plain_text import plural
from fl.task.behaviour import HONEST, read_behaviour

_KEPT = " ↑"  # beside a pay that was earned at an earlier, higher price


def pay_table(summary: Mapping[str, Any]) -> Table:
    """Who was paid what, a row for each client.

    Args:
        summary: Of a finished run, as `fl.report.summary` makes it.
    """
    rounds = summary["totals"]["rounds"]
    price = _price(summary)
    table = Table(title=f"Paid by score, {rounds} round{'s' * (rounds != 1)}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("client", no_wrap=True)
    for name in ("shard", "stake", "score", "× price", "= pay", "balance"):
        table.add_column(name, justify="right", no_wrap=True)
    for client in summary["clients"]:
        table.add_row(
            client["name"] + ("" if client["behaviour"] == HONEST else " *"),
            str(client["samples"]),
            f"{client['stake_share']:.1%}",
            _loss(client["score"]),
            "–" if price is None or int(client["score_q40"]) <= 0 else _tokens(price),
            two_places(int(client["paid_wei"])) + (_KEPT if _is_kept(client, price=price) else ""),
            two_places(int(client["balance_wei"])),
        )
    return table


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What the table cannot say: the price, what the cheats did and earned, and rounds without updates."""
    price = _price(summary)
    lines = ["nobody has a positive score, so nothing was paid"]
    if price is not None:
        lines = [f"the price is {_tokens(price)} tokens for 1.0 of loss, the same for everybody"]
    if any(_is_kept(client, price=price) for client in summary["clients"]):
        lines[0] += f";{_KEPT} was earned earlier, at a higher price, and pay never falls"
    for client in summary["clients"]:
        if client["claimed_wei"] != client["paid_wei"]:
            lines.append(
                f"{client['name']} earned {two_places(int(client['paid_wei']))}, and {two_places(int(client['claimed_wei']))} is claimed"
            )
    for client in _cheats(summary):
        lines.append(f"* {client['name']} {read_behaviour(client['behaviour'])}: {_against_honest(client, summary)}")
    task = summary["task"]
    if task["attested"]:
        lines.append(f"scores by {task['scorer']}: attested by evaluators, not provable on chain")
    spent = next(
        (round_["epsilon"] for round_ in reversed(summary["rounds"]) if round_.get("epsilon") is not None), None
    )
    if spent is not None:
        rows = (summary["config"].get("privacy") or {}).get("noise") == "rows"
        whose = "each row of whoever has fewest, if its node added the noise" if rows else "whoever they told most of"
        lines.append(f"privacy: all rounds together spent ε {spent:.2f} of {whose}")
    empty = [round_ for round_ in summary["rounds"] if not round_["scores"]]
    if empty:
        reasons = {refusal["reason"] for round_ in empty for refusal in round_["refusals"]}
        lines.append(f"no update was accepted in {plural(len(empty), 'round')}: {'; '.join(sorted(reasons)[:3])}")
    return lines


def _loss(score: float) -> str:
    shown = f"{score:+.4f}"
    return shown if float(shown) else "0.0000"  # a sign before zeros would say nothing


def _tokens(price: float) -> str:
    return two_places(round(price * WEI))


def _price(summary: Mapping[str, Any]) -> float | None:
    return summary["rounds"][-1]["price"] if summary["rounds"] else None


def _is_kept(client: Mapping[str, Any], *, price: float | None) -> bool:
    """Whether a client holds more than its score is worth at the last price."""
    worth = max(0.0, client["score"]) * (price or 0.0)
    return int(client["paid_wei"]) / WEI > worth + 0.005


def _cheats(summary: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [client for client in summary["clients"] if client["behaviour"] != HONEST]


def _against_honest(client: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    honest = [other for other in summary["clients"] if other["behaviour"] == HONEST]
    # Those of its own stake, where there are any: what others did for theirs says less of it.
    honest = [other for other in honest if other["stake_wei"] == client["stake_wei"]] or honest
    staked = sum(int(other["stake_wei"]) for other in honest)
    due = sum(int(other["paid_wei"]) for other in honest) * int(client["stake_wei"]) / staked if staked else 0
    if not due:
        return f"earned {two_places(int(client['paid_wei']))}"
    earned = int(client["paid_wei"])
    return f"earned {two_places(earned)}, {earned / due:.0%} of what honest work of its size did ({two_places(round(due))})"
