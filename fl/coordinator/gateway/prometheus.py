"""A coordinator's figures for Prometheus, at `GET /api/metrics`: what the public summary says, in Prometheus' format."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from fl.chain.tokens import WEI

_MISSING = "prometheus_client is not installed on the coordinator; run `pip install 'fairshare[prometheus]'`\n"


def metrics_router(folder: Path, *, turned_away: Callable[[], Mapping[str, int]] = dict) -> APIRouter:
    """The route, for the gateway. Without the prometheus_client package it answers 501 and says so.

    Args:
        folder: The coordinator's, with `summary.json`; before that is written there are no figures.
        turned_away: Requests that the gateway refused so far, by kind.
    """
    router = APIRouter(prefix="/api")

    @router.get("/metrics")
    def metrics() -> Response:
        if importlib.util.find_spec("prometheus_client") is None:
            return PlainTextResponse(_MISSING, status_code=501)
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(_read(folder / "summary.json"), turned_away()))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Collected:
    """One look at a summary, as metric families."""

    def __init__(self, summary: Mapping[str, Any], turned_away: Mapping[str, int]) -> None:
        self._summary, self._turned_away = summary, turned_away

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks a collector for."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily  # noqa: PLC0415

        summary = self._summary
        away = CounterMetricFamily(
            "fairshare_gateway_turned_away", "Requests that the gateway refused, by kind", labels=["kind"]
        )
        for kind, count in self._turned_away.items():
            away.add_metric([kind], count)
        yield away
        if not summary:
            return
        task, rounds, live = summary["task"], summary["rounds"], summary.get("live") or {}
        named = {"task": task["id"], "chain_id": str(task["chain_id"]), "contract": task["contract"]}
        yield InfoMetricFamily("fairshare_task", "The task", value={**named, "status": summary["status"]})
        yield GaugeMetricFamily("fairshare_running", "1 while rounds run", value=summary["status"] == "running")
        yield GaugeMetricFamily("fairshare_budget_tokens", "Escrowed", value=_tokens(summary["totals"]["budget_wei"]))
        yield GaugeMetricFamily("fairshare_rounds_posted", "Rounds on chain", value=len(rounds))
        yield GaugeMetricFamily("fairshare_round", "The round that runs", value=live.get("round") or len(rounds))
        for name, about, key in (
            ("accuracy", "On the test set, after the last round", "accuracy"),
            ("test_loss", "On the test set, after the last round", "test_loss"),
            ("validation_loss", "On the validation set, after the last round", "loss_after"),
        ):
            if rounds:
                yield GaugeMetricFamily(f"fairshare_{name}", about, value=rounds[-1][key])
        yield CounterMetricFamily(
            "fairshare_refused_updates",
            "Replies refused so far",
            value=sum(len(round_["refusals"]) for round_ in rounds),
        )
        gas = CounterMetricFamily("fairshare_gas", "Gas used so far, by operation", labels=["operation"])
        for operation, used in summary["gas"].items():
            gas.add_metric([operation], used["total"])
        yield gas
        spent = CounterMetricFamily("fairshare_seconds", "Time spent so far, by step of a round", labels=["step"])
        for step in sorted({step for round_ in rounds for step in round_["seconds"]}):
            spent.add_metric([step], sum(round_["seconds"].get(step, 0) for round_ in rounds))
        yield spent
        yield from self._clients(rounds, live)

    def _clients(self, rounds: list[Any], live: Mapping[str, Any]) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        # Gauges, since a score may be negative, and a void round takes pay back.
        score = GaugeMetricFamily("fairshare_client_score", "Taken off the loss so far", labels=["account"])
        pay = GaugeMetricFamily("fairshare_client_earned_tokens", "Earned so far", labels=["account"])
        for account in sorted({account for round_ in rounds for account in round_["cumulative_wei"]}):
            score.add_metric([account], sum(round_["scores"].get(account, 0) for round_ in rounds))
            pay.add_metric([account], _tokens(rounds[-1]["cumulative_wei"].get(account, "0")))
        online = GaugeMetricFamily(
            "fairshare_node_online", "1 while the client's node is connected", labels=["account"]
        )
        seen = GaugeMetricFamily("fairshare_node_last_seen_seconds", "Unix time", labels=["account"])
        for node in live.get("nodes", []):
            online.add_metric([node["account"]], node["online"])
            if node.get("last_seen") is not None:
                seen.add_metric([node["account"]], node["last_seen"])
        yield from (score, pay, online, seen)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # before the first round


def _tokens(wei: str) -> float:
    return int(wei) / WEI
