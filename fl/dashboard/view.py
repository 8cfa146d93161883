"""What the page shows of a run, from its `summary.json`: sums and charts, and one client's rounds when it is looked at."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any

from fl.report.client_plots import pay_plot, score_plot, share_plot, total_plot
from fl.report.explanation import class_sums
from fl.report.plot import Plot
from fl.report.plotted_clients import plotted_clients
from fl.report.round_plots import gain_plot, loss_plot, price_plot, quality_plot
from fl.report.wording import clean

_REFUSALS = 200  # the newest; more are in summary.json
_SETTINGS = ("data", "model", "strategy", "scorer")


def view(summary: dict[str, Any]) -> dict[str, Any]:
    """The page's content as JSON values: its size grows with clients plus rounds, not with their product.

    Args:
        summary: Of a finished run, or of one that still goes on (`status` and `live` tell).
    """
    names = {client["account"]: client["name"] for client in summary["clients"]}
    places = {client["account"]: place for place, client in enumerate(plotted_clients(summary).named)}
    rounds = summary["rounds"]
    return jsonable(
        {
            "status": summary["status"],
            "config": {name: _setting(summary["config"].get(name, {})) for name in _SETTINGS},
            "seed": summary["config"].get("seed"),
            "task": _task(summary),
            "totals": {
                **summary["totals"],
                "earned_wei": str(sum(int(client["paid_wei"]) for client in summary["clients"])),
            },
            "clients": [_client(client, summary, place=places.get(client["account"])) for client in summary["clients"]],
            "rounds": [_round(round_) for round_ in rounds],
            "refusals": [
                {
                    "round": round_["round"],
                    "name": names.get(refusal["account"], ""),
                    **refusal,
                    "node_id": str(refusal["node_id"]),  # beyond what a browser's numbers hold
                }
                for round_ in reversed(rounds)
                for refusal in round_["refusals"]
            ][:_REFUSALS],
            "refused": sum(len(round_["refusals"]) for round_ in rounds),
            "charts": {
                name: _chart(plot(summary))
                for name, plot in {
                    "accuracy": quality_plot,
                    "loss": loss_plot,
                    "gain": gain_plot,
                    "price": price_plot,
                    "pay": pay_plot,
                    "total": total_plot,
                    "score": score_plot,
                    "share": share_plot,
                }.items()
            },
        }
    )


def client_rounds(summary: dict[str, Any], account: str) -> dict[str, Any] | None:
    """What the rounds say of one client, or None for an account that is not a client of the task."""
    client = next((client for client in summary["clients"] if client["account"].lower() == account.lower()), None)
    if client is None:
        return None
    account = client["account"]
    rows = []
    for round_ in summary["rounds"]:
        reading = round_.get("reading") or {}
        rows.append(
            {
                "round": round_["round"],
                "score_q40": round_["scores_q40"].get(account),
                "total_q40": round_["totals_q40"].get(account),
                "factor": round_["factors"].get(account),
                "price_q64": round_["price_q64"],
                "error": reading.get("errors", {}).get(account),
                "pay_wei": round_["pays_wei"].get(account),
                "cumulative_wei": round_["cumulative_wei"].get(account),
                "refusals": [refusal["reason"] for refusal in round_["refusals"] if refusal["account"] == account],
            }
        )
    classes, by_class = class_sums(summary, account)
    return jsonable({**client, "rounds": rows, "classes": classes, "by_class": by_class})


def jsonable(value: Any) -> Any:
    """The value with nothing in it that JSON or UTF-8 cannot hold: no infinity, no broken byte of a file name."""
    if isinstance(value, dict):
        return {clean(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return clean(value) if isinstance(value, str) else value


def _task(summary: dict[str, Any]) -> dict[str, Any]:
    # A run knows its terms from its configuration, a coordinator from the chain; both may be there.
    planned, task = summary["config"].get("task", {}), dict(summary["task"])
    terms = {name: planned.get(name) for name in ("rounds", "quorum", "evaluators", "reveal", "challenge_window")}
    if isinstance(evaluators := task.get("evaluators"), list):
        task["evaluators"] = len(evaluators)
    scorer = summary["config"].get("scorer", {}).get("name")  # a summary from before attested rules says no more
    terms["length"] = planned.get("length")
    terms["public_rounds"] = summary["config"].get("scorer", {}).get("public_rounds")
    unknown: dict[str, Any] = {
        "attested": None,
        "name": "",
        "description": "",
        "class_names": [],
        "target": None,
        "columns": [],
    }
    return {**unknown, "scorer": scorer, **terms, **task}


def _setting(chosen: dict[str, Any]) -> dict[str, Any]:
    # The name of a file, not where the coordinator's machine keeps it.
    path = chosen.get("path")
    return {"name": chosen.get("name"), "path": path and PurePath(path).name}


def _client(client: dict[str, Any], summary: dict[str, Any], *, place: int | None) -> dict[str, Any]:
    account = client["account"]
    last = summary["rounds"][-1] if summary["rounds"] else None
    reading = (last and last.get("reading")) or {}
    return {
        **{name: value for name, value in client.items() if name != "class_counts"},
        "place": place,
        "last_score": last and last["scores"].get(account),
        "last_error": reading.get("errors", {}).get(account),
        "last_factor": last and last["factors"].get(account),
        "refusals": sum(
            refusal["account"] == account for round_ in summary["rounds"] for refusal in round_["refusals"]
        ),
    }


def _round(round_: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "round", "accuracy", "perplexity", "test_loss", "loss_before", "loss_aggregated", "loss_after", "public_rate", "price_q64",
        "header", "header_hash", "evaluators", "transaction", "gas", "posted_at",
    )  # fmt: skip
    return {
        **{name: round_.get(name) for name in kept},
        "paid_wei": str(sum(int(pay) for pay in round_["pays_wei"].values())),
        "updates": len(round_["scores"]),
        "refused": len(round_["refusals"]),
    }


def _chart(plot: Plot) -> dict[str, Any]:
    return {"title": plot.title, "finding": plot.finding, "drawing": plot.drawing.to_json()}
