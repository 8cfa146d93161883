"""The coordinator's figures, scraped over HTTP and read by Prometheus' own parser."""

import importlib.util
import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from report.run_summary import run_summary

from fl.coordinator.gateway.prometheus import metrics_router


@pytest.fixture
def scrape(tmp_path):
    """Scrapes a coordinator's folder: metric and labels → value."""
    app = FastAPI()
    app.include_router(metrics_router(tmp_path, turned_away=lambda: {"the control API": 3}))
    client = TestClient(app)

    def call(summary=None, *, status=200):
        if summary is not None:
            (tmp_path / "summary.json").write_text(json.dumps(summary))
        answer = client.get("/api/metrics")
        assert answer.status_code == status
        if status != 200:
            return answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return call


def test_a_finished_run_is_told_to_the_token(scrape):
    summary = run_summary(clients=3, rounds=4)
    found = scrape(summary)
    assert found["fairshare_rounds_posted",] == 4
    assert found["fairshare_running",] == 0
    assert found["fairshare_accuracy",] == summary["rounds"][-1]["accuracy"]
    assert found["fairshare_gas_total", "post"] == summary["gas"]["post"]["total"]
    for account, wei in summary["rounds"][-1]["cumulative_wei"].items():
        assert found["fairshare_client_earned_tokens", account] == pytest.approx(int(wei) / 10**18)
        scored = sum(round_["scores"].get(account, 0) for round_ in summary["rounds"])
        assert found["fairshare_client_score", account] == pytest.approx(scored)
    assert found["fairshare_gateway_turned_away_total", "the control API"] == 3
    assert found["fairshare_refused_updates_total",] == sum(len(round_["refusals"]) for round_ in summary["rounds"])


def test_a_running_one_tells_its_round_and_who_is_there(scrape):
    summary = run_summary(clients=2, rounds=2)
    account = summary["clients"][0]["account"]
    node = {"account": account, "node_id": "7", "online": True, "last_seen": 1_700_000_000}
    live = {"round": 3, "phase": "training", "since": 1, "nodes": [node]}
    found = scrape({**summary, "status": "running", "live": live})
    assert found["fairshare_round",] == 3
    assert found["fairshare_running",] == 1
    assert found["fairshare_node_online", account] == 1
    assert found["fairshare_node_last_seen_seconds", account] == 1_700_000_000


def test_before_the_first_round_there_is_little_to_tell(scrape):
    assert scrape() == {("fairshare_gateway_turned_away_total", "the control API"): 3}
    found = scrape({**run_summary(clients=2, rounds=1), "rounds": [], "status": "running", "gas": {}})
    assert found["fairshare_rounds_posted",] == 0
    assert not [key for key in found if key[0] == "fairshare_accuracy"]


def test_without_the_package_it_says_how_to_get_it(scrape, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prometheus_client" else real(name))
    assert "pip install 'fairshare[prometheus]'" in scrape(status=501)
