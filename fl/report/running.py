"""A run that still goes on, in the shape of a finished one: sums over the rounds so far where the last ones are not known."""

from __future__ import annotations

from typing import Any

from fl.rewards import SCORE_FRACTION_BITS


def so_far(summary: dict[str, Any]) -> dict[str, Any]:
    """A copy of the summary whose clients have what they scored and earned in the rounds that are there.

    A client's claimed and balance stay null: only the end of a run knows them.
    """
    rounds = summary["rounds"]
    earned = rounds[-1]["cumulative_wei"] if rounds else {}
    clients = []
    for client in summary["clients"]:
        filled = dict(client)
        if client.get("paid_wei") is None:
            filled["paid_wei"] = earned.get(client["account"], "0")
        if client.get("score_q40") is None or client.get("score") is None:
            score = sum(int(one["scores_q40"].get(client["account"], 0)) for one in rounds)
            filled["score_q40"], filled["score"] = str(score), score / (1 << SCORE_FRACTION_BITS)
        clients.append(filled)
    return {**summary, "clients": clients}
