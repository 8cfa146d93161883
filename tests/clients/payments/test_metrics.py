"""A node's figures, from a folder that real rounds have filled."""

import importlib.util
import shutil
import socket

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from clients.node.folder import NodeFolder
from clients.payments.metrics import NodeMetrics, NoPrometheus, serving_metrics
from fl.errors import ConfigError


def scraped(port):
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {metric.name: metric.samples[0].value for metric in text_string_to_metric_families(text)}


def test_what_a_node_did_and_earned_is_read_from_its_folder(new_world, tmp_path):
    world, folder = new_world(), NodeFolder(path=tmp_path / "node")
    account = world.addresses[2]
    metrics = NodeMetrics(folder, account=account, task_id=world.task.task_id)
    nodes = {number + 2: world.node_config(number) for number in range(3)}
    nodes[4]["folder"] = str(folder.path)
    with serving_metrics(metrics, port="0") as port:
        before = scraped(port)
        assert (before["fairshare_node_signed_round"], before["fairshare_node_rounds"]) == (0, 0)
        world.run(world.app(world.downhill), grid=world.grid(world.app(world.downhill), nodes=nodes))
        for report in world.reports:
            shutil.copytree(report.bundle, folder.round_path(report.round))
        found = scraped(port)
    leaf = next(leaf for leaf in world.reports[-1].leaves if leaf.account == account)
    assert found["fairshare_node_signed_round"] == found["fairshare_node_rounds"] == 2
    assert found["fairshare_node_receipts"] == 1  # that of the last round comes with the next message
    assert found["fairshare_node_earned_tokens"] == pytest.approx(leaf.cumulative / 10**18)
    assert found["fairshare_node_round_score"] == pytest.approx(leaf.score / 2**40)
    assert found["fairshare_node_score"] == pytest.approx(
        sum(report.scores[account] for report in world.reports) / 2**40
    )
    with pytest.raises(httpx.ConnectError):
        scraped(port)


def test_a_port_that_cannot_be_and_a_missing_package_are_refused(tmp_path, monkeypatch):
    metrics = NodeMetrics(NodeFolder(path=tmp_path), account="0x", task_id=bytes(32))
    for port in ("http", "70000"):
        with (
            pytest.raises(ConfigError, match=f"metrics is '{port}'; write a port"),
            serving_metrics(metrics, port=port),
        ):
            pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = pytest.raises(ConfigError, match=f"metrics is {port}, which cannot be served")
        with refused, serving_metrics(metrics, port=port):
            pass
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prometheus_client" else real(name))
    with pytest.raises(NoPrometheus, match="run `pip install 'fairshare"), serving_metrics(metrics, port="0"):
        pass
