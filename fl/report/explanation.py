"""Why a client earned what it earned, in words. web/src/explanation.ts says the same of what a browser recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fl.plain_text import plural
from fl.report.wording import LEAST, clean, lost, percent, price, tokens
from fl.rewards import HIGHEST_PRICE
from fl.rewards.price import PRICE_BITS


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a client stands after a round."""

    total: int  # units of 2^−40 of loss
    cumulative: int  # wei
    price: int  # units of 2^−64 wei per 2^−40 of loss
    factors: tuple[float, ...]  # what the round's length left of each accepted update
    by_class: tuple[tuple[str, float], ...] = ()  # its scores by class, in sum; none where no round was read


def standing_of(summary: dict[str, Any], account: str) -> Standing | None:
    """Where a client stood after the last round that has it; None before its first."""
    rounds = [round_ for round_ in summary["rounds"] if account in round_["totals_q40"]]
    if not rounds:
        return None
    return Standing(
        total=int(rounds[-1]["totals_q40"][account]),
        cumulative=int(rounds[-1]["cumulative_wei"][account]),
        price=int(rounds[-1]["price_q64"]),
        factors=tuple(round_["factors"][account] for round_ in rounds if account in round_["factors"]),
        by_class=tuple(zip(*class_sums(summary, account), strict=True)),
    )


def class_sums(summary: dict[str, Any], account: str) -> tuple[list[str], list[float]]:
    """The names of the classes, and a client's scores by class over all rounds that were read."""
    classes: list[str] = []
    sums: list[float] = []
    for round_ in summary["rounds"]:
        reading = round_.get("reading") or {}
        if parts := reading.get("by_class", {}).get(account):
            fresh = list(reading["classes"]) != classes
            classes = list(reading["classes"])
            sums = list(parts) if fresh else [old + new for old, new in zip(sums, parts, strict=True)]
    return classes, sums


def explanation(standing: Standing | None, *, whose: str) -> str:
    """Score × price = pay in words, for one client.

    Args:
        standing: None if no round has the client yet.
        whose: The word before "updates": Your, or Its.
    """
    if standing is None or not standing.factors:
        kept = (
            f" The {tokens(standing.cumulative)} tokens earned before stay." if standing and standing.cumulative else ""
        )
        return f"No update was accepted, so there is no score and no pay.{kept}"
    return " ".join(filter(None, [_worth(standing, whose), _paid(standing), _shortened(standing)]))


def _worth(standing: Standing, whose: str) -> str:
    if standing.total == 0:
        return f"{whose} updates are worth exactly nothing in sum."
    took = f"{whose} updates {'took' if standing.total > 0 else 'put'} {lost(standing.total)} "
    return took + ("off the loss" if standing.total > 0 else "on the loss") + _classes(standing) + "."


def _classes(standing: Standing) -> str:
    sign = 1 if standing.total > 0 else -1
    parts = sorted(
        ((sign * part, name) for name, part in standing.by_class if sign * part > 0),
        key=lambda part_and_name: -part_and_name[0],
    )
    # Of next to nothing, any class is chance.
    if len(standing.by_class) < 2 or not parts or lost(standing.total) == LEAST:
        return ""
    whole = sum(part for part, _ in parts)
    if 2 * parts[0][0] > whole:
        return f", most of it on class {clean(parts[0][1])}"
    return f", above all on the classes {clean(parts[0][1])} and {clean(parts[1][1])}"


def _paid(standing: Standing) -> str:
    earned = tokens(standing.cumulative)
    stays = f"the {earned} tokens that were earned before stay" if standing.cumulative else "nothing was earned yet"
    if standing.total < 0:
        return f"Below zero nothing is earned until later updates have made that good; {stays}."
    if standing.total == 0:
        return f"{stays[0].upper()}{stays[1:]}."
    if standing.price == HIGHEST_PRICE:
        return f"All whole scores are too small to pay by; {stays}."
    at = f"The price is {price(standing.price)} tokens for 1.0 of loss, the same for everybody"
    due = standing.price * standing.total >> PRICE_BITS
    if due == standing.cumulative:
        return f"{at}: {earned} tokens earned."
    return (
        f"{at}, at which that is {tokens(due)} tokens; {earned} were earned when score or price stood higher, and pay "
        "never falls: more is earned once it comes to more than that."
    )


def _shortened(standing: Standing) -> str:
    long = [factor for factor in standing.factors if factor < 0.9995]
    if not long:
        return ""
    return (
        f"In {len(long):,} of {plural(len(standing.factors), 'round')} the update was longer than the round's length and "
        f"counted as if it had that length: as little as {percent(min(long))} of its own."
    )
