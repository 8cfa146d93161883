"""Which clients a plot names: all of a few, and of many the best paid and some that misbehaved; the rest is a band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMED = 10  # as many colours and markers as can be told apart
MARKED = 3  # places kept for clients that were told to misbehave, so that an attack shows among a hundred


@dataclass(frozen=True, kw_only=True, eq=False)
class PlottedClients:
    """Clients as the summary has them."""

    named: tuple[dict[str, Any], ...]  # the place in this tuple is the client's colour and marker in every plot
    rest: tuple[dict[str, Any], ...]
    marked: int  # of many, so many are named for what they were told to do, and the others for their pay


def plotted_clients(summary: dict[str, Any]) -> PlottedClients:
    """Choose the clients that plots name, in the order of the summary."""
    clients = summary["clients"]
    if len(clients) <= NAMED:
        return PlottedClients(named=tuple(clients), rest=(), marked=0)
    marked = sorted(
        (client for client in clients if client["behaviour"] != "honest"), key=lambda client: -client["samples"]
    )[:MARKED]
    taken = {client["account"] for client in marked}
    best = sorted(
        (client for client in clients if client["account"] not in taken), key=lambda client: -int(client["paid_wei"])
    )
    taken |= {client["account"] for client in best[: NAMED - len(marked)]}
    return PlottedClients(
        named=tuple(client for client in clients if client["account"] in taken),
        rest=tuple(client for client in clients if client["account"] not in taken),
        marked=len(marked),
    )
